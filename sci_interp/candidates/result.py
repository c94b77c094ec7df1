"""The two candidate queues as an artefact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sci_interp.disk import read_json, reading
from sci_interp.manifest import finish_artefact, write_atomically
from sci_interp.shards import read_whole
from sci_interp.tables import read_table, write_table

__all__ = ["GATES_1_TO_3", "GATES_2_AND_3", "Candidates"]

_TABLES = ("unexplained", "subtypes", "missing", "hidden", "gates")
GATES_1_TO_3, GATES_2_AND_3 = "gates 1 to 3", "gates 2 and 3"
_SUMMARY_FILE = "summary.json"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Features that nothing explains, and annotations that seem to be missing.

    Attributes
    ----------
    unexplained : DataFrame
        Features that pass all gates tested, best first; empty where the list is withheld. The
        columns ``explained_share, lower, upper`` count labels and nuisances, ``label_share,
        label_upper`` labels alone; ``nuisance`` has most of the firing, ``nuisance_share`` of it,
        and ``nuisance_recall`` says how little of the nuisance that is.
    subtypes : DataFrame
        Coherent features that are a small part of one label, best first.
    missing : DataFrame
        ``record, start, stop`` (in the adapter's coordinate, inclusive), ``label, feature,
        n_features, score, share_on_label, p, q, split,
        also_there`` (other labels at the place), best first.
    hidden : DataFrame
        How well the queue of missing annotations finds hidden ones, as
        :func:`~sci_interp.candidates.recover_hidden` returns it; empty where there is no queue.
    gates : DataFrame
        All gates of every feature that fires in enough families.
    count : int
        Features that pass the gates ``compared`` with the control.
    control_count : int or None
        The same in the control; None without one.
    n_tested, control_n_tested : int
        Features that fire in enough families to be tested, here and in the control.
    compared : str
        The gates that both sides went through: 1 to 3, or 2 and 3 where gate 1 was not tested on
        both.
    notes : mapping of str to str
        What a reader must know: why a list is withheld, what was not tested.
    settings : mapping
        Levels of the gates and rates.
    """

    unexplained: pd.DataFrame
    subtypes: pd.DataFrame
    missing: pd.DataFrame
    hidden: pd.DataFrame
    gates: pd.DataFrame
    count: int
    control_count: int | None = None
    n_tested: int = 0
    control_n_tested: int | None = None
    compared: str = GATES_2_AND_3
    notes: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self, out: Path) -> None:
        """Write the tables into an artefact that was begun, and finish it."""
        for name in _TABLES:
            write_table(out, name, getattr(self, name))
        summary = {
            "count": self.count,
            "control_count": self.control_count,
            "n_tested": self.n_tested,
            "control_n_tested": self.control_n_tested,
            "compared": self.compared,
            "notes": dict(self.notes),
            "settings": dict(self.settings),
        }
        write_atomically(out / _SUMMARY_FILE, json.dumps(summary, indent=1, sort_keys=True) + "\n")
        finish_artefact(out)

    @classmethod
    def open(cls, path: Path | str) -> Candidates:
        """Open finished candidates.

        Raises
        ------
        StoreError
            If the folder holds none, or a file of it cannot be read.
        """
        path = Path(path)
        read_whole(path, "candidates")
        summary = read_json(path / _SUMMARY_FILE)
        with reading(path / _SUMMARY_FILE):
            for name in ("notes", "settings"):
                summary[name] = dict(summary[name].items())
            for name in ("count", "n_tested", "control_count", "control_n_tested"):
                if not isinstance(summary[name], int | None):
                    raise ValueError(f"{name} is {summary[name]!r}")
            return cls(**{name: read_table(path, name) for name in _TABLES}, **summary)

    def format(self, n_rows: int = 10) -> str:
        """Return both queues as text, the best rows of each."""
        parts = [
            f"Unexplained features: {self.unexplained_line()}; {self.control_line()}",
            _shown(self.unexplained, _FEATURE_COLUMNS, n_rows),
            f"Sub-types of a label: {len(self.subtypes)}",
            _shown(self.subtypes, _FEATURE_COLUMNS, n_rows),
            f"Missing annotations: {len(self.missing)}",
            _shown(self.missing, _MISSING_COLUMNS, n_rows),
            self.hidden_line(),
            _shown(self.hidden, tuple(self.hidden.columns), n_rows),
        ]
        parts += [f"{name}: {note}" for name, note in sorted(self.notes.items())]
        return "\n".join(part for part in parts if part)

    def hidden_line(self) -> str:
        """Return what the queue found of hidden annotations; nothing without a queue."""
        if self.hidden.empty:
            return ""
        lost, listed, found = (
            int(self.hidden[name].sum()) for name in ("n_hidden", "n_listed", "n_found")
        )
        share = f" (false share at most {1 - found / listed:.2f})" if listed else ""
        return (
            f"With a fifth of each label's annotated families hidden, the queue lists {listed} "
            f"records, {found} of them at hidden annotations{share}, of {lost} that lost one"
        )

    def unexplained_line(self) -> str:
        """Return how many features are listed at either bound of the explained share."""
        strict = int(self.unexplained["unexplained_strict"].sum())
        return (
            f"{len(self.unexplained)} (upper bound of the share that labels explain below 0.5; "
            f"{strict} of them below the strict 0.3)"
        )

    def control_line(self) -> str:
        """Return how many features pass the gates compared here, and in the control."""
        here = f"{self.count} of {self.n_tested} tested pass {self.compared} here"
        if self.control_count is None:
            return f"{here}, no control was run"
        return f"{here}, {self.control_count} of {self.control_n_tested} in the control"

    def __str__(self) -> str:
        return self.format()


_FEATURE_COLUMNS = (
    "feature",
    "kind",
    "score",
    "n_families",
    "coherence_excess",
    "q",
    "label_upper",
    "unexplained_strict",
    "nuisance",
    "nuisance_share",
    "nuisance_recall",
    "explained_share",
    "upper",
    "reproducibility",
    "causal",
    "explained_by",
)
_MISSING_COLUMNS = (
    "record",
    "start",
    "stop",
    "label",
    "feature",
    "score",
    "share_on_label",
    "p",
    "q",
    "split",
    "also_there",
)


def _shown(table: pd.DataFrame, columns: tuple[str, ...], n_rows: int) -> str:
    if table.empty:
        return ""
    # Artefacts of earlier versions lack some.
    text: str = (
        table[[name for name in columns if name in table]]
        .head(n_rows)
        .to_string(index=False, float_format=lambda value: f"{value:.3g}", max_colwidth=40)
    )
    return text
