"""The enrichment table: one row per reported pair of a feature and a label.

Counts are of known tokens on the half that tested the pair, at the threshold that the other half
chose: TP have feature and label, FP the feature only, FN the label only, TN neither; H of I
instances are hit at one token at least. Every token and instance counts once, whatever the size of
its family, but that cells of a grid count by their area (in units of the largest). Intervals
resample families, and the tests weight records by 1 / family size. Numbers in brackets are the
sources below.

============================  =================================================================
``feature, feature_name``     number and name of the feature
``label, group, nuisance``    the label, what it is assessed with, whether it is no finding
``extent``                    ``tokens``, or ``records`` where the label covers whole records
``n_instances, n_families``   I, and the families in which the label occurs
``n_events``                  events, each of one instance or more (a storm on several days)
``n_known, n_positive``       TP + FP + FN + TN, the label's universe, and TP + FN
``n_active, n_both``          TP + FP, and TP
``threshold``                 share of the feature's scale at or above which it counts as active;
                              0 is any activity
``precision``                 TP / (TP + FP)
``token_recall``              TP / (TP + FN)
``instance_recall``           H / I [1]
``event_recall``              share of events with an instance that is hit
``f1``                        2 TP / (2 TP + FP + FN)
``hybrid_f1``                 harmonic mean of precision and instance recall: InterPLM's F1 [1]
``mcc``                       (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)) [2]
``lift``                      precision / prevalence
``auroc``                     probability that a token with the label is more active than one
                              without, a tie counting half; of all levels, not of the threshold [3]
``average_precision``         sum of precision x gain in recall over all thresholds [4]
``log_odds``                  ln((TP+½)(TN+½) / ((FP+½)(FN+½))) [5]
``log_odds_low, log_odds_high, f1_low, f1_high, hybrid_f1_low, hybrid_f1_high``
                              95 % interval of the measure, by percentiles of resampled families,
                              expanded as few of them carry it [6]
``p_local, p_swap, p_joint``  (1 + exceedances) / (1 + draws) under each null [7]; only ``p_swap``
                              where a label covers whole records of any length; ``p_joint`` of
                              pairs whose other two are at most q / 2, the rest can be no link
``p``                         the largest of them [8]
``q``                         2 x p adjusted within the direction [9]: the smallest false discovery
                              rate of the united list of site-level links (record-level, of labels
                              of whole records) that contains the pair
``q_class``                   the same for the p that the class rests on, and for the list it is
                              in: ``p`` of site-level links; the larger of ``p_local`` and
                              ``p_swap`` of these and regional ones; ``p_swap`` of these and
                              record-level, ``p_local`` of these and positional ones; empty
                              without a link, and ``q`` where the label covers whole records
``class``                     ``site``: all three nulls are rejected; ``regional``: all but the
                              joint one; ``record``: ``p_swap`` alone (the most that a label of
                              whole records can reach); ``positional``: ``p_local`` alone;
                              ``none`` if tested and neither is rejected; ``not identifiable``;
                              ``not tested`` if it did not pass the screen or came after
                              ``n_per_label`` others, and under InterPLM's rule
``direction``                 which half chose and which tested [10]
``chosen_on_hybrid_f1``       hybrid F1 on the half that chose the threshold, which the measures
                              above do not see
``vault_f1, vault_log_odds``  F1 and log odds ratio on the vault, for linked pairs
``replicated``                on the vault: same sign, overlapping interval of the log odds ratio,
                              F1 at least half; empty without linked pair, label there or intervals
``best``                      the label's best feature by hybrid F1 on the half that chose
``best_baseline``             baseline whose best feature for the label has the best hybrid F1 on
                              the choosing half
``best_baseline_hybrid_f1``   that feature's hybrid F1 on the testing half
``probe_hybrid_f1``           the same of the supervised reference, which has seen labels and is no
                              baseline; empty without one
============================  =================================================================

====  =============================================================================================
[1]   Simon & Zou, InterPLM, Nature Methods 2025
[2]   Matthews, Biochimica et Biophysica Acta 405:442, 1975
[3]   Hanley & McNeil, Radiology 143:29, 1982
[4]   as scikit-learn defines ``average_precision_score``
[5]   Haldane, Annals of Human Genetics 20:309, 1956; Anscombe, Biometrika 43:461, 1956
[6]   Efron, Annals of Statistics 7:1, 1979; of clusters: Field & Welsh, J. R. Stat. Soc. B 69:369,
      2007; expanded: Hesterberg, American Statistician 69:371, 2015
[7]   Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9:39, 2010; draws stop early: Besag &
      Clifford, Biometrika 78:301, 1991; statistics: :mod:`sci_interp.enrichment.scores` and
      :mod:`sci_interp.enrichment.family_means`
[8]   the intersection-union test: Berger, Technometrics 24:295, 1982
[9]   Benjamini & Hochberg, J. R. Stat. Soc. B 57:289, 1995; on request Benjamini & Yekutieli,
      Annals of Statistics 29:1165, 2001, or Westfall & Young, Resampling-Based Multiple Testing,
      Wiley 1993
[10]  both halves once: this library's two-stage test, ``docs/statistics.md``
====  =============================================================================================

Precision, recall, F1 and lift are the ratios written out; the effective number of families that
makes a pair *not identifiable* is Kish's (Survey Sampling, 1965).

Rows without p were not tested: they are here as a label's best feature or for their F1.

A label has many rows, and the best of many is better than it deserves on the half that ranked
them. So rows are ranked, and the row that is printed for a label is picked, by
``chosen_on_hybrid_f1`` alone, linked rows before others; what is printed of it was measured on the
other half.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.schema import LinkClass

from .chunks import Study
from .curves import CurveBook
from .events import recall_events
from .intervals import MEASURES, bootstrap_pairs
from .linking import Links
from .ranking import rank_pairs
from .selection import DIRECTIONS, Direction, Selection, share_of_scale

__all__ = ["COLUMNS", "STRONG_F1", "build_table", "format_table", "has_events", "sort_rows"]

Ints = NDArray[np.int64]

#: Hybrid F1 above which InterPLM calls a feature and a label linked.
STRONG_F1 = 0.5

POINTS = (
    "precision",
    "token_recall",
    "instance_recall",
    "f1",
    "hybrid_f1",
    "mcc",
    "lift",
    "log_odds",
)
AREAS = ("auroc", "average_precision")
COLUMNS: tuple[str, ...] = (
    "feature", "feature_name", "label", "group", "nuisance", "extent", "n_instances",
    "n_families", "n_events", "n_known", "n_positive", "n_active", "n_both", "threshold",
    *POINTS[:3], "event_recall", *POINTS[3:7], *AREAS, "log_odds",
    *(f"{name}_{end}" for name in MEASURES for end in ("low", "high")),
    "p_local", "p_swap", "p_joint", "p", "q", "q_class", "class", "direction",
    "chosen_on_hybrid_f1", "vault_f1", "vault_log_odds", "replicated", "best",
    "best_baseline", "best_baseline_hybrid_f1", "probe_hybrid_f1",
)  # fmt: skip
#: Columns that repeat those of instances where no event has several of these.
EVENTS = ("n_events", "event_recall")
SHOWN = (
    "feature", "label", "extent", "n_instances", "precision", "instance_recall", *EVENTS, "f1",
    "hybrid_f1", "log_odds", "log_odds_low", "log_odds_high", "p", "q_class", "class",
    "best_baseline", "best_baseline_hybrid_f1", "probe_hybrid_f1",
)  # fmt: skip
#: Class of a pair that was given no p.
NOT_TESTED: LinkClass = "not tested"
LINKED = ("site", "regional", "record", "positional")
#: Takes the place of a direction where a pair is reported for its F1 on both halves.
STRONG = len(DIRECTIONS)


def build_table(study: Study, links: Links, *, n_bootstrap: int) -> tuple[pd.DataFrame, CurveBook]:
    """Return the reported rows of one source, without the columns on baselines, and its curves.

    Rows: pairs linked in either direction, the best feature of every label in each direction, and
    pairs whose hybrid F1 exceeds 0.5 on both halves. Findings come before nuisance labels, linked
    rows before others; then they are sorted by the hybrid F1 on the half that chose.
    """
    strong = _strong(study.selection)
    pairs = _reported(strong, links)
    book = CurveBook(study.selection, strong[strong["as_best"] != STRONG])
    # The last direction first: what the test read of its half is still held.
    parts = [
        _measure(study, pairs[pairs["direction"] == way.number], way, n_bootstrap).pipe(
            _rank, study, strong[strong["as_best"] == way.number], way, book
        )
        for way in reversed(DIRECTIONS)
    ][::-1]
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    table = _replicate(study, table, n_bootstrap)
    table = sort_rows(table)
    book.prune(table)
    return table, book


def sort_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows sorted by what the choosing half says, with a new index."""
    ranked, unlinked = -table["chosen_on_hybrid_f1"], ~table["class"].isin(LINKED)
    keys = (table["feature"], table["label_number"], ranked, unlinked, table["nuisance"])
    return table.iloc[np.lexsort(keys)].reset_index(drop=True)


def _strong(selection: Selection) -> pd.DataFrame:
    """Return feature, label and direction of each label's best features, and strong pairs."""
    strong: list[tuple[int, int, int]] = []
    for label in range(selection.n_labels):
        for way in DIRECTIONS:
            here = selection.confusion(way.number, way.selecting, slice(None), label).hybrid_f1
            if here.max() > 0:
                strong.append((int(here.argmax()), label, way.number))
        halves = [
            selection.confusion(0, split, slice(None), label).hybrid_f1
            for split in ("discovery", "test")
        ]
        both = np.flatnonzero(np.min(halves, axis=0) > STRONG_F1)
        strong += [(int(feature), label, STRONG) for feature in both]
    return pd.DataFrame(strong, columns=["feature", "label", "as_best"]).astype(np.int64)


def _reported(extra: pd.DataFrame, links: Links) -> pd.DataFrame:
    """Return feature, label, direction, outcome of the rows to report."""
    first = extra.sort_values("as_best", kind="stable").drop_duplicates(["feature", "label"])
    merged = links.table.merge(first, on=["feature", "label"], how="outer")
    merged = merged[merged["class"].isin(LINKED) | merged["as_best"].notna()]
    direction = merged["direction"].fillna(merged["as_best"].replace(STRONG, 0)).astype(np.int64)
    best = pd.MultiIndex.from_frame(extra)
    unjudged = pd.MultiIndex.from_frame(links.unjudged)
    rows = pd.MultiIndex.from_arrays([merged["feature"], merged["label"], direction])
    untested = np.where(rows.isin(unjudged), "not identifiable", NOT_TESTED)
    return merged.assign(
        direction=direction,
        best=rows.isin(best),
        **{"class": merged["class"].where(merged["class"].notna(), untested).astype(str)},
    )


def _measure(study: Study, pairs: pd.DataFrame, way: Direction, n_bootstrap: int) -> pd.DataFrame:
    """Return the pairs of one direction with measures and intervals on its testing half."""
    number, selection = way.number, study.selection
    feature, label = pairs["feature"].to_numpy(np.int64), pairs["label"].to_numpy(np.int64)
    bins = selection.bin[number][label, feature]
    table = selection.confusion(number, way.testing, feature, label)
    chosen = selection.confusion(number, way.selecting, feature, label)
    names = study.features.names
    labels = study.known.labels
    result = pairs.assign(
        bin=bins.astype(np.int64),
        label_number=label,
        feature_name=[names[at] if names else str(at) for at in feature],
        label=[labels[at].name for at in label],
        group=[labels[at].group for at in label],
        nuisance=np.array([labels[at].nuisance for at in label], bool),
        extent=[labels[at].extent for at in label],
        n_instances=table.instances.astype(np.int64),
        n_families=selection.n_families[way.testing][label],
        n_known=np.rint(table.known).astype(np.int64),
        n_positive=np.rint(table.positive).astype(np.int64),
        n_active=np.rint(table.active).astype(np.int64),
        n_both=np.rint(table.true_positive).astype(np.int64),
        threshold=share_of_scale(selection.floors, bins),
        direction=way.name,
        chosen_on_hybrid_f1=chosen.hybrid_f1,
        **{name: getattr(table, name) for name in POINTS},
    )
    numbers = pd.DataFrame({"feature": feature, "label": label, "bin": result["bin"].to_numpy()})
    ends = bootstrap_pairs(study, numbers, way.testing, n_bootstrap=n_bootstrap)
    numbers = ends.join(recall_events(study, numbers, way.testing))
    alone = numbers["n_events"].isna()
    numbers["n_events"] = numbers["n_events"].fillna(pd.Series(table.instances)).astype(np.int64)
    recall = pd.Series(table.instance_recall)
    numbers["event_recall"] = numbers["event_recall"].where(~alone, recall)
    return result.assign(**{name: numbers[name].to_numpy() for name in numbers})


def _rank(
    rows: pd.DataFrame, study: Study, best: pd.DataFrame, way: Direction, book: CurveBook
) -> pd.DataFrame:
    """Return rows with their areas; notes their curves, and those of each label's best feature."""
    own = rows[["feature", "label_number"]].rename(columns={"label_number": "label"})
    own = own.reset_index(drop=True)
    both = pd.concat([own, best[["feature", "label"]]], ignore_index=True).drop_duplicates()
    areas = rank_pairs(study, both, way.testing, partial(book.note, way)).loc[own.index]
    return rows.assign(**{name: areas[name].to_numpy() for name in areas})


def _replicate(study: Study, table: pd.DataFrame, n_bootstrap: int) -> pd.DataFrame:
    """Judge linked rows on the vault, at their frozen thresholds."""
    selection = study.selection
    judged = table["class"].isin(LINKED).to_numpy()
    vault = np.full((2, len(table)), np.nan)
    replicated = pd.array([pd.NA] * len(table), dtype="boolean")
    for way in DIRECTIONS:
        rows = np.flatnonzero(judged & (table["direction"] == way.name).to_numpy())
        if len(rows) == 0:
            continue
        numbers = table.iloc[rows][["feature", "label_number", "bin"]]
        numbers = numbers.rename(columns={"label_number": "label"}).reset_index(drop=True)
        feature, label = numbers["feature"].to_numpy(), numbers["label"].to_numpy()
        counts = selection.confusion(way.number, "vault", feature, label)
        present = selection.n_positive["vault"][label] > 0
        ends = bootstrap_pairs(study, numbers, "vault", n_bootstrap=n_bootstrap)
        here = table.iloc[rows]
        overlaps = (ends["log_odds_low"].to_numpy() <= here["log_odds_high"].to_numpy()) & (
            ends["log_odds_high"].to_numpy() >= here["log_odds_low"].to_numpy()
        )
        vault[:, rows[present]] = np.stack([counts.f1, counts.log_odds])[:, present]
        if n_bootstrap == 0:  # There are no intervals to overlap.
            continue
        again = (counts.log_odds > 0) & overlaps & (counts.f1 >= here["f1"].to_numpy() / 2)
        replicated[rows[present]] = again[present]
    return table.assign(vault_f1=vault[0], vault_log_odds=vault[1], replicated=replicated)


def has_events(table: pd.DataFrame) -> bool:
    """Return whether an event of a label has several instances."""
    return "n_events" in table and bool((table["n_events"] != table["n_instances"]).any())


def format_table(table: pd.DataFrame, *, n_rows: int = 20) -> str:
    """Return a table as text: the first row of each label, with the columns asked for first.

    The rows of a table are sorted by what the choosing half said, see this module's description.

    Parameters
    ----------
    table
        The enrichment table.
    n_rows
        Labels to show.
    """
    if table.empty:
        return "no pair to report"
    first = table.drop_duplicates("label").head(n_rows)
    has_whole = "extent" in table and bool((table["extent"] == "records").any())
    hidden = {*(() if has_events(table) else EVENTS), *(() if has_whole else ("extent",))}
    shown = [name for name in SHOWN if name not in hidden]
    text: str = first[shown].to_string(index=False, float_format="{:.3g}".format)
    rest = len(table) - len(first)
    return text + (f"\n... and {rest} more rows" if rest > 0 else "")
