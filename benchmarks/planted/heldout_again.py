"""Generators that were held out after the joint null: drawn and run once, at the end.

Nothing of the method, and none of the other generators, was changed after these were run.
"""

from __future__ import annotations

import numpy as np
from planted_data import Activity, Ints
from planted_families import Concept, Families, Random, Sites, draw_sites, fire, scatter
from protein_worlds import HIDDEN, Law, in_one_giant, sticky

__all__ = ["HELDOUT_AGAIN"]


def geometric_sizes(random: Random, n: int) -> Ints:
    """Family sizes with a mean of 3, at most 15."""
    return np.minimum(random.geometric(1 / 3, n), 15).astype(np.int64)


def uniform_lengths(random: Random, n: int) -> Ints:
    """Chains of 90 to 500 tokens."""
    return random.integers(90, 501, n).astype(np.int64)


def place_of_another(
    random: Random, families: Families, target: int, labels: list[Sites]
) -> Activity:
    """Trap: in every family with the label, at the relative place that it has in another."""
    own = labels[target]
    owners, first = np.unique(own.family, return_index=True)
    other = first[random.permutation(len(owners))]
    width = (own.stop - own.start)[other]
    room = families.length[own.family[other]] - width
    share = own.start[other] / np.maximum(room, 1)
    width = np.minimum(width, families.length[owners] - 1)
    start = np.rint(share * (families.length[owners] - width)).astype(np.int64)
    return fire(random, families, Sites(owners, start, start + width))


def near_the_label(
    random: Random, families: Families, target: int, labels: list[Sites]
) -> Activity:
    """Trap: up to 40 tokens before or behind the label's sites, without touching them."""
    own = labels[target]
    width = random.integers(3, 10, len(own.family))
    gap = random.integers(1, 41, len(own.family))
    before = random.random(len(own.family)) < 0.5
    start = np.where(before, own.start - gap - width, own.stop + gap)
    kept = (start >= 0) & (start + width <= families.length[own.family])
    return fire(random, families, Sites(own.family[kept], start[kept], (start + width)[kept]))


def ends_of_owners_and_others(
    random: Random, families: Families, target: int, labels: list[Sites]
) -> Activity:
    """Trap: both ends of the chain, in the label's families and a third of the others."""
    chosen = random.random(len(families.length)) < 1 / 3
    chosen[np.unique(labels[target].family)] = True
    family = np.repeat(np.flatnonzero(chosen), 2)
    width, near = random.integers(4, 12, len(family)), random.integers(0, 25, len(family))
    at_tail = np.arange(len(family)) % 2 == 1
    start = np.where(at_tail, families.length[family] - width - near, near)
    return fire(random, families, Sites(family, start, start + width))


def lively_records(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001 - every trap has this signature
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Null: tokens one by one, at a rate that differs tenfold between families."""
    token, value = scatter(random, families, 0.10)
    rate = np.exp(random.uniform(np.log(0.1), 0.0, len(families.length)))
    record = np.searchsorted(families.axis.record_starts, token, "right") - 1
    family = np.searchsorted(families.first, record, "right") - 1
    kept = random.random(len(token)) < rate[family]
    return Activity(token[kept], value[kept].astype(np.float32))


def middle_of_the_chain(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Trap: one site in the middle third of most families."""
    owns = np.flatnonzero(random.random(len(families.length)) < 0.75)
    width = random.integers(5, 20, len(owns))
    room = families.length[owns] // 3
    start = room + (random.random(len(owns)) * np.maximum(room - width, 1)).astype(np.int64)
    return fire(random, families, Sites(owns, start, start + width))


def owners_other_sites(
    random: Random, families: Families, target: int, labels: list[Sites]
) -> Activity:
    """Trap: three sites anywhere in the label's families, as wide as the label's."""
    owners = np.unique(labels[target].family)
    shortest, longest = np.quantile(labels[target].stop - labels[target].start, [0, 1])
    concept = Concept(1.0, (int(shortest), int(longest)), 1)
    drawn = [draw_sites(random, families, concept) for _ in range(3)]
    joined = Sites(*(np.concatenate(column) for column in zip(*drawn, strict=True)))
    kept = np.isin(joined.family, owners)
    return fire(random, families, Sites(*(column[kept] for column in joined)))


def _labels() -> tuple[Concept, ...]:
    """Return the labels: one prevalent, four at an end, and sites of many widths."""
    widths = ((1, 1), (2, 6), (6, 15), (10, 60))
    shares = np.linspace(0.18, 0.65, 33)
    sites = [
        Concept(float(share), widths[at % 4], (1.0, 1.3)[at % 2]) for at, share in enumerate(shares)
    ]
    return (
        Concept(0.85, (5, 30), 0.45),
        Concept(0.35, (10, 35), 1, "head"),
        Concept(0.45, (6, 18), 1, "tail"),
        Concept(0.5, (3, 40), 1, "head"),
        *sites,
    )


HELDOUT_AGAIN = Law(
    geometric_sizes,
    uniform_lengths,
    labels=_labels(),
    counts={
        **dict.fromkeys(HIDDEN, 15),
        "another owner's place": 37,
        "near the label": 37,
        "ends, owners and others": 20,
        "owning families, three sites": 37,
        "middle of the chain": 10,
        "one giant family": 20,
        "sticky null": 80,
        "lively families": 60,
    },
    traps={
        "another owner's place": place_of_another,
        "near the label": near_the_label,
        "ends, owners and others": ends_of_owners_and_others,
        "owning families, three sites": owners_other_sites,
        "middle of the chain": middle_of_the_chain,
        "one giant family": in_one_giant,
        "sticky null": sticky,
        "lively families": lively_records,
    },
    n_families=340,
    lost=0.12,
    missing=0.08,
)
