"""Results on disk: links, baselines' links and the summary, as parquet and CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sci_interp.disk import read_json, reading
from sci_interp.manifest import (
    Manifest,
    digest_json,
    finish_artefact,
    read_manifest,
    write_atomically,
)
from sci_interp.mirrors import open_folder
from sci_interp.schema import LinkClass
from sci_interp.shards import read_whole
from sci_interp.tables import read_table, write_table

from .design import Design, SplitSize, format_design
from .table import LINKED, STRONG_F1, format_table

__all__ = ["MAIN", "EnrichmentResult", "load_enrichment", "write_enrichment"]

KIND = "enrichment"
SOURCES_FILE = "sources.json"
#: Tables that only programs read, written as parquet alone.
DRAWN = ("tested", "curves")
#: Name of the main source in the summary.
MAIN = "features"


@dataclass(frozen=True, eq=False)
class EnrichmentResult:
    """Features linked to labels.

    Attributes
    ----------
    table : DataFrame
        The enrichment table; its columns are explained in :mod:`sci_interp.enrichment.table`.
    summary : DataFrame
        One row per source: the features, the baselines, the feature that is always on, and
        the supervised reference.
    baselines : mapping of name to DataFrame
        The enrichment table of every baseline, made under the same protocol.
    ceiling : DataFrame or None
        That of the supervised reference, where one was given.
    settings : mapping
        What determines the result.
    not_identifiable : mapping of source to mapping of reason to number of pairs
        Candidate pairs that could not be judged, and why.
    splits : mapping of split to SplitSize
        Families, records and tokens of every split.
    design : Design
        What the records are.
    tested : DataFrame or None
        Every pair of the features that was tested by permutation, linked or not; its columns are
        among the table's. None in artefacts of earlier versions.
    curves : DataFrame or None
        Precision and recall of each label's printed row and of its rivals, see
        :mod:`sci_interp.enrichment.curves`. None in artefacts of earlier versions.
    path : Path or None
        The artefact, where one was written.
    """

    table: pd.DataFrame
    summary: pd.DataFrame
    baselines: Mapping[str, pd.DataFrame]
    settings: Mapping[str, Any]
    not_identifiable: Mapping[str, Mapping[str, int]]
    splits: Mapping[str, SplitSize]
    design: Design
    ceiling: pd.DataFrame | None = None
    tested: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    path: Path | None = None

    @property
    def links(self) -> pd.DataFrame:
        """The linked rows of the table: site, regional, record or positional.

        Under InterPLM's rule, the rows with hybrid F1 above 0.5 on both halves.
        """
        linked = self.table["class"].isin(LINKED)
        if self._is_interplm:
            both = self.table[["hybrid_f1", "chosen_on_hybrid_f1"]]
            linked = (both > STRONG_F1).all(axis=1)
        return self.table[linked].reset_index(drop=True)

    @property
    def _is_interplm(self) -> bool:
        return self.settings.get("protocol") == "interplm"

    @property
    def replication_rate(self) -> float:
        """Share of site-level links that the vault could judge and replicates; NaN without any.

        Links with nuisance labels are left out: they replicate, and are no finding.
        """
        return self._share_replicated("site")

    def _share_replicated(self, kind: LinkClass) -> float:
        site = (self.table["class"] == kind) & ~self.table["nuisance"].astype(bool)
        judged = self.table.loc[site, "replicated"].dropna()
        return float(judged.astype(bool).mean()) if len(judged) else float("nan")

    @property
    def digest(self) -> str:
        """Identity of the result: of its artefact, or of its rows."""
        if self.path is not None:
            return read_manifest(self.path, KIND).digest
        return digest_json([self.table.to_csv(index=False), dict(self.settings)])

    def format(self, *, n_rows: int = 20) -> str:
        """Return the design, the first rows of the table and the summary as text."""
        lines = [
            format_design(
                self.splits, self.settings, self.not_identifiable.get(MAIN, {}), self.design
            ),
            format_table(self.table, n_rows=n_rows),
            self._links_line(),
            self.summary.to_string(index=False, float_format="{:.3g}".format),
        ]
        return "\n\n".join(lines)

    def _links_line(self) -> str:
        nuisance = self.links["nuisance"].astype(bool)
        if self._is_interplm:
            return (
                f"Links: {int((~nuisance).sum())} with hybrid F1 > {STRONG_F1} on both halves, and "
                f"{int(nuisance.sum())} with nuisance labels. This is the published variant, for "
                "comparison: it has no null, no error rate and no interval, and is optimistic."
            )
        kinds: tuple[LinkClass, ...] = ("site", "record")
        rates = {kind: self._share_replicated(kind) for kind in kinds}
        told = [f"{rate:.0%} of {kind}-level" for kind, rate in rates.items() if not np.isnan(rate)]
        return (
            f"Links: {_count_classes(self.links[~nuisance])}."
            + (f" Replicated on the vault: {', '.join(told)}." if told else "")
            + f" With nuisance labels: {_count_classes(self.links[nuisance])}."
        )

    def print(self, *, n_rows: int = 20) -> None:
        """Print what :meth:`format` returns."""
        print(self.format(n_rows=n_rows))  # noqa: T201 - this is what it is for


def _count_classes(links: pd.DataFrame) -> str:
    found = links["class"].value_counts()
    return ", ".join(f"{found.get(name, 0)} {name}" for name in LINKED)


def write_enrichment(out: Path, result: EnrichmentResult) -> Manifest:
    """Write a result into its claimed folder, whole or not at all."""
    write_table(out, "links", result.table)
    write_table(out, "summary", result.summary)
    for at, table in enumerate(result.baselines.values()):
        write_table(out, f"baseline_{at}", table)
    if result.ceiling is not None:
        write_table(out, "ceiling", result.ceiling)
    for name in DRAWN:
        table = getattr(result, name)
        if table is not None:
            data = table.to_parquet(index=False, compression="zstd")
            write_atomically(out / f"{name}.parquet", data)
    sources = {
        "has_ceiling": result.ceiling is not None,
        "baselines": list(result.baselines),
        "splits": dict(result.splits),
        "design": dict(result.design),
        "not_identifiable": {
            source: dict(reasons) for source, reasons in result.not_identifiable.items()
        },
    }
    write_atomically(out / SOURCES_FILE, json.dumps(sources, indent=1) + "\n")
    return finish_artefact(out)


def load_enrichment(path: Path | str) -> EnrichmentResult:
    """Load a result; its files are checked against their digests.

    Raises
    ------
    StoreError
        If the folder is no enrichment, is unfinished, or one of its files is damaged.
    """
    path = open_folder(path)
    manifest = read_whole(path, KIND)
    sources = read_json(path / SOURCES_FILE)
    with reading(path / SOURCES_FILE):
        baselines, known = sources["baselines"], manifest.files
        return EnrichmentResult(
            table=read_table(path, "links"),
            summary=read_table(path, "summary"),
            baselines={
                str(name): read_table(path, f"baseline_{at}") for at, name in enumerate(baselines)
            },
            settings=manifest.settings,
            ceiling=read_table(path, "ceiling") if sources["has_ceiling"] else None,
            **{name: read_table(path, name) for name in DRAWN if f"{name}.parquet" in known},
            not_identifiable=dict(sources["not_identifiable"]),
            splits=dict(sources["splits"]),
            design=sources["design"],
            path=path,
        )
