"""Rules that call a feature and a label linked: ours, the published one, and what is often done.

Every rule chooses thresholds on the discovery half. Ours also tests the other way round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from planted_counts import FLOORS, Half, at_threshold, pick
from planted_data import Ints, World
from scipy.special import stdtr
from scipy.stats import hypergeom

import sci_interp as si
from sci_interp.enrichment.measures import Confusion
from sci_interp.enrichment.significance import adjust_p
from sci_interp.enrichment.sparse_probes import measure_sparse_probes

__all__ = ["OURS", "OURS_WIDER", "RULES", "Calls", "Counted", "apply_rules", "call_ours"]

Floats = NDArray[np.float64]
Q = 0.05
OURS = "**our protocol**"
#: The protocol without the joint null.
OURS_WIDER = "the same, regional links too"
#: Draws of the circular shift in time.
N_SHIFTS = 1_000


@dataclass(frozen=True, eq=False)
class Calls:
    """What a rule calls linked.

    Attributes
    ----------
    linked : (n_labels, n_features) bool
        The pairs.
    seconds : float
        Time of the rule, counting included.
    """

    linked: NDArray[np.bool_]
    seconds: float


@dataclass(frozen=True, eq=False)
class Counted:
    """Counts of both halves at all thresholds.

    Attributes
    ----------
    world : World
        The world.
    known : AnnotationStore
        Its annotations.
    """

    world: World
    known: si.AnnotationStore
    halves: tuple[Half, Half] = field(init=False)

    def __post_init__(self) -> None:
        halves = (Half(self.world, "discovery"), Half(self.world, "test"))
        object.__setattr__(self, "halves", halves)

    @cached_property
    def tables(self) -> tuple[list[Confusion], list[Confusion]]:
        """Counts of discovery and of test at every threshold."""
        first, second = ([half.confusion(floor) for floor in FLOORS] for half in self.halves)
        return first, second

    @cached_property
    def by_f1(self) -> Ints:
        """The threshold of best F1 on discovery."""
        return pick([table.f1 for table in self.tables[0]])

    def both(self, measure: str, chosen: Ints | None = None) -> tuple[Floats, Floats]:
        """Return a measure on both halves, at the threshold where it is best on discovery."""
        values = [[getattr(table, measure) for table in half] for half in self.tables]
        chosen = pick(values[0]) if chosen is None else chosen
        return at_threshold(values[0], chosen), at_threshold(values[1], chosen)

    @cached_property
    def best_f1(self) -> Floats:
        """The best F1 of every feature with any label, on test ``(n_features,)``."""
        best: Floats = self.both("f1", self.by_f1)[1].max(axis=0)
        return best


def call_ours(
    world: World, result: si.EnrichmentResult, classes: Sequence[str] = ("site",)
) -> NDArray[np.bool_]:
    """Return the links of some classes as pairs ``(n_labels, n_features)``."""
    return _pairs(world, result.table[result.table["class"].isin(classes)])


def _pairs(world: World, rows: object) -> NDArray[np.bool_]:
    place = {label.name: at for at, label in enumerate(world.labels)}
    found = np.zeros((len(world.labels), len(world.kind)), np.bool_)
    for feature, label in zip(rows["feature"], rows["label"], strict=True):  # type: ignore[index]
        found[place[label], feature] = True
    return found


def interplm(counted: Counted) -> NDArray[np.bool_]:
    """Hybrid F1 above 0.5 on both halves, as the library reproduces it."""
    world = counted.world
    result = si.enrich(
        world.features, counted.known, protocol="interplm", n_threads=1, progress=False
    )
    return _pairs(world, result.links)


def token_fisher(counted: Counted) -> NDArray[np.bool_]:
    """Fisher's exact test of tokens on the test half, Benjamini-Hochberg."""
    names = ("true_positive", "active", "positive", "known")
    both, active, positive, known = (
        at_threshold(
            [np.broadcast_to(getattr(t, name), t.true_positive.shape) for t in counted.tables[1]],
            counted.by_f1,
        )
        for name in names
    )
    p = np.ones(both.shape)
    more = both * known > active * positive
    p[more] = hypergeom.sf(both[more] - 1, known[more], positive[more], active[more])
    return _reject(p)


def record_t(counted: Counted) -> NDArray[np.bool_]:
    """Robust t over records on the test half, Benjamini-Hochberg."""
    found = [counted.halves[1].record_t(floor) for floor in FLOORS]
    statistic = at_threshold([one[0] for one in found], counted.by_f1)
    freedom = at_threshold([one[1] for one in found], counted.by_f1)
    enough = freedom >= 1
    return _reject(np.where(enough, stdtr(np.where(enough, freedom, 1), -statistic), 1.0))


def mcc(counted: Counted) -> NDArray[np.bool_]:
    """Matthews correlation above 0.5 on both halves."""
    first, second = counted.both("mcc")
    return (first > 0.5) & (second > 0.5)


def area(counted: Counted) -> NDArray[np.bool_]:
    """Area under the ROC curve above 0.8 on both halves."""
    first, second = (half.auroc() for half in counted.halves)
    return (first > 0.8) & (second > 0.8)


def sparse_probe(counted: Counted) -> NDArray[np.bool_]:
    """The features of positive weight in each label's probe of five features."""
    world = counted.world
    table = measure_sparse_probes(world.features, counted.known, k=(5,), n_threads=1)
    place = {label.name: at for at, label in enumerate(world.labels)}
    found = np.zeros((len(world.labels), len(world.kind)), np.bool_)
    for label, features, weights in table[["label", "features", "weights"]].to_numpy():
        for feature, weight in zip(features.split(","), weights.split(","), strict=True):
            found[place[label], int(feature)] = float(weight) > 0
    return found


def time_shift(counted: Counted) -> NDArray[np.bool_]:
    """The label shifted in time around the whole test half, a thousand times; a rule for grids.

    Records must be days of equal size. Benjamini-Hochberg.
    """
    half, world = counted.halves[1], counted.world
    n_days = len(half.bounds) - 1
    names = world.axis.records["record"].to_numpy()[slice(*half.records)]
    place = np.argsort(np.argsort(names, kind="stable"))
    random = np.random.default_rng(0)
    shifts = 1 + random.integers(0, n_days - 1, N_SHIFTS)
    actives = {floor: half.active(floor).tocsc() for floor in FLOORS}
    labels = [_spectrum(half, place, tokens) for tokens in half.tokens_of_label]
    p = np.ones((len(world.labels), len(world.kind)))
    for feature in range(p.shape[1]):
        spectra: dict[int, NDArray[np.complex128]] = {}
        for label in range(len(labels)):
            floor = FLOORS[counted.by_f1[label, feature]]
            if floor not in spectra:
                ends = actives[floor].indptr[feature : feature + 2]
                spectra[floor] = _spectrum(half, place, actives[floor].indices[slice(*ends)])
            products = (labels[label].conj() * spectra[floor]).sum(axis=1)
            overlap = np.rint(np.fft.irfft(products, n_days))
            p[label, feature] = (1 + (overlap[shifts] >= overlap[0]).sum()) / (1 + N_SHIFTS)
    return _reject(p)


def _spectrum(half: Half, place: Ints, tokens: Ints) -> NDArray[np.complex128]:
    """Return the transform along time of where tokens are ``(n_frequencies, n_cells)``."""
    size = int(half.bounds[1])
    found = np.zeros((len(place), size))
    found[place[tokens // size], tokens % size] = 1
    return np.fft.rfft(found, axis=0)


Rule = Callable[[Counted], NDArray[np.bool_]]
#: Rules beside ours, in the order of the table.
RULES: Mapping[str, Rule] = {
    "InterPLM's rule: hybrid F1 > 0.5 twice": interplm,
    "Fisher's test of tokens, BH": token_fisher,
    "robust t over records, BH": record_t,
    "MCC > 0.5 twice": mcc,
    "AUROC > 0.8 twice": area,
    "features of the 5-sparse probe": sparse_probe,
}
#: Further rules where records are days.
GRID_RULES: Mapping[str, Rule] = {"label shifted in time, BH": time_shift}


def apply_rules(counted: Counted, rules: Mapping[str, Rule]) -> dict[str, Calls]:
    """Apply rules one after the other, each with its time."""
    counted.by_f1  # noqa: B018 - counts are shared: their time belongs to no rule
    found = {}
    for name, rule in rules.items():
        started = time.monotonic()
        linked = rule(counted)
        found[name] = Calls(linked, time.monotonic() - started)
    return found


def _reject(p: Floats) -> NDArray[np.bool_]:
    rejected: NDArray[np.bool_] = adjust_p(p.ravel()).reshape(p.shape) <= Q
    return rejected
