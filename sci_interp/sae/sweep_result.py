"""A finished sweep: one row a run, and the folders of the autoencoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.disk import read_json, reading
from sci_interp.errors import UnknownNameError
from sci_interp.manifest import Manifest
from sci_interp.shards import read_whole
from sci_interp.tables import read_table

from .faithfulness import Fidelity
from .files import load_sae
from .model import SparseAutoencoder
from .settings import TrainingSettings
from .sweep_runs import ALWAYS

__all__ = ["KIND", "TABLE", "TIMES_FILE", "Sweep", "tabulate"]

KIND = "sweep"
TABLE = "sweep"
#: Seconds of each run: a fact about the computer, and not among the files of the manifest.
TIMES_FILE = "times.json"


@dataclass(frozen=True, eq=False)
class Sweep:
    """Autoencoders that were trained together.

    Attributes
    ----------
    table : DataFrame
        One row a run: ``run``, its settings, ``fvu``, ``l0``, ``dead_fraction`` on the splits that
        the sweep was told to measure on (``dead_fraction``: features that fire on none of these
        tokens), ``pareto``: whether no other run is better in FVU or L0 without being worse in the
        other, and ``seconds`` of its own steps (missing where they are not known).
    settings : mapping
        What determines the result.
    path : Path
        The folder; that of a run is ``path / run``.
    """

    table: pd.DataFrame
    settings: Mapping[str, Any]
    path: Path

    @classmethod
    def open(cls, path: Path | str) -> Sweep:
        """Open a finished sweep; its files are checked against their digests.

        Raises
        ------
        StoreError
            If the folder is none, is unfinished, or one of its files is damaged.
        """
        path = Path(path)
        manifest: Manifest = read_whole(path, KIND)
        table = read_table(path, TABLE)
        times = path / TIMES_FILE
        seconds = read_json(times) if times.is_file() else {}
        with reading(path):
            table["pareto"] = _on_pareto_curve(table)
            table["seconds"] = table["run"].map(seconds).astype(np.float64)
            found = cls(table=table, settings=manifest.settings, path=path)
            found.format()  # what can be said of it is in the file
        return found

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(self.table["run"])

    def load(self, run: str) -> SparseAutoencoder:
        """Load the autoencoder of a run.

        Raises
        ------
        UnknownNameError
            If there is no such run.
        """
        if run not in self.runs:
            raise UnknownNameError("run", run, self.runs)
        return load_sae(self.path / run)

    def format(self) -> str:
        """Return the table as text, the sparsest run first."""
        measured = ", ".join(self.settings["measured_on"])
        shown = self.table.sort_values(["l0", "fvu"], kind="stable").copy()
        shown["pareto"] = np.where(shown["pareto"], "*", "")
        shown["fvu"] = shown["fvu"].map("{:.4f}".format)
        shown["l0"] = shown["l0"].map("{:.1f}".format)
        shown["dead_fraction"] = shown["dead_fraction"].map("{:.1%}".format)
        shown["seconds"] = shown["seconds"].map("{:.0f}".format)
        shown = shown.rename(columns={"dead_fraction": "dead"})
        title = (
            f"{len(shown)} autoencoders of {self.settings['model']}, layer "
            f"{self.settings['layer']}, {self.settings['n_tokens']} training tokens each; FVU, L0 "
            f"and dead features on {measured} blocks; *: on the Pareto curve"
        )
        return f"{title}\n{shown.to_string(index=False, na_rep='')}"

    def __str__(self) -> str:
        return self.format()


def tabulate(wanted: Mapping[str, TrainingSettings], measured: Sequence[Fidelity]) -> pd.DataFrame:
    """Return the table of a sweep, but for what is found when it is opened."""
    rows = [vars(settings) for settings in wanted.values()]
    varied = [name for name in rows[0] if any(row[name] != rows[0][name] for row in rows)]
    columns = [*ALWAYS, *(name for name in varied if name not in (*ALWAYS, "block_seed"))]
    table = pd.DataFrame({"run": list(wanted)})
    for name in columns:
        table[name] = [row[name] for row in rows]
    table["fvu"] = [each.fvu for each in measured]
    table["l0"] = [each.l0 for each in measured]
    table["dead_fraction"] = [each.dead_fraction for each in measured]
    return table


def _on_pareto_curve(table: pd.DataFrame) -> NDArray[np.bool_]:
    points: NDArray[np.float64] = table[["fvu", "l0"]].to_numpy(np.float64)
    as_good = np.all(points[:, None] <= points[None], axis=2)
    better = as_good & np.any(points[:, None] < points[None], axis=2)
    beaten: NDArray[np.bool_] = np.any(better, axis=0)
    return np.logical_not(beaten)
