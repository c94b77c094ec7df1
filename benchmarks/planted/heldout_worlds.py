"""Generators that were held out of all tuning when they were first run: other laws, other traps.

Their proteins showed that a trap at the label's end of the chain, in its families alone, was
called. The joint null answers that, and the trap is now one of the tuned worlds' too; what was held
out since is in :mod:`heldout_again`.
"""

from __future__ import annotations

import numpy as np
from planted_data import Activity, Ints
from planted_families import (
    Concept,
    Families,
    Random,
    Sites,
    draw_sites,
    fire,
    scatter,
)
from protein_worlds import HIDDEN, SAME_END, Law, in_one_giant, owners_at_the_end, sticky
from weather_worlds import Climate

__all__ = ["HELDOUT_NULLS", "HELDOUT_PROTEINS", "HELDOUT_WEATHER"]


def lognormal_sizes(random: Random, n: int) -> Ints:
    """Family sizes with a logarithm of standard deviation 1.1, at most 30."""
    return np.clip(np.ceil(random.lognormal(0.3, 1.1, n)), 1, 30).astype(np.int64)


def two_lengths(random: Random, n: int) -> Ints:
    """Short chains of 60 to 130 tokens, and every third one of 350 to 900."""
    short, long = random.integers(60, 131, n), random.integers(350, 901, n)
    return np.where(random.random(n) < 1 / 3, long, short).astype(np.int64)


def at_the_tail(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001 - every trap has this signature
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Trap: the last tokens of most families."""
    return fire(random, families, draw_sites(random, families, Concept(0.8, (5, 25), 1, "tail")))


def behind_the_label(
    random: Random,
    families: Families,
    target: int,
    labels: list[Sites],
) -> Activity:
    """Trap: 3 to 12 tokens behind the label's sites, without touching them."""
    own = labels[target]
    width = random.integers(3, 9, len(own.family))
    start = own.stop + random.integers(3, 13, len(own.family))
    kept = start + width <= families.length[own.family]
    return fire(random, families, Sites(own.family[kept], start[kept], (start + width)[kept]))


def owners_and_others(
    random: Random, families: Families, target: int, labels: list[Sites]
) -> Activity:
    """Trap: sites anywhere in the label's families, and in a quarter of the others."""
    n_families = len(families.length)
    chosen = random.random(n_families) < 0.25
    chosen[np.unique(labels[target].family)] = True
    family = np.repeat(np.flatnonzero(chosen), 2)
    width = random.integers(2, 16, len(family))
    start = (random.random(len(family)) * (families.length[family] - width)).astype(np.int64)
    return fire(random, families, Sites(family, start, start + width))


def periodic(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Trap: every few tokens of most families, in step among homologues."""
    step = int(random.integers(3, 12))
    owns = np.flatnonzero(random.random(len(families.length)) < 0.8)
    n_sites = families.length[owns] // step
    family = np.repeat(owns, n_sites)
    number = np.arange(len(family)) - np.repeat(np.cumsum(n_sites) - n_sites, n_sites)
    start = number * step
    return fire(random, families, Sites(family, start, start + 1))


def bursts(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Null: tokens drawn one by one in a tenth of the records, and none elsewhere."""
    token, value = scatter(random, families, 0.15)
    lively = random.random(families.axis.n_records) < 0.1
    record = np.searchsorted(families.axis.record_starts, token, "right") - 1
    kept = lively[record]
    return Activity(token[kept], value[kept].astype(np.float32))


def _labels() -> tuple[Concept, ...]:
    """Return the labels: two prevalent ones, three at an end, and sites, some of them repeated."""
    widths = ((2, 2), (5, 40), (12, 12), (4, 7))
    shares = np.geomspace(0.15, 0.7, 35)
    sites = [
        Concept(float(share), widths[at % 4], (1.0, 2.0, 1.5)[at % 3])
        for at, share in enumerate(shares)
    ]
    ends = (Concept(0.4, (8, 16), 1, "tail"), Concept(0.35, (5, 30), 1, "head"))
    return (
        Concept(0.9, (4, 40), 0.6),
        Concept(0.7, (3, 5), 0.28),
        *ends,
        Concept(0.6, (10, 12), 1, "tail"),
        *sites,
    )


_TRAPS = {
    "tail of the chain": at_the_tail,
    SAME_END: owners_at_the_end,
    "behind the label": behind_the_label,
    "owning families and others": owners_and_others,
    "periodic": periodic,
    "one giant family": in_one_giant,
    "sticky null": sticky,
    "bursts": bursts,
}
HELDOUT_PROTEINS = Law(
    lognormal_sizes,
    two_lengths,
    labels=_labels(),
    counts={
        **dict.fromkeys(HIDDEN, 15),
        "tail of the chain": 30,
        SAME_END: 6,
        "behind the label": 40,
        "owning families and others": 60,
        "periodic": 15,
        "one giant family": 30,
        "sticky null": 80,
        "bursts": 60,
    },
    traps=_TRAPS,
    n_families=320,
    targets={SAME_END: (2, 3, 4)},
    lost=0.15,
    missing=0.15,
)
HELDOUT_NULLS = Law(
    lognormal_sizes,
    two_lengths,
    labels=(Concept(0.9, (4, 40), 0.6), *_labels()[5:35:3]),
    counts={"sticky null": 30, "bursts": 20, "periodic": 10},
    traps=_TRAPS,
    n_families=160,
    linked=False,
)
HELDOUT_WEATHER = Climate(
    {
        "season and latitude": 10,
        "inter-annual modulation": 10,
        "same map": 10,
        "season, latitude, map and year": 10,
        "smooth null": 30,
    },
    n_years=36,
    n_days=25,
    n_rows=12,
    n_columns=20,
    memory=(0.8, 0.98),
    length=(1.5, 3.0),
    rate=6.0,
    lifetime="heavy",
    speed=(-2.0, 4.0),
)
