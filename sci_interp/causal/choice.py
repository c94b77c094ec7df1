"""On which records to intervene: those on which a feature fires most, from blocks held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.adapter import Dataset
from sci_interp.axis import TokenAxis, block_position
from sci_interp.codes import Codes
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.progress import track
from sci_interp.schema import BLOCK, BLOCKS_SEEN, RECORD, Split

__all__ = ["CHOSEN_COLUMNS", "choose_strongest", "find_records"]

CHOSEN_COLUMNS = (RECORD, BLOCK)
#: Tokens that are read at once.
SLICE_TOKENS = 16_384
HELD_OUT: tuple[Split, ...] = ("test",)


def find_records(dataset: Dataset, records: Sequence[str]) -> pd.DataFrame:
    """Return the rows ``record, block`` of records that were named.

    Raises
    ------
    InputError
        If none is named, or one twice.
    UnknownNameError
        If the dataset has no such record.
    """
    if not records:
        raise InputError("no record was named", todo="Name some, or leave the choice to the verb")
    table = dataset.table
    blocks = dict(zip(table[RECORD].astype(str), table[BLOCK].astype(str), strict=True))
    for at, record in enumerate(records):
        if record not in blocks:
            raise UnknownNameError("record", record, blocks)
        if record in records[:at]:
            raise InputError(f"record {record!r} is named twice", todo="Name it once")
    return pd.DataFrame({RECORD: list(records), BLOCK: [blocks[record] for record in records]})


def choose_strongest(
    axis: TokenAxis,
    read: Callable[[int, int], Codes],
    feature: int,
    *,
    parent: Mapping[str, str],
    n_records: int,
    n_per_block: int,
    progress: bool = False,
) -> pd.DataFrame:
    """Return the rows ``record, block`` of test records on which a feature fires most.

    Every block's strongest record comes first, then every block's second, so that as many blocks
    as possible take part.

    Parameters
    ----------
    axis
        The records and their splits.
    read
        Returns the codes of a token range.
    feature
        The feature; records are ranked by its largest activation.
    parent
        What the autoencoder was trained on; blocks that it has seen are left out.
    n_records, n_per_block
        Most records, and most of one block.
    progress
        Tell on standard error how far the search is.

    Raises
    ------
    InputError
        If the feature fires on no record that is held out.
    """
    first, last = axis.record_range(HELD_OUT)
    peak = _peaks(axis, read, feature, (first, last), progress=progress)
    table = axis.records.iloc[first:last][[RECORD, BLOCK]].reset_index(drop=True)
    peak = np.where(_is_seen(table[BLOCK], parent), 0.0, peak)
    order = np.argsort(-peak, kind="stable")
    table, peak = table.iloc[order[peak[order] > 0]], peak[order[peak[order] > 0]]
    if table.empty:
        raise InputError(
            f"feature {feature} fires on no record of the test blocks",
            todo="Choose another feature, or name records",
        )
    place = table.groupby(BLOCK).cumcount().to_numpy()
    turn = np.lexsort((-peak, place))
    chosen = turn[place[turn] < n_per_block][:n_records]
    return table.iloc[chosen].reset_index(drop=True)


def _peaks(
    axis: TokenAxis,
    read: Callable[[int, int], Codes],
    feature: int,
    span: tuple[int, int],
    *,
    progress: bool,
) -> NDArray[np.float64]:
    """Return the largest activation of a feature on every record of a range."""
    starts = axis.record_starts
    peak = np.zeros(span[1] - span[0])
    end = int(starts[span[1]])
    steps = range(int(starts[span[0]]), end, SLICE_TOKENS)
    for start in track(steps, "intervene: look for firing records", show=progress):
        codes = read(start, min(start + SLICE_TOKENS, end))
        entries = np.flatnonzero(codes.feature == feature)
        token = start + np.searchsorted(codes.indptr, entries, side="right") - 1
        record = np.searchsorted(starts, token, side="right") - 1
        np.maximum.at(peak, record - span[0], codes.value[entries])
    return peak


def _is_seen(blocks: pd.Series, parent: Mapping[str, str]) -> NDArray[np.bool_]:
    if BLOCKS_SEEN not in parent:
        return np.zeros(len(blocks), np.bool_)
    low, high = (float(place) for place in parent[BLOCKS_SEEN].split(":"))
    place = np.array([block_position(block) for block in blocks])
    return (low <= place) & (place <= high)
