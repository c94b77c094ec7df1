"""One replicate of a planted world: draw it, apply all rules, score them."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from heldout_again import HELDOUT_AGAIN
from heldout_worlds import HELDOUT_NULLS, HELDOUT_PROTEINS, HELDOUT_WEATHER
from planted_counts import Half
from planted_data import FRACTIONS, Dataset, PlantedAdapter, World
from planted_judgeable import count_judgeable
from planted_rules import (
    GRID_RULES,
    OURS,
    OURS_WIDER,
    RULES,
    Calls,
    Counted,
    Rule,
    apply_rules,
    call_ours,
)
from planted_scores import (
    Population,
    measure_population,
    score_calls,
    score_candidates,
    score_intervals,
    score_units,
)
from planted_tables import format_learned, format_linking, format_nulls
from protein_worlds import PROTEIN_NULLS, PROTEINS, SAE_SEQUENCES, Law, build_proteins
from sae_worlds import run_autoencoders
from weather_worlds import SAE_GRID, SHORT_SEASONS, WEATHER, WEATHER_NULLS, Climate, build_weather

import sci_interp as si
from sci_interp.adapter import Adapter
from sci_interp.axis import DEFAULT_FRACTIONS
from sci_interp.schema import Split

__all__ = ["WORLDS", "Planted", "run_planted"]

#: Worlds of how many families, and how many of them, tell what linked features are worth.
POPULATION_FAMILIES, POPULATION_WORLDS, POPULATION_YEARS = 2_000, 5, 300
#: Stream of the worlds that tell it; replicates count from 0.
POPULATION_STREAM = 10**6


@dataclass(frozen=True)
class Planted:
    """A world that is drawn again and again.

    Attributes
    ----------
    title : str
        Its name in the tables.
    law : Law or Climate
        How it is drawn.
    number : int
        Part of the seeds of its replicates.
    rules : mapping of name to rule
        Rules beside ours.
    n_candidates : int
        Replicates, the first ones, of which candidates are asked for.
    """

    title: str
    law: Law | Climate
    number: int
    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    n_candidates: int = 0

    def build(self, seed: int, replicate: int) -> World:
        """Draw one replicate."""
        return _build(self.law, (seed, self.number, replicate), FRACTIONS)

    def run(self, seed: int, replicate: int, folder: Path) -> dict[str, Any]:
        """Return the numbers of one replicate; the population is kept in a folder."""
        return run_planted(self, seed, replicate, folder)

    def format(self, found: list[dict[str, Any]]) -> list[str]:
        """Return the tables of replicates, as lines of Markdown."""
        return format_linking(found) if self.law.linked else format_nulls(found)

    def draw_population(self, seed: int) -> Iterator[World]:
        """Yield large worlds of the linked features alone."""
        if isinstance(self.law, Law):
            law: Law | Climate = replace(self.law, counts={}, n_families=POPULATION_FAMILIES)
        else:
            law = replace(self.law, counts={}, n_years=POPULATION_YEARS)
        for at in range(POPULATION_WORLDS):
            yield _build(law, (seed, self.number, POPULATION_STREAM + at), FRACTIONS)


@dataclass(frozen=True)
class Learned:
    """A world whose features are the concepts of activations, which autoencoders learn.

    Attributes are those of :class:`Planted`.
    """

    title: str
    law: Law | Climate
    number: int

    def run(self, seed: int, replicate: int, folder: Path) -> dict[str, Any]:  # noqa: ARG002
        """Return the numbers of one replicate; nothing is kept in a folder."""
        started = time.monotonic()
        seeds = (seed, self.number, replicate)
        world = _build(self.law, seeds, DEFAULT_FRACTIONS)
        found = {**_describe(world, seed, replicate), **run_autoencoders(world, replicate)}
        return {**found, "gb": _peak_gb(), "seconds": round(time.monotonic() - started, 2)}

    def format(self, found: list[dict[str, Any]]) -> list[str]:
        """Return the tables of replicates, as lines of Markdown."""
        return format_learned(found)


WORLDS: Mapping[str, Planted | Learned] = {
    "proteins": Planted("proteins", PROTEINS, 0, n_candidates=20),
    "weather": Planted("weather", WEATHER, 1, {**RULES, **GRID_RULES}),
    "weather-short": Planted(
        "weather, seasons of 12 days", SHORT_SEASONS, 4, {**RULES, **GRID_RULES}
    ),
    "null-proteins": Planted("pure null, protein-like", PROTEIN_NULLS, 2),
    "null-weather": Planted("pure null, weather-like", WEATHER_NULLS, 3, {**RULES, **GRID_RULES}),
    "sae-sequences": Learned("autoencoders on sequences", SAE_SEQUENCES, 5),
    "sae-grid": Learned("autoencoders on a grid", SAE_GRID, 6),
    "heldout-proteins": Planted(
        "held out before the joint null: proteins", HELDOUT_PROTEINS, 7, n_candidates=20
    ),
    "heldout-again": Planted("held out: proteins", HELDOUT_AGAIN, 10, n_candidates=20),
    "heldout-weather": Planted("held out: weather", HELDOUT_WEATHER, 8, {**RULES, **GRID_RULES}),
    "heldout-null": Planted("held out: pure null, protein-like", HELDOUT_NULLS, 9),
}


def run_planted(planted: Planted, seed: int, replicate: int, folder: Path) -> dict[str, Any]:
    """Return the numbers of one replicate.

    Parameters
    ----------
    planted
        The world.
    seed, replicate
        Which draw of it.
    folder
        Where the population is kept.
    """
    started = time.monotonic()
    world = planted.build(seed, replicate)
    found = _describe(world, seed, replicate)
    with TemporaryDirectory(prefix="planted-") as temporary:
        known = world.annotate(Path(temporary) / "annotations")
        begun = time.monotonic()
        result = si.enrich(world.features, known, seed=replicate, n_threads=1, progress=False)
        seconds = time.monotonic() - begun
        ours = Calls(call_ours(world, result), seconds)
        wider = Calls(call_ours(world, result, ("site", "regional")), seconds)
        found["gb"] = _peak_gb()
        counted = Counted(world, known)
        calls = {OURS: ours, OURS_WIDER: wider, **apply_rules(counted, planted.rules)}
        found["rules"] = {name: score_calls(world, one) for name, one in calls.items()}
        if world.linked.any():
            population = _population(planted, seed, folder)
            halves: dict[str, Half] = {half.split: half for half in counted.halves}
            found["intervals"] = score_intervals(world, result.table, population)
            found["units"] = score_units(world, result.table, population, halves)
            found["judgeable"] = count_judgeable(world, result.tested, ours.linked, halves)
        if replicate < planted.n_candidates:
            begun = time.monotonic()
            candidates = si.surface(
                world.features,
                result,
                known=known,
                adapter=cast("Adapter", PlantedAdapter(world)),  # there is no network behind it
                dataset=Dataset(world.axis),
                progress=False,
            )
            found["surface_seconds"] = round(time.monotonic() - begun, 3)
            found["candidates"] = score_candidates(world, candidates.gates, counted.best_f1)
    return {**found, "seconds": round(time.monotonic() - started, 2)}


def _describe(world: World, seed: int, replicate: int) -> dict[str, Any]:
    return {
        "replicate": replicate,
        "seed": seed,
        "n_tokens": world.axis.n_tokens,
        "n_labels": len(world.labels),
        "planted": dict(Counter(world.kind)),
    }


def _build(law: Law | Climate, seeds: tuple[int, ...], fractions: Mapping[Split, float]) -> World:
    if isinstance(law, Law):
        return build_proteins(law, seeds, fractions=fractions)
    return build_weather(law, seeds, fractions=fractions)


def _population(planted: Planted, seed: int, folder: Path) -> Population:
    """Return what linked features are worth, measured once and kept."""
    path = folder / f"population-{planted.number}-{seed}.json"
    if not path.exists():
        measured = measure_population(list(planted.draw_population(seed)))
        path.write_text(json.dumps(measured))
    population: Population = json.loads(path.read_text())
    return population


def _peak_gb() -> float:
    """Return the most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(float(peak) / (2**30 if sys.platform == "darwin" else 2**20), 3)
