"""Event recall: the share of events of which a feature hits one instance at least.

An event is a phenomenon that several records show, such as a storm followed from day to day. An
instance that belongs to no listed event is an event of its own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.schema import Split

from .chunks import Chunk, Study, each_chunk
from .positions import meets, read_activity

__all__ = ["recall_events"]

Ints = NDArray[np.int64]


def recall_events(study: Study, pairs: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Return the number of events and the share hit of pairs at their thresholds in a split.

    Parameters
    ----------
    study
        Codes and annotations.
    pairs : DataFrame
        Columns ``feature, label, bin``.
    split
        Where to look.

    Returns
    -------
    DataFrame
        The index of ``pairs``; columns ``n_events, event_recall``; NaN for pairs of a label none
        of whose instances belongs to a listed event, or none of whose group's tokens is known.
    """
    result = pd.DataFrame(np.nan, index=pairs.index, columns=["n_events", "event_recall"])
    listed = study.known.events
    if listed.shape[1] == 0:
        return result
    for chunk in each_chunk(study, split, pairs):
        numbers = chunk.tracks.instances.number
        at = np.minimum(np.searchsorted(listed[0], numbers), listed.shape[1] - 1)
        belongs = listed[0, at] == numbers
        event = np.where(belongs, listed[1, at], -1 - numbers)
        for row, index in enumerate(chunk.piece.index):
            label = int(chunk.pairs.label[row])
            own = slice(*chunk.tracks.instances.first[label : label + 2])
            if belongs[own].any():
                hit = _hit_instances(chunk, row, label)
                n_events = len(np.unique(event[own]))
                result.loc[index] = n_events, len(np.unique(event[own][hit])) / n_events
    return result


def _hit_instances(chunk: Chunk, row: int, label: int) -> NDArray[np.bool_]:
    """Return which instances of the pair's label the feature hits ``(n_instances,)``."""
    instances = chunk.tracks.instances
    row, lowest = int(chunk.pairs.row[row]), int(chunk.pairs.bin[row])
    activity = read_activity(chunk.entries, row, lowest, chunk.tracks.units)
    bounds = instances.run[instances.first[label] : instances.first[label + 1] + 1]
    runs = slice(int(bounds[0]), int(bounds[-1]))
    inside = meets(activity, instances.start[runs], instances.stop[runs])
    return np.logical_or.reduceat(inside, bounds[:-1] - bounds[0])
