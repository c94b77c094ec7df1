"""Matched features, as a table and as an artefact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sci_interp.disk import read_json, reading
from sci_interp.manifest import finish_artefact, write_atomically
from sci_interp.shards import read_whole
from sci_interp.tables import read_table, write_table

__all__ = ["KIND", "MIN_BLOCKS", "FeatureMatch"]

KIND = "match"
TABLE, SUMMARY_FILE = "features", "summary.json"
#: With fewer blocks chance cannot be judged, and there is no p.
MIN_BLOCKS = 8


@dataclass(frozen=True, eq=False)
class FeatureMatch:
    """The features of dictionary A, each with its partners in dictionary B.

    Attributes
    ----------
    table : DataFrame
        One row per feature of A; the columns are explained at
        :func:`sci_interp.matching.comparison.compare`.
    summary : mapping
        ``n_tokens, n_records, n_blocks, n_lonely``: what was compared; ``n_features_a, n_alive_a,
        n_features_b, n_alive_b``: features, and those that vary on these tokens; ``level``: the
        null's 99 % level over all features; ``random_level``: that of random directions. Shares of
        A's alive features: ``matched, matched_one_to_one``: above their own null's 99 % level;
        ``matched_pooled``: above ``level``; ``beyond_random``: above ``random_level``;
        ``significant``: q <= 0.05; ``mutual``: each other's best. None where not measured.
    settings : mapping
        What determines the result.
    path : Path or None
        The artefact, where one was written.
    """

    table: pd.DataFrame
    summary: Mapping[str, Any]
    settings: Mapping[str, Any]
    path: Path | None = None

    @classmethod
    def open(cls, path: Path | str) -> FeatureMatch:
        """Open a finished match; its files are checked against their digests.

        Raises
        ------
        StoreError
            If the folder is none, is unfinished, or one of its files is damaged.
        """
        path = Path(path)
        manifest = read_whole(path, KIND)
        summary = read_json(path / SUMMARY_FILE)
        found = cls(read_table(path, TABLE), summary, manifest.settings, path)
        with reading(path / SUMMARY_FILE):
            found.format()  # what can be said of a match is in the file
        return found

    def write(self, out: Path) -> FeatureMatch:
        """Write into a claimed folder, and return what it holds."""
        write_table(out, TABLE, self.table)
        text = json.dumps(dict(self.summary), indent=1, sort_keys=True) + "\n"
        write_atomically(out / SUMMARY_FILE, text)
        finish_artefact(out)
        return FeatureMatch.open(out)

    @property
    def matched_share(self) -> float:
        """Share of A's alive features whose best match exceeds their null's 99 % level."""
        share = self.summary["matched"]
        return float("nan") if share is None else float(share)

    def format(self) -> str:
        """Return the result in a few lines, the nulls beside it."""
        found = self.summary
        alive = self.table[self.table["partner"] >= 0]
        head = (
            f"Features of A matched with B on {found['n_tokens']} tokens, {found['n_records']} "
            f"records of {found['n_blocks']} blocks ({self.settings['splits']})"
        )
        best = (
            f"  best of many   median correlation {_number(alive['correlation'].median())}, above "
            f"the feature's own null (99 %): {_share(found['matched'])}, above that of all "
            f"features ({_number(found['level'])}): {_share(found['matched_pooled'])}"
        )
        lines = [head, *(self._describe(side) for side in "ab"), best]
        if found["random_level"] is not None:
            lines.append(
                f"                 above 99 % of what random directions of B's activations reach "
                f"({_number(found['random_level'])}): {_share(found['beyond_random'])}"
            )
        return "\n".join([*lines, self._one_to_one_line(), self._null_line()])

    def _describe(self, side: str) -> str:
        found, named = self.summary, self.settings[side]
        return (
            f"  {side.upper()}: layer {named['layer']!r} of {named['model']}, "
            f"{found[f'n_alive_{side}']} of {found[f'n_features_{side}']} features vary here"
        )

    def _one_to_one_line(self) -> str:
        found, pairs = self.summary, self.table["one_to_one_correlation"].dropna()
        if len(pairs) == 0:
            return "  one to one     not assigned: nothing varies, or the matrix is too large"
        return (
            f"  one to one     median correlation {_number(pairs.median())}, above "
            f"the feature's own null: {_share(found['matched_one_to_one'])}; each other's best: "
            f"{_share(found['mutual'])}"
        )

    def _null_line(self) -> str:
        found, n_draws = self.summary, self.settings["n_permutations"]
        text = (
            f"  Null: B's records exchanged between blocks that are alike, {n_draws} times, the "
            "highest correlation over all of B each time. "
        )
        if found["significant"] is None:
            return text + f"Not identifiable: fewer than {MIN_BLOCKS} blocks, so there is no p."
        return text + (
            f"q <= 0.05: {_share(found['significant'])}; p is {1 / (1 + n_draws):.2g} at the least."
        )

    def __str__(self) -> str:
        return self.format()


def _number(value: float | None) -> str:
    return "none" if value is None or np.isnan(value) else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"
