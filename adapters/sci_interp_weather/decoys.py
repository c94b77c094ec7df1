"""Decoys: the same records with fields in which no system is where one was, and none is closed.

The phases of the anomalies' two-dimensional Fourier transform are turned at random, in the same
way for all variables and all times of a block (surrogates after Theiler et al. 1992 and Prichard
and Theiler 1994). Spectrum, spread at every place, course in time and the relation between
variables stay; shapes, and what happened where, go. A random field has closed lows of its own:
pressure and geopotential are then levelled, every minimum filled up to where it would overflow and
every maximum cut in the same way, so that no closed contour is left.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .datasets import WeatherDataset
from .fields import Fields, Reader

__all__ = ["level_extrema", "randomise_dataset", "turn_phases"]

#: Variables, by the beginning of their names, that are levelled, and that are never negative.
_LEVELLED: Final = ("msl", "z")
_POSITIVE: Final = ("q", "tp", "tcwv", "ivt")
_DIRECTED: Final = ("ivt_u", "ivt_v")
#: Numbers of a decoy field that are kept in memory instead of being made again.
_KEPT: Final = 64_000_000


def randomise_dataset(dataset: WeatherDataset, seed: int) -> WeatherDataset:
    """Return decoys: same ids, tokens, blocks and climatology, nothing known.

    Parameters
    ----------
    dataset
        The original.
    seed
        Phases follow from it and from the block alone.
    """
    fields = dataset.fields
    readers = {name: _reader(dataset, name, seed) for name in dataset.climatology.variables}
    return dataset.with_fields(Fields(fields.grid, fields.times, readers, fields.static))


def _reader(dataset: WeatherDataset, name: str, seed: int) -> Reader:
    fields, climatology, groups = dataset.fields, dataset.climatology, dataset.blocks.whole
    kept: dict[int, NDArray[np.float32]] = {}

    def make(index: NDArray[np.int64]) -> NDArray[np.float32]:
        found = fields.read(name, index, allow_missing=True)
        # A field that lacks values has no decoy; neither does it hinder those of other times.
        whole = np.isfinite(found).all(axis=(1, 2)) | fields.allows_missing
        made = np.full(found.shape, np.nan, np.float32)
        if whole.any():
            made[whole] = randomise(index[whole], found[whole])
        return made

    def randomise(index: NDArray[np.int64], found: NDArray[np.float32]) -> NDArray[np.float32]:
        times = fields.times[index]
        anomalies = climatology.standardise(name, found, times)
        for group in np.unique(groups[index]).tolist():
            here = groups[index] == group
            anomalies[here] = turn_phases(anomalies[here], f"decoy/{seed}/{group}")
        values = climatology.restore(name, anomalies, times)
        if name.startswith(_LEVELLED):
            values = level_extrema(values, periodic=fields.grid.periodic)
        if name.startswith(_POSITIVE) and name not in _DIRECTED:
            values = np.maximum(values, 0)
        return values

    def read(index: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(groups) * fields.grid.latitude.size * fields.grid.longitude.size > _KEPT:
            return make(index)
        missing = np.array([at for at in index.tolist() if at not in kept], dtype=np.int64)
        if len(missing):
            kept.update(zip(missing.tolist(), make(missing), strict=True))
        return np.stack([kept[at] for at in index.tolist()])

    return read


def turn_phases(anomalies: NDArray[np.float32], key: str) -> NDArray[np.float32]:
    """Turn the Fourier phases of fields by one random amount per wave; the domain mean stays.

    Parameters
    ----------
    anomalies : (n, n_rows, n_columns) float32
        Standardised anomalies.
    key
        The same text gives the same phases.
    """
    digest = hashlib.sha256(key.encode()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:16], "big")).standard_normal(
        anomalies.shape[1:]
    )
    # The transform of a real field has the symmetry that keeps the result real.
    waves = np.fft.rfft2(noise)
    turn = waves / np.abs(waves)
    turn[0, 0] = 1.0
    turned = np.fft.irfft2(np.fft.rfft2(anomalies) * turn, s=anomalies.shape[1:])
    return turned.astype(np.float32)


def level_extrema(values: NDArray[np.float32], *, periodic: bool) -> NDArray[np.float32]:
    """Fill every minimum and cut every maximum that does not reach the edge of the domain.

    Grey-scale reconstruction by erosion and by dilation (Vincent 1993), over eight neighbours. On
    a whole circle of longitude the edge is the northernmost and the southernmost row.

    Parameters
    ----------
    values : (n, n_rows, n_columns) float32
        Fields.
    periodic
        Whether the first column follows the last.
    """
    return -_fill(-_fill(values, periodic=periodic), periodic=periodic)


def _fill(values: NDArray[np.float32], *, periodic: bool) -> NDArray[np.float32]:
    from scipy.ndimage import minimum_filter

    edge = np.ones(values.shape[1:], dtype=bool)
    edge[1:-1, slice(None) if periodic else slice(1, -1)] = False
    water = np.where(edge, values, values.max(axis=(1, 2), keepdims=True))
    modes = ("nearest", "nearest", "wrap" if periodic else "nearest")
    moving = np.arange(len(values))
    while len(moving):
        lower = np.maximum(values[moving], minimum_filter(water[moving], (1, 3, 3), mode=modes))
        changed = (lower != water[moving]).any(axis=(1, 2))
        water[moving] = lower
        moving = moving[changed]
    return water
