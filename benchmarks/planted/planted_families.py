"""Families of homologues: where concepts have sites, and features that fire there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted_data import Activity, Ints, tokens_of

from sci_interp.axis import TokenAxis
from sci_interp.schema import Split

__all__ = [
    "Concept",
    "Families",
    "Placed",
    "Random",
    "Sites",
    "draw_families",
    "draw_sites",
    "fire",
    "place_sites",
    "scatter",
    "some_families",
]

Random = np.random.Generator
#: Share of a concept's sites that its feature knows, and of a site's tokens at which it fires.
SITE_RECALL, TOKEN_RECALL = 0.95, 0.85
#: Rate at which features fire where their concept is not.
BACKGROUND = 0.002


class Concept(NamedTuple):
    """What is laid out.

    Attributes
    ----------
    share : float
        Share of the families that have it.
    width : (int, int)
        Shortest and longest site.
    density : float
        Sites per family where 1 or more; below, the share of a chain that sites shall cover.
    place : str
        ``"anywhere"``, ``"head"`` or ``"tail"`` (inside the first or last tokens of a chain).
    """

    share: float
    width: tuple[int, int]
    density: float = 1.2
    place: str = "anywhere"


class Families(NamedTuple):
    """Families on an axis.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    length : (n_families,) int64
        Tokens that all homologues share.
    first : (n_families + 1,) int64
        First record of every family.
    cut, inserted : (n_records,) int64
        Shared tokens before which a record has some of its own, and how many. They lie in the
        middle of the chain: were they at an end, all that is said to share nothing but its
        distance from that end would share them too.
    """

    axis: TokenAxis
    length: Ints
    first: Ints
    cut: Ints
    inserted: Ints


class Sites(NamedTuple):
    """Sites in the tokens that a family shares."""

    family: Ints
    start: Ints
    stop: Ints


class Placed(NamedTuple):
    """Sites in all records of their families, in tokens of the axis."""

    site: Ints
    record: Ints
    start: Ints
    stop: Ints


def draw_families(
    random: Random, sizes: Ints, lengths: Ints, *, name: str, fractions: Mapping[Split, float]
) -> Families:
    """Make records of families; ``name`` decides which of them are in which half."""
    family = np.repeat(np.arange(len(sizes)), sizes)
    inserted = random.integers(0, 7, len(family))
    table = pd.DataFrame(
        {
            "record": [f"{name}f{at:05d}r{row}" for row, at in enumerate(family)],
            "block": [f"{name}f{at:05d}" for at in family],
            "n_tokens": lengths[family] + inserted,
            "family": family,
            "cut": (lengths[family] * random.uniform(0.4, 0.6, len(family))).astype(np.int64),
            "inserted": inserted,
        }
    )
    axis = TokenAxis.build(table, fractions)
    drawn = table.set_index("record").loc[axis.records["record"]]
    order = drawn["family"].to_numpy()[axis.block_starts[:-1]]
    cut, own = (drawn[name].to_numpy(np.int64) for name in ("cut", "inserted"))
    return Families(axis, lengths[order], axis.block_starts, cut, own)


def draw_sites(random: Random, families: Families, concept: Concept) -> Sites:
    """Draw the sites of a concept, independent of all others."""
    owns = np.flatnonzero(random.random(len(families.length)) < concept.share)
    length = families.length[owns]
    mean_width = (concept.width[0] + concept.width[1]) / 2
    if concept.density >= 1:
        n_sites = 1 + (random.random(len(owns)) < concept.density - 1).astype(np.int64)
    else:
        wanted = -np.log(1 - concept.density) * length / mean_width  # sites may overlap
        n_sites = np.maximum(random.poisson(wanted), 1)
    family = np.repeat(owns, n_sites)
    width = random.integers(concept.width[0], concept.width[1] + 1, len(family))
    room = families.length[family] - width
    start = (random.random(len(family)) * room).astype(np.int64)
    if concept.place != "anywhere":
        near = random.integers(0, 4, len(family))
        start = near if concept.place == "head" else room - near
    return Sites(family, start, start + width)


def place_sites(families: Families, sites: Sites) -> Placed:
    """Lay sites out in every record of their families; what a record inserts belongs to them."""
    first, last = families.first[sites.family], families.first[sites.family + 1]
    site, record = tokens_of(first, last)
    origin, cut = families.axis.record_starts[record], families.cut[record]
    start, stop = sites.start[site], sites.stop[site]
    start = start + families.inserted[record] * (start >= cut)
    stop = stop + families.inserted[record] * (stop > cut)
    return Placed(site, record, origin + start, origin + stop)


def fire(random: Random, families: Families, sites: Sites) -> Activity:
    """Return a feature that fires at sites, strongest at their centres, and rarely elsewhere."""
    known = random.random(len(sites.family)) < SITE_RECALL  # by site: homologues are alike
    sites = Sites(*(column[known] for column in sites))
    placed = place_sites(families, sites)
    run, token = tokens_of(placed.start, placed.stop)
    kept = random.random(len(run)) < TOKEN_RECALL
    run, token = run[kept], token[kept]
    half = (placed.stop - placed.start)[run] / 2
    away = np.abs(token + 0.5 - placed.start[run] - half) / half
    value = 0.6 * random.lognormal(0.0, 0.2, len(placed.start))[run] * (1 - 0.5 * away)
    stray, weak = scatter(random, families, BACKGROUND)
    token, value = np.append(token, stray), np.append(value, weak)
    order = np.argsort(token, kind="stable")
    return Activity(token[order], np.maximum(value[order], 1e-3).astype(np.float32))


def scatter(random: Random, families: Families, rate: float) -> tuple[Ints, NDArray[np.float64]]:
    """Return tokens drawn one by one, and their values."""
    token = np.flatnonzero(random.random(families.axis.n_tokens) < rate)
    return token, 0.2 * random.lognormal(0.0, 0.3, len(token))


def some_families(random: Random, sites: Sites, share: float) -> Sites:
    """Return the sites of a share of the families that have any."""
    owners = np.unique(sites.family)
    chosen = owners[random.random(len(owners)) < share]
    return Sites(*(column[np.isin(sites.family, chosen)] for column in sites))
