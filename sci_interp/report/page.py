"""The report page: what was run, what was linked, what is a candidate, drawn and in tables.

One static file without script, and without anything to load: its content-security policy forbids
both, and every style but the one that is named by its hash. Every value is escaped by the template
engine, whatever ids and notes hold.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sci_interp.adapter import Adapter, Dataset
from sci_interp.annotations import AnnotationStore
from sci_interp.candidates import Candidates
from sci_interp.feature_store import FeatureStore
from sci_interp.manifest import write_atomically
from sci_interp.quarantine import Quarantined
from sci_interp.schema import BLOCK, SPLIT, SPLITS
from sci_interp.texts import clean

from .cards import draw_cards, rows_of
from .columns import (
    HIDDEN_COLUMNS,
    LINK_COLUMNS,
    MATCHED_COLUMNS,
    MISSING_COLUMNS,
    PROBE_COLUMNS,
    SUMMARY_COLUMNS,
    UNEXPLAINED_COLUMNS,
    Column,
)
from .strips import SHADES
from .text import DASH, Cell, cells, show

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

    from sci_interp.enrichment import EnrichmentResult

__all__ = ["write_report"]

_N_LINKS, _N_CANDIDATES = 60, 30
#: Records in quarantine that are named.
_MOST_NAMED = 10
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Table:
    """A table of the page: columns, cells, and how many rows there are in all."""

    columns: Sequence[Column]
    rows: list[list[Cell]]
    n_all: int


def write_report(
    path: Path | str,
    *,
    result: EnrichmentResult,
    candidates: Candidates,
    features: FeatureStore,
    known: AnnotationStore,
    adapter: Adapter,
    dataset: Dataset,
    fidelity: object = None,
    sparse_probes: pd.DataFrame | None = None,
    matched: pd.DataFrame | None = None,
    title: str = "",
    n_top: int = 12,
) -> Path:
    """Write one HTML page that opens offline; equal inputs give equal bytes.

    Parameters
    ----------
    path
        The file; its folder is made where it is missing.
    result, candidates
        Links, and both queues.
    features, known
        Codes and annotations that they were made from.
    adapter, dataset
        Who names and draws the records.
    fidelity
        A dataclass or mapping of what the dictionary preserves, as ``fidelity`` returns it.
    sparse_probes
        How well few features together tell each label, as a study measures it.
    matched
        Features against each label's best covariate, as ``compare_matched`` returns it.
    title
        Heading; by default the model's name.
    n_top
        Linked features that are drawn; half as many unexplained ones.

    Returns
    -------
    Path
        The file.
    """
    path = Path(path)
    from sci_interp.enrichment.table import has_events

    unexplained, links = candidates.unexplained, result.links
    if not has_events(links):
        links = links.drop(columns="event_recall", errors="ignore")
    nuisance = links["nuisance"].astype(bool)
    cards = draw_cards(
        links=_top_links(links, n_top),
        unexplained=rows_of(unexplained.head(n_top // 2)),
        missing=rows_of(candidates.missing.head(n_top // 3)),
        features=features,
        known=known,
        adapter=adapter,
        dataset=dataset,
    )
    page = _template().render(
        style=_style(),
        title=title or f"What {adapter.model.name} knows",
        facts=_facts(result, features, known, adapter, dataset),
        fidelity=_pairs(fidelity),
        headlines=_headlines(result, candidates),
        summary=_table(result.summary, SUMMARY_COLUMNS),
        sparse_probes=_probe_table(sparse_probes),
        matched=_table(pd.DataFrame() if matched is None else matched, MATCHED_COLUMNS, _N_LINKS),
        links=_table(links[~nuisance], LINK_COLUMNS, _N_LINKS),
        nuisance_links=_table(links[nuisance], LINK_COLUMNS, _N_LINKS),
        shades=SHADES,
        bases=cards.bases,
        cards=cards.links,
        unexplained=_table(unexplained, UNEXPLAINED_COLUMNS, _N_CANDIDATES),
        unexplained_cards=cards.unexplained,
        subtypes=_table(candidates.subtypes, UNEXPLAINED_COLUMNS, _N_CANDIDATES),
        missing=_table(candidates.missing, MISSING_COLUMNS, _N_CANDIDATES),
        missing_cards=cards.missing,
        hidden=_table(candidates.hidden, HIDDEN_COLUMNS),
        hidden_line=candidates.hidden_line(),
        control=f"{candidates.unexplained_line()}; {candidates.control_line()}",
        notes=sorted(candidates.notes.items()),
        settings=sorted(_flat(candidates.settings).items()),
        provenance=_provenance(result, features, known, adapter, dataset),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return path


@cache
def _template() -> Template:
    """Return the page's template: everything escaped, an unknown name an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja")


@dataclass(frozen=True)
class _Style:
    """The style sheet, and the source expression that lets it through the page's policy."""

    text: Markup
    hash: str


@cache
def _style() -> _Style:
    from markupsafe import Markup

    text = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    return _Style(Markup(text), f"sha256-{base64.b64encode(digest).decode()}")  # noqa: S704 - ours


def _clean(value: object) -> object:
    """Clean what is put into the page, unless the engine made it."""
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _table(table: pd.DataFrame, columns: Sequence[Column], n_rows: int | None = None) -> _Table:
    present = [column for column in columns if column.name in table]
    rows = cells(table, [column.name for column in present], n_rows)
    return _Table(present, rows, len(table))


def _probe_table(probes: pd.DataFrame | None) -> _Table:
    if probes is None:
        return _Table(PROBE_COLUMNS, [], 0)
    from sci_interp.enrichment.sparse_probes import summarise_sparse_probes

    return _table(summarise_sparse_probes(probes), PROBE_COLUMNS)


def _top_links(links: pd.DataFrame, n_top: int) -> list[dict[str, Any]]:
    """Return the best link of each label in turn, site-level first; every feature once.

    Best by the half that chose, so that what is shown of a link did not select it.
    """
    rank = links["class"].map({"site": 0, "regional": 1, "record": 2, "positional": 3})
    order = links.assign(rank=rank, nuisance=links["nuisance"].astype(bool))
    order = order.sort_values(
        ["nuisance", "rank", "chosen_on_hybrid_f1", "feature"], ascending=[True, True, False, True]
    )
    order = order.assign(turn=order.groupby("label").cumcount())
    order = order.sort_values(["nuisance", "turn"], kind="stable").drop_duplicates("feature")
    return rows_of(links.loc[order.index[:n_top]])


def _facts(
    result: EnrichmentResult,
    features: FeatureStore,
    known: AnnotationStore,
    adapter: Adapter,
    dataset: Dataset,
) -> list[tuple[str, str]]:
    records = features.axis.records
    blocks = records.groupby(SPLIT)[BLOCK].nunique()
    splits = ", ".join(f"{blocks[name]:,} {name}" for name in SPLITS if name in blocks)
    n_findings = sum(not label.nuisance for label in known.labels)
    facts = [
        ("Model", f"{adapter.model.name}, {adapter.model.dtype}"),
        ("Layer", str(features.manifest.settings.get("layer", ""))),
        ("Features", show(features.n_features)),
        ("Records", f"{len(records):,} with {features.axis.n_tokens:,} tokens"),
        ("Quarantined", _left_out(features.axis.quarantine)),
        ("Blocks", f"{records[BLOCK].nunique():,}: {splits}"),
        ("Labels", f"{n_findings:,}, and {len(known.labels) - n_findings:,} nuisances"),
        ("Data", dataset.digest[:16]),
        ("False discovery rate", show(result.settings.get("q"))),
        ("Protocol", str(result.settings.get("protocol", ""))),
    ]
    return [(name, value) for name, value in facts if value]


def _left_out(found: Sequence[Quarantined]) -> str:
    """Return what was left out, in words; nothing where nothing was."""
    if not found:
        return ""
    n_tokens = sum(each.n_tokens for each in found)
    names = ", ".join(each.record for each in found[:_MOST_NAMED])
    more = " ..." if len(found) > _MOST_NAMED else ""
    return f"{len(found):,} more, with {n_tokens:,} tokens, cannot be used: {names}{more}"


def _headlines(result: EnrichmentResult, candidates: Candidates) -> list[tuple[str, str, str]]:
    links = result.links
    site = links[(links["class"] == "site") & ~links["nuisance"].astype(bool)]
    rate = result.replication_rate
    replicated = DASH if math.isnan(rate) else f"{rate:.0%}"
    return [
        (show(site["label"].nunique()), "labels", "linked site-level"),
        (show(site["feature"].nunique()), "features", "linked site-level"),
        (replicated, "replicated", "of site-level links, on the vault"),
        (show(len(candidates.unexplained)), "unexplained", "features that pass the gates"),
        (show(len(candidates.missing)), "missing", "annotations suggested"),
    ]


def _pairs(value: object) -> list[tuple[str, str]]:
    """Return the fields of a dataclass or mapping, those without a value left out."""
    if value is None:
        return []
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    assert isinstance(value, Mapping)
    return [
        (str(name).replace("_", " "), show(item))
        for name, item in value.items()
        if item is not None
    ]


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested settings with dotted names."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = str(value)
    return flat


def _provenance(
    result: EnrichmentResult,
    features: FeatureStore,
    known: AnnotationStore,
    adapter: Adapter,
    dataset: Dataset,
) -> list[tuple[str, str]]:
    rows = [
        ("weights", adapter.model.digest),
        ("dataset", dataset.digest),
        ("features", features.digest),
        ("annotations", known.digest),
        ("enrichment", result.digest),
    ]
    rows += [(f"features made from {name}", d) for name, d in features.manifest.inputs.items()]
    versions = features.manifest.versions.items()
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in versions)))
    return [(name, str(value)) for name, value in rows]
