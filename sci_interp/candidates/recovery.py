"""The queue of missing annotations measured on the user's data: hide what is known, find it again.

A share of each label's annotated families is hidden before any detector is chosen. Detectors are
then selected anew from the discovery half, by their hybrid F1 on what is left; the permutation
test of the link is not repeated. What the queue lists is compared with what was hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.adapter import Label
from sci_interp.annotations import AnnotationSlice
from sci_interp.axis import TokenAxis
from sci_interp.source import FeatureSource

from .detectors import select_detectors
from .missing import HELD_OUT, queue_missing
from .runs import Runs
from .stretches import block_of_records, stretches

if TYPE_CHECKING:
    from sci_interp.enrichment.inputs import KnownSource

__all__ = ["RECOVERY_COLUMNS", "HiddenAnnotations", "hide_families", "recover_hidden"]

#: Columns of what :func:`recover_hidden` returns.
RECOVERY_COLUMNS = (
    "label",
    "n_hidden",
    "n_listed",
    "n_found",
    "recall",
    "false_share",
    "false_share_hidden",
)


@dataclass(frozen=True, eq=False)
class HiddenAnnotations:
    """Annotations without some labels of some records, which stay assessed for them.

    Attributes
    ----------
    known
        All annotations.
    pairs : (n_pairs,) int64
        ``label * n_records + record`` of what is hidden, ascending.
    """

    known: KnownSource
    pairs: NDArray[np.int64]

    @property
    def axis(self) -> TokenAxis:
        """The records."""
        return self.known.axis

    @property
    def labels(self) -> Sequence[Label]:
        """The labels."""
        return self.known.labels

    @property
    def groups(self) -> Sequence[str]:
        """The label groups."""
        return self.known.groups

    @property
    def group_of_label(self) -> NDArray[np.int64]:
        """Group of every label ``(n_labels,)``."""
        return np.asarray(self.known.group_of_label, np.int64)

    @property
    def digest(self) -> str:
        """Identity of the annotations before anything was hidden."""
        return self.known.digest

    @property
    def events(self) -> NDArray[np.int64]:
        """Instance and event of the instances that share one ``(2, n)``."""
        return self.known.events

    def has(self, label: NDArray[np.int64], record: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether pairs of label and record are hidden ``(n,)``."""
        return np.isin(label * self.axis.n_records + record, self.pairs)

    def read(self, start: int, stop: int) -> AnnotationSlice:
        """Return what is left of the annotations of whole records."""
        found = self.known.read(start, stop)
        record = np.searchsorted(self.axis.record_starts, found.start, "right") - 1
        left = ~self.has(np.asarray(found.label, np.int64), record)
        return AnnotationSlice(
            np.asarray(found.label, np.int32)[left],
            np.asarray(found.instance, np.int64)[left],
            np.asarray(found.start, np.int64)[left],
            np.asarray(found.stop, np.int64)[left],
            np.asarray(found.known_group, np.int32),
            np.asarray(found.known_start, np.int64),
            np.asarray(found.known_stop, np.int64),
        )


def hide_families(
    known: KnownSource, labels: Sequence[int], *, share: float = 0.2, seed: int = 0
) -> tuple[HiddenAnnotations, NDArray[np.int64]]:
    """Hide a share of each label's annotated families.

    Parameters
    ----------
    known
        The annotations.
    labels
        Labels to hide.
    share
        Share of each label's annotated families, of test and vault and of the rest each; one
        family at least.
    seed
        Which families.

    Returns
    -------
    HiddenAnnotations
        What is left.
    (4, n_runs) int64
        Label, record, start and stop of all runs that were hidden.
    """
    runs = _all_runs(known, labels)
    n_records = known.axis.n_records
    block = block_of_records(known.axis)[runs[1]]
    first, last = known.axis.record_range(HELD_OUT)
    held_out = (runs[1] >= first) & (runs[1] < last)
    hidden = np.zeros(runs.shape[1], bool)
    for label in np.unique(runs[0]).tolist():
        generator = np.random.default_rng([seed, 4, label])
        for side in (held_out, ~held_out):
            rows = (runs[0] == label) & side
            families = np.unique(block[rows])
            n_hidden = min(len(families), max(1, round(share * len(families))))
            chosen = generator.choice(families, n_hidden, replace=False)
            hidden |= rows & np.isin(block, chosen)
    pairs = np.unique(runs[0, hidden] * n_records + runs[1, hidden])
    return HiddenAnnotations(known, pairs), runs[:, hidden]


def _all_runs(known: KnownSource, labels: Sequence[int]) -> NDArray[np.int64]:
    """Return label, record, start and stop of all runs of some labels ``(4, n_runs)``."""
    parts = [np.zeros((4, 0), np.int64)]
    for stretch in stretches(known.axis, 0, known.axis.n_records):
        found = known.read(stretch.start, stretch.stop)
        record = stretch.record[found.start - stretch.start]
        columns = (found.label, record, found.start, found.stop)
        rows = np.stack([np.asarray(column, np.int64) for column in columns])
        parts.append(rows[:, np.isin(found.label, labels)])
    return np.concatenate(parts, axis=1)


def recover_hidden(
    features: FeatureSource,
    known: KnownSource,
    labels: Sequence[int],
    *,
    decoys: Sequence[FeatureSource] | None,
    share: float = 0.2,
    q: float = 0.05,
    n_labels: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Hide annotations by family, choose detectors anew, and measure what the queue finds again.

    Parameters
    ----------
    features, known, decoys, q
        As for :func:`sci_interp.candidates.missing.queue_missing`.
    labels
        Labels sought.
    share
        Share of each label's annotated families to hide, in every half.
    n_labels
        Labels measured at most; of more, as many are drawn.
    seed
        Which families, and labels, are drawn.

    Returns
    -------
    DataFrame
        One row a label: ``label``; ``n_hidden``: records of test and vault that bore it and lost
        it; ``n_listed``: records that the queue lists; ``n_found``: listed records whose listed
        run touches a hidden one; ``recall``: ``n_found / n_hidden``; ``false_share``: ``1 -
        n_found / n_listed``, an upper bound of the false share, for what nobody annotated counts
        as false; ``false_share_hidden``: the same among listed records with hidden annotations.
        NaN where there is none.
    """
    drawn = np.random.default_rng([seed, 5]).permutation(np.unique(labels))[:n_labels]
    chosen: list[int] = np.sort(drawn).tolist()
    hidden, runs = hide_families(known, chosen, share=share, seed=seed)
    detectors = select_detectors(features, hidden, dict.fromkeys(chosen))
    queue = queue_missing(features, hidden, detectors, decoys=decoys, q=q)
    first, last = known.axis.record_range(HELD_OUT)
    runs = runs[:, (runs[1] >= first) & (runs[1] < last)]
    label = np.array([detector.label for detector in detectors], np.int64)[queue.runs.detector]
    rows = []
    for one in chosen:
        mine, lost = queue.runs.take(label == one), runs[:, runs[0] == one]
        found = _touches(mine, lost)
        among = np.isin(mine.record, lost[1])
        n_hidden, n_found = len(np.unique(lost[1])), int(found.sum())
        rows.append(
            {
                "label": known.labels[one].name,
                "n_hidden": n_hidden,
                "n_listed": len(found),
                "n_found": n_found,
                "recall": n_found / n_hidden if n_hidden else np.nan,
                "false_share": 1 - n_found / len(found) if len(found) else np.nan,
                "false_share_hidden": 1 - found[among].mean() if among.any() else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=list(RECOVERY_COLUMNS))


def _touches(runs: Runs, lost: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which runs touch a hidden one."""
    order = np.argsort(lost[2], kind="stable")
    start, reach = lost[2, order], np.maximum.accumulate(lost[3, order])
    before = np.searchsorted(start, runs.stop) - 1
    touched: NDArray[np.bool_] = (before >= 0) & (
        np.append(reach, 0)[np.maximum(before, -1)] > runs.start
    )
    return touched
