"""Planted proteins: families of homologues, labels, features that are linked, and traps.

A concept has sites in some families, at the same places of all homologues. A label is a concept of
which annotators missed a part; a feature fires at the sites of a concept, known or not, or is a
trap. Concepts keep their parameters from replicate to replicate, so that what a feature is worth in
endless families is one number; families, sites and activity are drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from planted_data import FRACTIONS, Activity, Ints, Runs, World, build_codes
from planted_families import (
    Concept,
    Families,
    Random,
    Sites,
    draw_families,
    draw_sites,
    fire,
    place_sites,
    scatter,
    some_families,
)
from planted_sequences import BESIDE, UPON, Sequences, draw_sequences

from sci_interp.adapter import Label
from sci_interp.schema import Split

__all__ = ["PROTEINS", "PROTEIN_NULLS", "SAE_SEQUENCES", "Law", "Trap", "build_proteins"]

#: Share of the records in which the second label group was assessed.
ASSESSED = 0.7
#: Share of a concept's families in which a sub-concept fires.
SUB_SHARE = 0.30

#: Draws one trap: (random, families, its label's number, all labels' sites) to an activity.
Trap = Callable[[Random, Families, int, "list[Sites]"], Activity]


@dataclass(frozen=True)
class Law:
    """How a world is drawn.

    Attributes
    ----------
    sizes, lengths
        Draw the sizes, and the lengths, of that many families.
    labels
        The labels' concepts. One "clear" and one "sub-concept" feature stands for each.
    counts
        Number of features of every other kind.
    traps
        Who draws those kinds that are neither hidden nor token identity.
    n_families
        Families.
    linked
        Whether features are linked to labels at all.
    targets
        Labels that a kind of trap imitates, in turn; all by default.
    lost, missing
        Share of families, and of the other families' records, whose annotations of a label are
        not there.
    """

    sizes: Callable[[Random, int], Ints]
    lengths: Callable[[Random, int], Ints]
    labels: tuple[Concept, ...]
    counts: Mapping[str, int]
    traps: Mapping[str, Trap]
    n_families: int = 320
    linked: bool = True
    targets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    lost: float = 0.10
    missing: float = 0.10


def heavy_sizes(random: Random, n: int) -> Ints:
    """Family sizes of 1 to 25 with the density size^-1.7."""
    size = np.arange(1, 26)
    share = size**-1.7
    return np.asarray(random.choice(size, n, p=share / share.sum()), np.int64)


def gamma_lengths(random: Random, n: int) -> Ints:
    """Chains of 80 to 600 tokens, about 260 in the mean."""
    return np.clip(random.gamma(4.0, 65.0, n), 80, 600).astype(np.int64)


def moved_elsewhere(
    random: Random, families: Families, target: int, labels: list[Sites]
) -> Activity:
    """Trap: a site in every family that owns the label, at a place of its own."""
    sites = labels[target]
    owners = np.unique(sites.family)
    width = random.integers(3, 12, len(owners))
    start = (random.random(len(owners)) * (families.length[owners] - width)).astype(np.int64)
    return fire(random, families, Sites(owners, start, start + width))


def at_the_head(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001 - every trap has this signature
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Trap: the first tokens of most families."""
    concept = Concept(0.7, (5, 20), 1, "head")
    return fire(random, families, draw_sites(random, families, concept))


def owners_at_the_end(
    random: Random, families: Families, target: int, labels: list[Sites]
) -> Activity:
    """Trap of two nulls at once: the same end of the chain as the label, in its families alone.

    Inside these families and this region its place is independent of the label's.
    """
    own = labels[target]
    owners, first = np.unique(own.family, return_index=True)
    at_head = own.start[first] < families.length[owners] / 2
    width, near = random.integers(4, 9, len(owners)), random.integers(0, 20, len(owners))
    start = np.where(at_head, near, families.length[owners] - width - near)
    return fire(random, families, Sites(owners, start, start + width))


def in_long_runs(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Trap: active in long runs over a large part of most chains."""
    concept = Concept(0.9, (20, 60), random.uniform(0.3, 0.6))
    return fire(random, families, draw_sites(random, families, concept))


def in_one_giant(random: Random, families: Families, target: int, labels: list[Sites]) -> Activity:
    """Trap: at the label's sites in the largest family, or at others there if it has none."""
    giant = int(np.argmax(np.diff(families.first)))
    mine = labels[target].family == giant
    sites = Sites(*(column[mine] for column in labels[target]))
    if not mine.any():
        start = np.array([families.length[giant] // 2])
        sites = Sites(np.array([giant]), start, start + 8)
    return fire(random, families, sites)


def sticky(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Null: sites of its own, shared by homologues as those of labels are."""
    concept = Concept(random.uniform(0.2, 0.8), (3, int(random.integers(5, 15))), 1.5)
    return fire(random, families, draw_sites(random, families, concept))


def single_tokens(
    random: Random,
    families: Families,
    target: int,  # noqa: ARG001
    labels: list[Sites],  # noqa: ARG001
) -> Activity:
    """Null: tokens drawn one by one."""
    token, value = scatter(random, families, 10 ** random.uniform(-2.3, -1))
    return Activity(token, value.astype(np.float32))


#: Traps that imitate a label, and nulls that imitate none (their label is of no account).
#: The trap of two nulls at once.
SAME_END = "owning families, same end"
TRAPS: Mapping[str, Trap] = {
    "owning families, elsewhere": moved_elsewhere,
    "head of the chain": at_the_head,
    "dense long runs": in_long_runs,
    "one giant family": in_one_giant,
    "sticky null": sticky,
    "single tokens": single_tokens,
    SAME_END: owners_at_the_end,
}
IDENTITY = "token identity"
#: Kinds of hidden concepts, and where their motif lies.
HIDDEN = {"hidden, beside its motif": BESIDE, "hidden, upon its motif": UPON}


def site_labels(n: int, lowest: float = 0.2, highest: float = 0.6) -> list[Concept]:
    """Return concepts of sites: shares spread evenly, widths in turn."""
    widths = ((1, 3), (3, 9), (8, 20))
    shares = np.linspace(lowest, highest, n)
    return [Concept(float(share), widths[at % 3]) for at, share in enumerate(shares)]


PROTEINS = Law(
    heavy_sizes,
    gamma_lengths,
    labels=(
        Concept(0.95, (8, 20), 0.52),
        Concept(0.80, (4, 10), 0.22),
        Concept(0.3, (15, 25), 1, "head"),
        Concept(0.5, (10, 20), 1, "head"),
        *site_labels(36),
    ),
    counts={
        **dict.fromkeys(HIDDEN, 15),
        IDENTITY: 20,
        "owning families, elsewhere": 40,
        "head of the chain": 20,
        "dense long runs": 20,
        "one giant family": 20,
        "sticky null": 130,
        "single tokens": 80,
        SAME_END: 6,
    },
    traps=TRAPS,
    targets={SAME_END: (2, 3)},
)
#: Nothing linked, and no place shared: an error here is an error of the test.
PROTEIN_NULLS = Law(
    heavy_sizes,
    gamma_lengths,
    labels=(Concept(0.95, (8, 20), 0.52), Concept(0.80, (4, 10), 0.22), *site_labels(10)),
    counts={"sticky null": 40, "single tokens": 14, "dense long runs": 6},
    n_families=160,
    linked=False,
    traps=TRAPS,
)

#: Concepts of activations in which autoencoders are trained.
SAE_SEQUENCES = Law(
    heavy_sizes,
    gamma_lengths,
    labels=tuple(site_labels(16)),
    counts={
        **dict.fromkeys(HIDDEN, 8),
        "owning families, elsewhere": 8,
        "head of the chain": 4,
        "sticky null": 24,
        "single tokens": 12,
    },
    traps=TRAPS,
    n_families=240,
)


def build_proteins(
    law: Law, seeds: tuple[int, ...], *, fractions: Mapping[Split, float] = FRACTIONS
) -> World:
    """Draw one replicate; ``seeds`` name it."""
    random = np.random.default_rng(seeds)
    name = "".join(f"s{seed}" for seed in seeds)
    sizes, lengths = law.sizes(random, law.n_families), law.lengths(random, law.n_families)
    families = draw_families(random, sizes, lengths, name=name, fractions=fractions)
    sites = [draw_sites(random, families, concept) for concept in law.labels]
    hidden = {
        kind: [
            draw_sites(random, families, Concept(float(share), (3, 5), 1))
            for share in np.linspace(0.1, 0.3, law.counts.get(kind, 0))
        ]
        for kind in HIDDEN
    }
    motifs: list[tuple[Sites, tuple[int, ...]]]
    motifs = [(own, UPON) for own in _marked(law, sites)]
    motifs += [(own, HIDDEN[kind]) for kind, owns in hidden.items() for own in owns]
    sequences = draw_sequences(random, families, motifs)
    activities: list[tuple[str, int, Activity]] = []
    if law.linked:
        for label, of_label in enumerate(sites):
            activities.append(("clear", label, fire(random, families, of_label)))
        for label, of_label in enumerate(sites):
            part = some_families(random, of_label, SUB_SHARE)
            activities.append(("sub-concept", label, fire(random, families, part)))
    for kind, owns in hidden.items():
        activities += [(kind, -1, fire(random, families, own)) for own in owns]
    for kind, count in law.counts.items():
        for at in range(count):
            if kind == IDENTITY:
                activities.append((kind, -1, _identity(random, sequences, at)))
            elif kind not in HIDDEN:
                targets = law.targets.get(kind, range(len(sites)))
                label = targets[at % len(targets)]
                activities.append((kind, label, law.traps[kind](random, families, label, sites)))
    kinds, targets, drawn = zip(*activities, strict=True)
    return World(
        families.axis,
        _labels(law),
        _annotate(random, law, families, sites),
        build_codes(families.axis, drawn),
        kinds,
        np.array(targets, np.int64),
        sequences,
        # Sites bear motifs, so letters are enriched there: associated, by no plan.
        unjudged=(IDENTITY,),
        fractions=fractions,
    )


def _marked(law: Law, sites: list[Sites]) -> list[Sites]:
    """Return the labels' sites that bear a motif: not those that cover much of the chains."""
    return [own for own, concept in zip(sites, law.labels, strict=True) if concept.density >= 1]


def _identity(random: Random, sequences: Sequences, letter: int) -> Activity:
    token = np.flatnonzero(sequences.letters == letter % 20)
    token = token[random.random(len(token)) < 0.9]
    return Activity(token, (0.6 * random.lognormal(0.0, 0.2, len(token))).astype(np.float32))


def _labels(law: Law) -> tuple[Label, ...]:
    group = ("sites", "assessed in part")
    return tuple(
        Label(f"L{at:02d}", group[at % 2], f"planted, in {concept.share:.0%} of the families")
        for at, concept in enumerate(law.labels)
    )


def _annotate(random: Random, law: Law, families: Families, sites: list[Sites]) -> Runs:
    """Return what annotators know: families are lost, records missing, one group assessed less."""
    n_records = families.axis.n_records
    known = np.ones((2, n_records), np.bool_)
    known[1] = random.random(n_records) < ASSESSED
    parts = []
    for label, own in enumerate(sites):
        lost = random.random(len(families.length)) < law.lost
        missing = random.random(n_records) < law.missing
        placed = place_sites(families, own)
        kept = ~lost[own.family[placed.site]] & ~missing[placed.record]
        kept &= known[label % 2, placed.record]
        start, stop = placed.start[kept], placed.stop[kept]
        parts.append(np.stack([np.full(len(start), label), start, stop]))
    label, start, stop = np.concatenate(parts, axis=1)
    instance = np.arange(len(label))
    return Runs(label, instance, start, stop, np.full(len(label), -1), known)
