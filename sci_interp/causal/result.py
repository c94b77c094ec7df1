"""The measurements and effects of an intervention, as an artefact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sci_interp.disk import reading
from sci_interp.manifest import digest_json, read_manifest
from sci_interp.shards import read_whole
from sci_interp.tables import read_table

__all__ = ["CHOSEN", "EFFECTS", "KIND", "InterventionResult", "part_name"]

KIND = "intervention"
#: Tables of the artefact.
CHOSEN, EFFECTS = "chosen", "effects"
#: The q that the text speaks of.
_SMALL_Q = 0.05
_CONTROLS = {"directions": "random directions", "features": "other features' directions"}


def part_name(unit: int) -> str:
    """Return the file of a unit of records, without its suffix."""
    return f"measured_{unit:06d}"


@dataclass(frozen=True, eq=False)
class InterventionResult:
    """What happens to the network's answer when one feature is scaled.

    Attributes
    ----------
    effects : DataFrame
        One row per endpoint and coefficient; the columns are explained at
        :func:`sci_interp.causal.effects.summarise_effects`.
    measured : DataFrame
        ``record, block, arm, coefficient, control, endpoint, value``: every measurement. Arms are
        ``untouched``, ``no-op``, ``feature`` and ``control``; the control's number is -1 elsewhere.
    endpoints : mapping of str to str
        Definition, with unit, of what was measured.
    settings : mapping
        What determines the result.
    path : Path or None
        The artefact, where one was written.
    """

    effects: pd.DataFrame
    measured: pd.DataFrame
    endpoints: Mapping[str, str]
    settings: Mapping[str, Any]
    path: Path | None = None

    @classmethod
    def open(cls, path: Path | str) -> InterventionResult:
        """Open a finished intervention; its files are checked against their digests.

        Raises
        ------
        StoreError
            If the folder is none, is unfinished, or one of its files is damaged.
        """
        path = Path(path)
        manifest = read_whole(path, KIND)
        parts = sorted(
            name.removesuffix(".parquet")
            for name in manifest.files
            if name.startswith("measured_") and name.endswith(".parquet")
        )
        with reading(path):
            found = cls(
                effects=read_table(path, EFFECTS),
                measured=pd.concat([read_table(path, name) for name in parts], ignore_index=True),
                endpoints=manifest.settings["endpoints"],
                settings=manifest.settings,
                path=path,
            )
            found.format()  # what can be said of it is in the file
        return found

    @property
    def digest(self) -> str:
        """Identity of the result: of its artefact, or of its rows."""
        if self.path is not None:
            return read_manifest(self.path, KIND).digest
        return digest_json([self.measured.to_csv(index=False), dict(self.settings)])

    @property
    def n_records(self) -> int:
        """Number of records."""
        return int(self.measured["record"].nunique())

    def format(self) -> str:
        """Return the effects as text, with what they were compared with."""
        chosen, n_controls = self.settings, int(self.settings["n_controls"])
        n_blocks = self.measured["block"].nunique()
        head = (
            f"Feature {chosen['feature']} at layer {chosen['layer']!r}, scaled during the forward "
            f"pass on {self.n_records} records of {n_blocks} blocks, beside {n_controls} "
            f"{_CONTROLS[chosen['controls']]} of the same size at the same tokens"
        )
        table: str = self.effects[list(_SHOWN)].to_string(
            index=False, float_format=lambda value: f"{value:.4g}"
        )
        lines = [head, table, f"Coefficient -1 ablates, 1 doubles. {self._floor_line()}"]
        lines.append(
            f"p is {1 / (1 + n_controls):.2g} at the least. {self._controls_line()}".strip()
        )
        lines += [f"{name}: {definition}" for name, definition in self.endpoints.items()]
        return "\n".join(lines)

    def _controls_line(self) -> str:
        """Tell how many controls one row needs for a small q, whatever the other rows say."""
        n_tests = int(self.effects["p"].notna().sum())
        if n_tests == 0:
            return ""
        needed = math.ceil(round(n_tests / _SMALL_Q - 1, 6))
        tests = "the one test" if n_tests == 1 else f"one of the {n_tests} tests alone"
        return f"For {tests} to reach q = {_SMALL_Q:g}, it takes at least {needed} controls."

    def _floor_line(self) -> str:
        floor = self.effects["floor"].max()
        if floor == 0:
            return "Coefficient 0 gives the untouched network's answer exactly."
        return f"Coefficient 0 moves an endpoint by up to {floor:.3g}, the numerical floor."

    def __str__(self) -> str:
        return self.format()


_SHOWN = (
    "endpoint",
    "coefficient",
    "effect",
    "low",
    "high",
    "control_median",
    "control_largest",
    "p",
    "q",
    "verdict",
    "n_records",
    "n_missing",
    "n_blocks",
)
