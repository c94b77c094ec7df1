"""Averages of drawn features: mean map of the activation, composite of the field.

One pass over the codes of the test split, whole records at a time; then one over the records that
the composites need. Memory holds one stretch, a number per drawn feature and record, and sums of
the size of a drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import Adapter, Dataset, Plane
from sci_interp.axis import TokenAxis
from sci_interp.candidates.stretches import entries, split_stretches
from sci_interp.errors import InputError
from sci_interp.schema import EXCHANGE, LEVELS_PER_OCTAVE, MAX_LEVEL, RECORD
from sci_interp.source import FeatureSource

from .cells import Mesh

__all__ = ["Average", "Composite", "average_features", "share_of_level"]

_SEED = 0


@dataclass(frozen=True, eq=False)
class Composite:
    """What the field is like where a feature is strong, beside what it is like at random.

    Attributes
    ----------
    difference : (n_y, n_x) float64
        Mean field of the strongest records minus that of the drawn ones, on the cells of the
        field's mesh; NaN where either is unknown.
    n_records : int
        Records on each side.
    groups : tuple of (name, count)
        Records on each side by what may be exchanged (a season); empty where nothing says so.
    """

    difference: NDArray[np.float64]
    n_records: int
    groups: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Average:
    """One feature over the test split.

    Attributes
    ----------
    mean : (n_y, n_x) float64
        Mean share of the feature's scale in each cell of the tokens; NaN in cells without tokens.
    n_records, n_firing : int
        Records of the split, and those in which the feature fires.
    composite : Composite or None
        None where it fires in no record.
    """

    mean: NDArray[np.float64]
    n_records: int
    n_firing: int
    composite: Composite | None


@dataclass(frozen=True, eq=False)
class _Firing:
    """Sums over the test split, a row for each drawn feature.

    ``total`` (n_drawn, n_cells); ``level`` and ``mass`` (n_drawn, n_records): strongest level, and
    sum of the shares, of each record.
    """

    total: NDArray[np.float64]
    level: NDArray[np.uint8]
    mass: NDArray[np.float32]

    def strongest(self, row: int, n: int) -> NDArray[np.int64]:
        """Return the ``n`` records in which a feature is strongest, of those where it fires.

        By the strongest level; then by the sum over the record, then the earlier one.
        """
        order = np.lexsort((-self.mass[row], -self.level[row].astype(np.int64)))[:n]
        strongest: NDArray[np.int64] = order[self.level[row, order] > 0]
        return strongest


def share_of_level(level: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share of the feature's scale that each level stands for, 0 for inactive."""
    share = np.exp2((level.astype(np.float64) - MAX_LEVEL) / LEVELS_PER_OCTAVE)
    return np.where(level > 0, share, 0.0)


def average_features(
    features: FeatureSource,
    chosen: Sequence[int],
    adapter: Adapter,
    dataset: Dataset,
    *,
    field_mesh: Mesh,
    n_strongest: int = 100,
) -> dict[int, Average]:
    """Average features over the test split.

    Parameters
    ----------
    features
        Quantised codes.
    chosen
        Features to average.
    adapter, dataset
        Who knows the plane of every record; all planes must be of the same grids.
    field_mesh
        Cells in which the composite is drawn.
    n_strongest
        Records in a composite; fewer where the feature fires in fewer. The same number is drawn
        at random, as many from each group of records that may be exchanged.

    Returns
    -------
    dict
        Average of every feature; empty where the split has no record.

    Raises
    ------
    InputError
        If two records lie on different grids.
    """
    axis = features.axis
    first, last = axis.record_range(["test"])
    if first == last or not chosen:
        return {}
    plane = _plane(adapter, dataset, axis, first)
    drawn = list(dict.fromkeys(chosen))
    firing = _firing(features, drawn, plane)
    strong = [firing.strongest(row, n_strongest) for row in range(len(drawn))]
    composites = _composites(strong, adapter, dataset, axis, plane=plane, mesh=field_mesh)
    n_tokens = np.bincount(plane.cell, minlength=firing.total.shape[1]).astype(np.float64)
    n_tokens[n_tokens == 0] = np.nan
    shape, n_records = (len(plane.y), len(plane.x)), last - first
    return {
        feature: Average(
            (firing.total[row] / (n_tokens * n_records)).reshape(shape),
            n_records,
            int((firing.level[row] > 0).sum()),
            composites[row],
        )
        for row, feature in enumerate(drawn)
    }


def _plane(adapter: Adapter, dataset: Dataset, axis: TokenAxis, row: int) -> Plane:
    record = str(axis.records[RECORD].iloc[row])
    plane = adapter.view(dataset, record).plane
    n_tokens = int(axis.record_starts[row + 1] - axis.record_starts[row])
    if plane is None or len(plane.cell) != n_tokens:
        raise InputError(
            f"record {record!r} has {n_tokens} tokens, and its view no plane of as many",
            allowed="a plane for every record, or for none",
        )
    return plane


def _firing(features: FeatureSource, chosen: Sequence[int], plane: Plane) -> _Firing:
    """Sum the activations of the test split; reads its codes once."""
    axis = features.axis
    first, last = axis.record_range(["test"])
    n_cells = len(plane.y) * len(plane.x)
    slot_of = np.full(features.n_features, -1, np.int64)
    slot_of[list(chosen)] = np.arange(len(chosen))
    total = np.zeros((len(chosen), n_cells))
    level = np.zeros((len(chosen), last - first), np.uint8)
    mass = np.zeros((len(chosen), last - first), np.float32)
    for stretch in split_stretches(axis, ["test"]):
        lengths = np.diff(axis.record_starts[stretch.first : stretch.last + 1])
        if (lengths != len(plane.cell)).any():
            raise InputError("records of the test split lie on different grids")
        token, feature, value = entries(features.read(stretch.start, stretch.stop))
        slot = slot_of[feature]
        is_drawn = slot >= 0
        token, value, slot = token[is_drawn], value[is_drawn], slot[is_drawn]
        share = share_of_level(value)
        record = stretch.record[token] - first
        place = token + stretch.start - axis.record_starts[stretch.record[token]]
        np.add.at(total, (slot, plane.cell[place]), share)
        np.maximum.at(level, (slot, record), value)
        np.add.at(mass, (slot, record), share.astype(np.float32))
    return _Firing(total, level, mass)


def _composites(
    strong: Sequence[NDArray[np.int64]],
    adapter: Adapter,
    dataset: Dataset,
    axis: TokenAxis,
    *,
    plane: Plane,
    mesh: Mesh,
) -> list[Composite | None]:
    """Compare the fields of each set of records of the test split with as many at random."""
    first, last = axis.record_range(["test"])
    exchange = axis.records[EXCHANGE].to_numpy()[first:last].astype(str)
    names, group = np.unique(exchange, return_inverse=True)
    # One random order for all features: what is drawn for one is mostly drawn for others.
    order = np.random.default_rng(_SEED).permutation(last - first)
    drawn = [_draw(records, group, order) for records in strong]
    sets = [first + records for records in (*strong, *drawn)]
    means = _mean_fields(sets, adapter, dataset, axis, plane=plane, mesh=mesh)
    return [
        Composite(
            means[row] - means[len(strong) + row], len(records), _counts(names, group[records])
        )
        if len(records)
        else None
        for row, records in enumerate(strong)
    ]


def _draw(
    records: NDArray[np.int64], group: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return as many records as given, as many of each group: its first in a random order."""
    wanted = np.bincount(group[records], minlength=int(group.max()) + 1)
    taken = [order[group[order] == number][:n] for number, n in enumerate(wanted.tolist()) if n]
    return np.concatenate([np.zeros(0, np.int64), *taken])


def _counts(names: NDArray[np.str_], group: NDArray[np.int64]) -> tuple[tuple[str, int], ...]:
    """Return the number of records of every named group."""
    counts = np.bincount(group, minlength=len(names)).tolist()
    pairs = zip(names.tolist(), counts, strict=True)
    return tuple((name, count) for name, count in pairs if name and count)


def _mean_fields(
    sets: Sequence[NDArray[np.int64]],
    adapter: Adapter,
    dataset: Dataset,
    axis: TokenAxis,
    *,
    plane: Plane,
    mesh: Mesh,
) -> NDArray[np.float64]:
    """Return the mean field ``(n_sets, n_y, n_x)`` over each set of records; NaN where none."""
    total = np.zeros((len(sets), *mesh.shape))
    n = np.zeros((len(sets), *mesh.shape), np.int64)
    for record in np.unique(np.concatenate(sets)).tolist():
        found = _plane(adapter, dataset, axis, record)
        if not _same_grids(found, plane):
            name = axis.records[RECORD].iloc[record]
            raise InputError(f"record {name!r} lies on another grid than the first of its split")
        field = mesh.mean(found.field)
        is_finite = np.isfinite(field)
        for row, records in enumerate(sets):
            if record in records:
                total[row] += np.where(is_finite, field, 0.0)
                n[row] += is_finite
    means: NDArray[np.float64] = np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)
    return means


def _same_grids(one: Plane, other: Plane) -> bool:
    names = ("x", "y", "cell", "field_x", "field_y")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
