"""All sources under the protocol, each from its counts to its table."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from sci_interp.allocator import release_free_memory
from sci_interp.threads import one_blas_thread

from .chunks import LinkSettings, Study
from .count_shards import SourceCounts
from .curves import CurveBook
from .entries import ENTRY_BYTES
from .held import Held, HeldRows
from .interplm import untested_links
from .lanes import MOST_LANES, Allowance, run_lanes
from .linking import Links, link_pairs
from .selection import choose_thresholds
from .summary import summarise, summarise_always_on
from .table import build_table

__all__ = ["Outcome", "link_sources"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One source under the protocol.

    Attributes
    ----------
    table : DataFrame
        Its reported rows.
    curves : CurveBook
        The curves of these rows, and of each label's best features.
    summary, always_on : dict
        Its row of the summary, and that of a feature that is always on.
    study : Study
        Its codes, thresholds and counts.
    links : Links
        What the test said.
    """

    table: pd.DataFrame
    curves: CurveBook
    summary: dict[str, Any]
    always_on: dict[str, Any]
    study: Study
    links: Links


def link_sources(
    counts: Mapping[str, SourceCounts],
    test: LinkSettings,
    settings: Mapping[str, Any],
    outcomes: dict[str, Outcome],
) -> Generator[None, None, None]:
    """Fill ``outcomes``; yields after the thresholds, the test and the table of each source.

    Parameters
    ----------
    counts
        The sources, the first of which is the features.
    test, settings
        Settings of the test, and of the protocol.
    outcomes
        Filled by name, in whatever order sources end.
    """
    tested = settings["protocol"] == "two-stage"
    n_bootstrap = int(settings["n_bootstrap"]) if tested else 0
    held = Held(next(iter(counts.values())).known, most_numbers=test.most_numbers)
    allowance = Allowance(test.max_entries)

    def link(name: str, step: Callable[[], None]) -> None:
        counted = counts[name]
        # Counts may be larger than all entries: then they are made one source after the other.
        taken = allowance.take(test.count_bytes // ENTRY_BYTES)
        n_threads = allowance.share(test.n_threads)
        selection = choose_thresholds(replace(counted, n_threads=n_threads))
        release_free_memory()
        allowance.give(taken)
        rows = HeldRows(allowance)
        study = Study(counted.features, counted.known, selection, test, held, allowance, rows)
        step()
        links = link_pairs(study) if tested else untested_links()
        step()
        table, curves = build_table(study, links, n_bootstrap=n_bootstrap)
        rows.drop()
        summary = summarise(name, study, links if tested else None)
        always_on = summarise_always_on(study)
        outcomes[name] = Outcome(table, curves, summary, always_on, study, links)
        step()

    n_lanes = min(MOST_LANES, test.n_threads)
    with one_blas_thread():  # Lanes and threads share the processors already.
        yield from run_lanes(link, list(counts), n_lanes=n_lanes, allowance=allowance)
