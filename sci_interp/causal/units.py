"""Measurements, a few records at a time: each unit goes through all arms and is committed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.journal import Journal
from sci_interp.manifest import digest_file
from sci_interp.progress import track
from sci_interp.schema import BLOCK, JOURNAL_FILE, RECORD
from sci_interp.shards import verify_file
from sci_interp.tables import read_table, write_table

from .arms import Arm, Bench
from .result import part_name

__all__ = ["long_table", "measure_units"]

#: Records of a unit: what a kill can cost.
UNIT_RECORDS = 8


def measure_units(
    folder: Path | None,
    bench: Bench,
    chosen: pd.DataFrame,
    arms: Sequence[Arm],
    *,
    progress: bool,
) -> NDArray[np.float64]:
    """Run all arms on the chosen records, unit by unit.

    Parameters
    ----------
    folder
        Artefact that was begun; units that it holds are read and not run again.
    bench
        Runs an arm on records.
    chosen
        Columns ``record, block``.
    arms
        The arms.
    progress
        Tell on standard error how far the work is.

    Returns
    -------
    (n_records, n_arms, n_endpoints) float64
        What was measured.

    Raises
    ------
    StoreError
        If a committed unit is damaged, or the disk refuses.
    """
    journal = None if folder is None else Journal(folder / JOURNAL_FILE)
    shape = (-1, len(arms), len(bench.endpoints))
    parts = []
    for unit, start in enumerate(range(0, len(chosen), UNIT_RECORDS)):
        rows = chosen.iloc[start : start + UNIT_RECORDS]
        if folder is not None and journal is not None and unit in journal.entries:
            files = journal.entries[unit].files
            for name in files:
                verify_file(folder, name, files)
            parts.append(read_table(folder, part_name(unit))["value"].to_numpy().reshape(shape))
            continue
        label = f"intervene: records {start + 1} to {start + len(rows)} of {len(chosen)}, arms"
        names = rows[RECORD].tolist()
        measured = [bench.measure(names, arm) for arm in track(arms, label, show=progress)]
        bench.share.forget()
        parts.append(np.stack(measured, axis=1))
        if folder is not None and journal is not None:
            table = long_table(rows, arms, bench.endpoints, parts[-1])
            write_table(folder, part_name(unit), table)
            written = [f"{part_name(unit)}.{end}" for end in ("csv", "parquet")]
            journal.commit(unit, {name: digest_file(folder / name) for name in written})
    return np.concatenate(parts)


def long_table(
    chosen: pd.DataFrame,
    arms: Sequence[Arm],
    endpoints: Sequence[str],
    values: NDArray[np.float64],
) -> pd.DataFrame:
    """Return one row per record, arm and endpoint, in this order."""
    inner = len(arms) * len(endpoints)

    def of_arms(column: Sequence[Any]) -> NDArray[Any]:
        return np.tile(np.repeat(np.array(column), len(endpoints)), len(chosen))

    return pd.DataFrame(
        {
            RECORD: np.repeat(chosen[RECORD].to_numpy(), inner),
            BLOCK: np.repeat(chosen[BLOCK].to_numpy(), inner),
            "arm": of_arms([arm.kind for arm in arms]),
            "coefficient": of_arms([arm.coefficient for arm in arms]),
            "control": of_arms([arm.control for arm in arms]),
            "endpoint": np.tile(np.array(list(endpoints)), len(chosen) * len(arms)),
            "value": values.reshape(-1),
        }
    )
