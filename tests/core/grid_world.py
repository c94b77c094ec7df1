"""Smooth random fields on a small grid, as records of whole columns, with planted labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from planted import annotations, to_codes

from sci_interp.adapter import Label
from sci_interp.axis import TokenAxis
from sci_interp.enrichment.memory import MemoryFeatures

ROWS, COLUMNS = 5, 12
ROW_WEIGHTS = (2, 5, 7, 5, 2)
HALVES = {"train": 0.0, "discovery": 0.5, "test": 0.5, "vault": 0.0}


def grid_axis(n_blocks=24, n_days=20, *, exchange=3, fractions=HALVES):
    """Return records of ``ROWS x COLUMNS`` tokens, columns outermost, in blocks of days."""
    rows = [
        (f"d{block:02d}-{day:02d}", f"b{block}", ROWS * COLUMNS, f"s{block % exchange}")
        for block in range(n_blocks)
        for day in range(n_days)
    ]
    table = pd.DataFrame(rows, columns=["record", "block", "n_tokens", "exchange"])
    return TokenAxis.build(table, fractions, step_weights=ROW_WEIGHTS)


def smooth_fields(axis, rng, *, memory=0.9):
    """Return fields ``(n_records, COLUMNS, ROWS)``: smooth on a ring, AR(1) in blocks."""
    n = axis.n_records
    noise = rng.standard_normal((n, COLUMNS, ROWS))
    noise = noise + np.roll(noise, 1, 1) + np.roll(noise, -1, 1)
    noise[:, :, 1:] += noise[:, :, :-1]
    noise /= noise.std()
    found = noise.copy()
    opens = set(axis.block_starts.tolist())
    for record in range(n):
        if record not in opens:
            found[record] = memory * found[record - 1] + np.sqrt(1 - memory**2) * noise[record]
    return found


def to_features(axis, fields):
    """Return codes of fields ``(n_features, n_records, COLUMNS, ROWS)``: positive parts."""
    values = np.stack([field.reshape(-1) for field in fields], axis=1)
    level = np.clip(np.rint(120 + 60 * np.log2(np.maximum(values, 1e-3))), 1, 255)
    return MemoryFeatures(
        axis, to_codes(np.where(values > 0.8, level, 0).astype(np.uint8)), len(fields)
    )


def to_annotations(axis, masks, *, known=None, extent="tokens"):
    """Return annotations of masks ``{name: (n_records, COLUMNS, ROWS)}``; an instance a record."""
    labels = [Label(name, "phenomena", "planted", extent=extent) for name in masks]
    runs = []
    size = ROWS * COLUMNS
    for at, mask in enumerate(masks.values()):
        for record, flat in enumerate(mask.reshape(len(mask), -1)):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int), [0]])))
            for start, stop in edges.reshape(-1, 2).tolist():
                runs.append((at, at * 10**6 + record, record * size + start, record * size + stop))
    if known is None:
        known = [(0, record * size, (record + 1) * size) for record in range(axis.n_records)]
    return annotations(axis, labels, runs, known)
