"""What was tested on what: units, splits, nulls, and what could not be judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from sci_interp.axis import TokenAxis
from sci_interp.schema import BLOCK, N_TOKENS, SPLIT, SPLITS, START, STOP

__all__ = ["Design", "SplitSize", "describe_design", "format_design", "measure_splits"]

NULLS = (
    "local (labels rotated inside their records) and swap (labels exchanged between families of "
    "similar records); a site-level link rejects both"
)
GRID_NULLS = (
    "local (labels rotated by whole columns, one shift a block; labels of whole records shifted "
    "from record to record inside their block) and swap (tracks of whole blocks exchanged inside "
    "their season); a site-level link rejects both"
)


class SplitSize(TypedDict):
    """Size of a split.

    Attributes
    ----------
    n_families, n_records, n_tokens : int
        Its families, records and tokens.
    n_effective : float
        Families of equal size with as much say in unweighted counts of tokens, by Kish:
        (sum of tokens)^2 / sum of squared tokens, over families.
    """

    n_families: int
    n_effective: float
    n_records: int
    n_tokens: int


def measure_splits(axis: TokenAxis) -> dict[str, SplitSize]:
    """Return the size of every split that holds a record, in order."""
    table = axis.records.assign(**{N_TOKENS: axis.records[STOP] - axis.records[START]})
    sizes: dict[str, SplitSize] = {}
    for split in SPLITS:
        part = table[table[SPLIT] == split]
        if part.empty:
            continue
        tokens = part.groupby(BLOCK, sort=False)[N_TOKENS].sum().to_numpy(np.float64)
        sizes[split] = SplitSize(
            n_families=len(tokens),
            n_effective=float(tokens.sum() ** 2 / (tokens**2).sum()),
            n_records=len(part),
            n_tokens=int(tokens.sum()),
        )
    return sizes


class Design(TypedDict):
    """What the records are.

    Attributes
    ----------
    text : str
        What the dataset says of its blocks; empty where it says nothing.
    has_steps : bool
        Whether tracks are moved by whole steps, and tokens weigh by their area.
    """

    text: str
    has_steps: bool


def describe_design(axis: TokenAxis) -> Design:
    """Return what the records of an axis are."""
    return Design(text=axis.design, has_steps=len(axis.step_weights) > 1)


def format_design(
    splits: Mapping[str, SplitSize],
    settings: Mapping[str, Any],
    not_identifiable: Mapping[str, int],
    design: Design,
) -> str:
    """Return the lines that stand above a table.

    Parameters
    ----------
    splits
        Size of every split.
    settings
        Settings of ``enrich``.
    not_identifiable
        Reason to number of candidate pairs, over both directions.
    design
        What the records are.
    """
    unit = "blocks" if design["has_steps"] else "families"
    lines = [f"Units: {unit}, and records in them; the effective number counts tokens."]
    lines += [design["text"]] if design["text"] else []
    lines += [
        f"  {split}: {size['n_families']:,} {unit} (effective {size['n_effective']:,.1f}), "
        f"{size['n_records']:,} records, {size['n_tokens']:,} tokens"
        for split, size in splits.items()
    ]
    if settings.get("protocol") == "interplm":
        return "\n".join([*lines, "Nulls: none, nothing was tested."])
    lines.append(f"Nulls: {GRID_NULLS if design['has_steps'] else NULLS}.")
    if settings.get("n_per_label"):
        lines.append(
            f"Tested: at most {settings['n_per_label']} features per label and direction, those "
            "with the largest T on the half that chose."
        )
    found = [f"{count:,} {reason}" for reason, count in not_identifiable.items() if count]
    reasons = f" ({'; '.join(found)})" if found else ""
    n_pairs = sum(not_identifiable.values())
    lines.append(f"Not identifiable: {n_pairs:,} candidate pairs{reasons}.")
    return "\n".join(lines)
