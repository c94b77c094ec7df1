"""The quality report of an autoencoder, as text and as an artefact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sci_interp.disk import read_json, reading
from sci_interp.manifest import finish_artefact, write_atomically
from sci_interp.sae import Fidelity
from sci_interp.shards import read_whole
from sci_interp.tables import read_table, write_table

from .activity import DENSE, REDUNDANT
from .relatedness import OVERLAP
from .stability import SAME

__all__ = ["FVU_SPACE", "KIND", "Evaluation"]

KIND = "evaluation"
SUMMARY_FILE = "evaluation.json"
#: In which space the FVU is measured.
FVU_SPACE = "activations in the network's own units, all channels together, not normalised"
#: Tables of the artefact, by attribute; those after the second may be missing.
TABLES = ("features", "density", "stability", "seeds", "polysemanticity", "unrelated", "endpoints")
_BAR = 40


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good an autoencoder is, and how sure that is.

    Attributes
    ----------
    fidelity : Fidelity
        FVU in the activations' own units, L0, dead share, loss recovered.
    summary : mapping
        ``autoencoder, n_features, n_alive, n_dense, n_redundant, n_tokens, fvu_space``.
    features : DataFrame
        One row per feature: ``feature, firing_rate, alive, dense, cosine, nearest``: the highest
        cosine with another alive feature's decoder direction; with other seeds
        ``stability_cosine, stability_correlation``: means over them; with an enrichment
        ``n_labels, n_unrelated``.
    density : DataFrame
        Histogram of log10 firing rates: ``log10_low, log10_high, n_features``.
    settings : mapping
        What determines the result.
    stability, seeds : DataFrame or None
        See :class:`~sci_interp.evaluation.stability.Stability`.
    polysemanticity, unrelated : DataFrame or None
        Units with links, and the distribution of unrelated labels, of features and channels; see
        :class:`~sci_interp.evaluation.polysemanticity.Polysemanticity`.
    endpoints : DataFrame or None
        See :func:`~sci_interp.evaluation.endpoints.measure_endpoints`.
    path : Path or None
        The artefact, where one was written.
    """

    fidelity: Fidelity
    summary: Mapping[str, Any]
    features: pd.DataFrame
    density: pd.DataFrame
    settings: Mapping[str, Any]
    stability: pd.DataFrame | None = None
    seeds: pd.DataFrame | None = None
    polysemanticity: pd.DataFrame | None = None
    unrelated: pd.DataFrame | None = None
    endpoints: pd.DataFrame | None = None
    path: Path | None = None

    @classmethod
    def open(cls, path: Path | str) -> Evaluation:
        """Open a finished evaluation; its files are checked against their digests.

        Raises
        ------
        StoreError
            If the folder is none, is unfinished, or one of its files is damaged.
        """
        path = Path(path)
        manifest = read_whole(path, KIND)
        found = read_json(path / SUMMARY_FILE)
        tables = {
            name: read_table(path, name) for name in TABLES if f"{name}.parquet" in manifest.files
        }
        with reading(path / SUMMARY_FILE):
            evaluation = cls(
                fidelity=Fidelity(**found["fidelity"]),
                summary=dict(found["summary"]),
                settings=manifest.settings,
                path=path,
                **tables,
            )
            evaluation.format()  # what can be said of it is in the file
        return evaluation

    def write(self, out: Path) -> Evaluation:
        """Write into a claimed folder, and return what it holds."""
        for name in TABLES:
            table = getattr(self, name)
            if table is not None:
                write_table(out, name, table)
        held = {"fidelity": asdict(self.fidelity), "summary": dict(self.summary)}
        write_atomically(out / SUMMARY_FILE, json.dumps(held, indent=1, sort_keys=True) + "\n")
        finish_artefact(out)
        return Evaluation.open(out)

    def format(self) -> str:
        """Return the whole report as text."""
        parts = [self._fidelity_lines(), self._feature_lines(), _histogram(self.density)]
        if self.seeds is not None:
            parts.append("\n".join(_stability_lines(self.seeds)))
        if self.unrelated is not None:
            parts.append("\n".join(_unrelated_lines(self.unrelated)))
        if self.endpoints is not None:
            parts.append("\n".join(_endpoint_lines(self.endpoints)))
        return "\n\n".join(parts)

    def _fidelity_lines(self) -> str:
        found = self.fidelity
        kept = (
            f"FVU {found.fvu:.4f} ({self.summary['fvu_space']}), L0 {found.l0:.1f}, on "
            f"{found.n_tokens} tokens ({self.settings['splits']})"
        )
        lines = [self.summary["autoencoder"], kept]
        if found.loss_original is not None:
            recovered = (
                "not defined" if found.loss_recovered is None else f"{found.loss_recovered:.1%}"
            )
            lines.append(
                f"Loss recovered {recovered} on {found.n_loss_tokens} scored tokens: "
                f"{found.loss_original:.4f} alone, {found.loss_reconstructed:.4f} with the "
                f"reconstruction, {found.loss_mean:.4f} with the mean, {found.loss_zero:.4f} with "
                "zeros"
            )
        return "\n".join(lines)

    def _feature_lines(self) -> str:
        found = self.summary
        n_alive = max(found["n_alive"], 1)
        return (
            f"Features: {found['n_alive']} of {found['n_features']} alive, {found['n_dense']} "
            f"dense (fire on more than {DENSE:.0%} of tokens)\n"
            f"Redundant: {found['n_redundant']} ({found['n_redundant'] / n_alive:.1%} of alive) "
            f"have a decoder cosine above {REDUNDANT} with another alive feature; median of the "
            f"highest {self.features['cosine'].median():.3f}"
        )

    def __str__(self) -> str:
        return self.format()


def _histogram(density: pd.DataFrame) -> str:
    lines = ["Firing rate, log10        features"]
    most = max(int(density["n_features"].max()), 1)
    for row in density.itertuples():
        dead = pd.isna(row.log10_low)
        name = "never" if dead else f"{row.log10_low:5.1f} to {row.log10_high:4.1f}"
        bar = "#" * round(_BAR * row.n_features / most)
        lines.append(f"  {name:<18}{row.n_features:>12}  {bar}".rstrip())
    return "\n".join(lines)


def _stability_lines(seeds: pd.DataFrame) -> Iterator[str]:
    yield "Stability between seeds, one-to-one, of the features that vary"
    for row in seeds.itertuples():
        seed = "unknown" if pd.isna(row.seed) else row.seed
        yield f"  other {row.other} (seed {seed}, {_independence(row.independent)})"
        yield (
            f"    decoder cosine  median {row.cosine:.3f}, at least {SAME}: {row.same:.1%}, above "
            f"99 % of rotated dictionaries ({row.cosine_level:.3f}): {row.cosine_above:.1%}"
        )
        yield (
            f"    correlation     median {row.correlation:.3f}, above 99 % of the feature's "
            f"exchanged records: {_share(row.correlation_above)}, best of many above 99 % of "
            f"random directions: {_share(row.beyond_random)}"
        )


def _independence(independent: bool | None) -> str:
    if pd.isna(independent):
        return "not known whether initialisation and data order are its own"
    if not independent:
        return "NOT INDEPENDENT: the same seed"
    return "initialisation and data order of its own"


def _share(value: float | None) -> str:
    return "not measured" if pd.isna(value) else f"{value:.1%}"


def _unrelated_lines(unrelated: pd.DataFrame) -> Iterator[str]:
    sources = [name for name in unrelated.columns if name != "n_unrelated"]
    yield (
        "Unrelated labels that a unit is linked with at site level (related: overlap above chance "
        f">= {OVERLAP}, one hierarchy, or never assessed together)"
    )
    yield "  labels   " + "".join(f"{name:>26}" for name in sources)
    for row in unrelated.to_dict("records"):
        count = int(row["n_unrelated"])
        name = f"{count} or more" if count == len(unrelated) - 1 else str(count)
        cells = [f"{row[each]} ({row[each] / unrelated[each].sum():.1%})" for each in sources]
        yield f"  {name:<9}" + "".join(f"{cell:>26}" for cell in cells)
    linked = unrelated[unrelated["n_unrelated"] > 0]
    shares = [
        _share(linked.loc[linked["n_unrelated"] > 1, each].sum() / linked[each].sum())
        if linked[each].sum()
        else "none linked"
        for each in sources
    ]
    yield "  2 or more, of the units that are linked: " + ", ".join(
        f"{name} {cell}" for name, cell in zip(sources, shares, strict=True)
    )
    if len(sources) == 1:
        yield "  Raw channels: no enrichment of them was given"


def _endpoint_lines(endpoints: pd.DataFrame) -> Iterator[str]:
    yield "The network's answer with the layer replaced, mean absolute change"
    for row in endpoints.itertuples():
        yield (
            f"  {row.endpoint}: {row.untouched:.4g} untouched (sd {row.deviation:.3g} over "
            f"{row.n_records} records, {row.n_missing} without it); change {row.change:.4g} by the "
            f"reconstruction, {row.change_mean:.4g} by the mean, {row.change_zero:.4g} by zeros"
        )
        yield f"    {row.definition}"
