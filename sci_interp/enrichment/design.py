"""What was tested on what: units, splits, labels, nulls, and what could not be judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import TokenAxis
from sci_interp.schema import BLOCK, N_TOKENS, SPLIT, SPLITS, START, STOP

from .inputs import KnownSource
from .linking import MIN_EVENT_FAMILIES
from .selection import Selection

__all__ = ["Design", "SplitSize", "describe_design", "format_design", "measure_splits"]

NULLS = (
    "local (labels rotated inside their records), swap (labels exchanged between families of "
    "similar records) and joint (exchanged between families that have the label); a site-level "
    "link rejects all"
)
WHOLE = (
    "; labels of whole records have the swap null alone, and their links are record-level at most"
)
GRID_NULLS = (
    "local (labels rotated by whole columns, one shift a block; labels of whole records shifted "
    "from record to record inside their block), swap (tracks of whole blocks exchanged inside "
    "their season) and joint (exchanged between blocks that have the label); a site-level link "
    "rejects all"
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
    median_records, largest_records, median_tokens, largest_tokens : int
        Length of a family: its records and its tokens, in the median and at most. Absent from
        results of earlier versions.
    """

    n_families: int
    n_effective: float
    n_records: int
    n_tokens: int
    median_records: NotRequired[int]
    largest_records: NotRequired[int]
    median_tokens: NotRequired[int]
    largest_tokens: NotRequired[int]


def measure_splits(axis: TokenAxis) -> dict[str, SplitSize]:
    """Return the size of every split that holds a record, in order."""
    table = axis.records.assign(**{N_TOKENS: axis.records[STOP] - axis.records[START]})
    sizes: dict[str, SplitSize] = {}
    for split in SPLITS:
        part = table[table[SPLIT] == split]
        if part.empty:
            continue
        families = part.groupby(BLOCK, sort=False)[N_TOKENS]
        tokens, records = families.sum().to_numpy(np.float64), families.size().to_numpy()
        sizes[split] = SplitSize(
            n_families=len(tokens),
            n_effective=float(tokens.sum() ** 2 / (tokens**2).sum()),
            n_records=len(part),
            n_tokens=int(tokens.sum()),
            median_records=round(float(np.median(records))),
            largest_records=int(records.max()),
            median_tokens=round(float(np.median(tokens))),
            largest_tokens=int(tokens.max()),
        )
    return sizes


class Design(TypedDict):
    """What the records and the labels are.

    Attributes
    ----------
    text : str
        What the dataset says of its blocks; empty where it says nothing.
    has_steps : bool
        Whether tracks are moved by whole steps, and tokens weigh by their area.
    n_labels, n_nuisances, n_identifiable, n_whole : int
        Labels that are findings; nuisance labels; of the findings, those in enough families of
        both halves to be linked, and those that cover whole records.
    n_events, n_event_instances : int
        Events of several records, and the instances that belong to one. The counts are absent from
        results of earlier versions.
    """

    text: str
    has_steps: bool
    n_labels: NotRequired[int]
    n_nuisances: NotRequired[int]
    n_identifiable: NotRequired[int]
    n_whole: NotRequired[int]
    n_events: NotRequired[int]
    n_event_instances: NotRequired[int]


def describe_design(axis: TokenAxis, known: KnownSource, selection: Selection) -> Design:
    """Return what the records of an axis are, and what is known of them."""
    finding = np.array([not label.nuisance for label in known.labels], bool)
    whole = np.array([label.extent == "records" for label in known.labels], bool)
    families: NDArray[np.int64] = np.minimum(
        selection.n_families["discovery"], selection.n_families["test"]
    )
    return Design(
        text=axis.design,
        has_steps=len(axis.step_weights) > 1,
        n_labels=int(finding.sum()),
        n_nuisances=int((~finding).sum()),
        n_identifiable=int((finding & (families >= MIN_EVENT_FAMILIES)).sum()),
        n_whole=int((finding & whole).sum()),
        n_events=len(np.unique(known.events[1])),
        n_event_instances=known.events.shape[1],
    )


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
        What the records and labels are.
    """
    one, many = ("block", "blocks") if design["has_steps"] else ("family", "families")
    lines = [f"Units: {many}, and records in them; the effective number counts tokens."]
    lines += [design["text"]] if design["text"] else []
    lines += [_format_split(split, size, one, many) for split, size in splits.items()]
    if "n_labels" in design:
        lines += _format_labels(design, many)
    if settings.get("protocol") == "interplm":
        return "\n".join([*lines, "Nulls: none, nothing was tested."])
    nulls = GRID_NULLS if design["has_steps"] else NULLS
    has_whole = bool(design.get("n_whole")) and not design["has_steps"]
    lines.append(f"Nulls: {nulls}{WHOLE if has_whole else ''}.")
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


def _format_split(split: str, size: SplitSize, one: str, many: str) -> str:
    text = (
        f"  {split}: {size['n_families']:,} {many} (effective {size['n_effective']:,.1f}), "
        f"{size['n_records']:,} records, {size['n_tokens']:,} tokens"
    )
    if "median_records" not in size:
        return text
    return (
        f"{text}; a {one} has, in the median and at most, {size['median_records']:,} and "
        f"{size['largest_records']:,} records, {size['median_tokens']:,} and "
        f"{size['largest_tokens']:,} tokens"
    )


def _format_labels(design: Design, many: str) -> list[str]:
    text = (
        f"Labels: {design['n_labels']:,}, of which {design['n_identifiable']:,} are in "
        f"{MIN_EVENT_FAMILIES} {many} of each half and can be linked at all"
    )
    text += f", and {design['n_whole']:,} cover whole records" if design["n_whole"] else ""
    lines = [f"{text}; {design['n_nuisances']:,} more are nuisances."]
    if design["n_events"]:
        lines.append(
            f"Events: {design['n_events']:,}, of {design['n_event_instances']:,} instances that "
            "are followed from record to record; other instances are events of their own."
        )
    return lines
