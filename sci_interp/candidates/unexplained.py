"""Unexplained features: the gates of the candidate protocol, applied to every feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.adapter import Adapter, Dataset
from sci_interp.annotations import AnnotationStore
from sci_interp.source import FeatureSource

from .association import associate
from .coherence import measure_coherence
from .explained import ExplainedShare, measure_explained_share, measure_lead_share
from .explainers import Explainers
from .firing import Firing, FiringWindows
from .multiplicity import adjust_p
from .nuisance_matched import measure_matched_coherence
from .reproducibility import measure_reproducibility
from .windows import TopWindows, find_windows

__all__ = ["GATE_COLUMNS", "KINDS", "Gates", "basic_score", "rank_candidates", "run_gates"]

#: What a feature that passes the gates may be.
KINDS = ("unexplained", "sub-type", "sub-type of a nuisance")
#: Columns of the table of gates, one row a feature that fires in enough families.
GATE_COLUMNS = (
    "feature",
    "kind",
    "score",
    "n_families",
    "firing_level",
    "reproducibility",
    "reproducible",
    "coherence",
    "coherence_excess",
    "p",
    "q",
    "coherent",
    "explained_share",
    "lower",
    "upper",
    "label_share",
    "label_upper",
    "nuisance",
    "nuisance_share",
    "nuisance_recall",
    "coherence_beyond",
    "p_beyond",
    "q_beyond",
    "beyond_nuisances",
    "lead_lower",
    "unexplained",
    "unexplained_strict",
    "recall",
    "explained_by",
    "causal",
)
#: Best nuisances of a feature in which its windows are matched.
_N_NUISANCES = 8
#: Windows drawn among all firing, as a multiple of the strongest: they are less alike.
_N_DRAWN = 4


@dataclass(frozen=True)
class Gates:
    """Levels of the gates.

    Attributes
    ----------
    min_families : int
        Families in which a feature must fire, half as many in each half.
    q_coherence, q_beyond : float
        False discovery rates of gate 2, and of gate 3's claim that windows are alike beyond their
        nuisances.
    min_beyond : float
        Share of their likeness that nuisances must leave for that claim.
    max_nuisance_recall : float
        Recall from which on a nuisance that explains more than ``max_share`` of a feature is what
        the feature stands for; no coherence is asked then.
    max_share, max_share_strict : float
        Upper bound of the explained share below which a feature counts as unexplained.
    min_share, max_recall : float
        Lower bound of the share that the best label alone explains, and recall of it, that make
        a sub-type of this label.
    n_top, n_sets, n_resamples : int
        Windows a feature, reference sets at most, bootstrap resamples.
    """

    min_families: int = 8
    q_coherence: float = 0.01
    q_beyond: float = 0.01
    min_beyond: float = 0.5
    max_nuisance_recall: float = 0.5
    max_share: float = 0.5
    max_share_strict: float = 0.3
    min_share: float = 0.5
    max_recall: float = 0.2
    n_top: int = 16
    n_sets: int = 10_000
    n_resamples: int = 1_000


def run_gates(
    features: FeatureSource,
    known: AnnotationStore,
    *,
    adapter: Adapter,
    dataset: Dataset,
    seeds: Sequence[FeatureSource] = (),
    gates: Gates | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the gates for every feature that fires in enough families.

    Parameters
    ----------
    features, known
        Quantised codes and annotations, on one axis.
    adapter, dataset
        Who describes windows and knows the nuisances.
    seeds
        Codes by dictionaries trained from other seeds; without, gate 1 is not tested.
    gates
        Levels of the gates.
    seed
        Seed of reference sets and bootstrap.

    Returns
    -------
    DataFrame
        The columns ``GATE_COLUMNS``, by feature. ``kind`` is ``"unexplained"`` for a feature that
        passes all gates tested; ``"sub-type"`` for one that passes gates 1 and 2 and is a small
        part of one label, the best on either half, ``"sub-type of a nuisance"`` where that is no
        finding by itself (some of all glycines); and ``""`` for others.
    """
    gates = gates or Gates()
    features.axis.require_same(known.axis, "the annotations", "the features")
    windows = find_windows(features, n_top=gates.n_top)
    level = windows.firing_levels(gates.min_families)
    chosen = np.flatnonzero(level)
    table = pd.DataFrame({"feature": chosen, "firing_level": level[chosen]})
    table["n_families"] = windows.reached(level)[chosen]
    match = measure_reproducibility(features, seeds, chosen=chosen) if seeds else None
    table["reproducibility"] = match.mean if match else np.nan
    table["reproducible"] = [_word(bool(ok)) for ok in match.passed] if match else "not tested"
    coherence = measure_coherence(
        windows,
        chosen,
        axis=features.axis,
        adapter=adapter,
        dataset=dataset,
        q=gates.q_coherence,
        n_sets=gates.n_sets,
        seed=seed,
    )
    table["coherence"], table["coherence_excess"] = coherence.cosine, coherence.excess
    table["p"], table["q"] = coherence.p, adjust_p(coherence.p)
    table["coherent"] = table["q"] <= gates.q_coherence
    explainers = Explainers(known, adapter, dataset)
    firing = Firing(features, chosen, level[chosen])
    share = _explain(table, firing, windows, explainers, gates=gates, seed=seed)
    table["causal"] = "not tested"
    part = _part_of_one(table, share, gates)
    leading = Firing(features, chosen[part], level[chosen[part]])
    table["lead_lower"] = np.nan
    table.loc[part, "lead_lower"] = measure_lead_share(
        leading, explainers, share.labels[0, part, 0], n_resamples=gates.n_resamples, seed=seed
    )
    table["kind"] = _kinds(table, share, explainers, gates)
    table["score"] = _score(table)
    return table[list(GATE_COLUMNS)]


def _explain(
    table: pd.DataFrame,
    firing: Firing,
    windows: TopWindows,
    explainers: Explainers,
    *,
    gates: Gates,
    seed: int,
) -> ExplainedShare:
    """Add the columns of gate 3 to a table; return the share of labels and nuisances together."""
    halves = associate(firing, explainers)
    share, alone = (
        measure_explained_share(
            firing, explainers, halves, among=among, n_resamples=gates.n_resamples, seed=seed
        )
        for among in (None, ~explainers.is_nuisance)
    )
    table["explained_share"], table["recall"] = share.share, share.recall
    table["lower"], table["upper"] = share.lower, share.upper
    table["label_share"], table["label_upper"] = alone.share, alone.upper
    table["explained_by"] = [_named(explainers, labels) for labels in share.labels.swapaxes(0, 1)]
    both = halves[0] + halves[1]
    nuisances = both.best_labels(explainers, _N_NUISANCES, among=explainers.is_nuisance)
    most = nuisances[:, 0]
    table["nuisance"] = [explainers.names[one] if one >= 0 else "" for one in most]
    table["nuisance_share"], table["nuisance_recall"] = both.of_labels(explainers, most)
    _look_beyond(table, firing, windows, nuisances, explainers, gates=gates, seed=seed)
    # What nuisances make alike, they explain; where nothing is alike, they count as labels do.
    bound = table["label_upper"].where(
        table["coherent"], table[["label_upper", "upper"]].max(axis=1)
    )
    bound = bound.where(table["beyond_nuisances"] != "no", 1.0)
    table["unexplained"] = bound < gates.max_share
    table["unexplained_strict"] = bound < gates.max_share_strict
    return share


def _look_beyond(
    table: pd.DataFrame,
    firing: Firing,
    windows: TopWindows,
    nuisances: NDArray[np.int64],
    explainers: Explainers,
    *,
    gates: Gates,
    seed: int,
) -> None:
    """Add whether windows are alike beyond the nuisances.

    Where nuisances explain less than half of the firing, the windows are those of gate 2: is their
    likeness the nuisances'? Else any firing counts, so that what fires at a letter, and most in
    some context, is not taken for the context.
    """
    is_nuisance = (table["nuisance_share"] >= gates.max_share) & (
        table["nuisance_recall"] >= gates.max_nuisance_recall
    )
    asked = table["label_upper"] < gates.max_share
    table["p_beyond"], table["q_beyond"], table["coherence_beyond"] = np.nan, np.nan, np.nan
    # Gate 1 parts two lists, each with its own rate. All that is asked counts as tested, also what
    # cannot pass.
    for group in (table["reproducible"] == "no", table["reproducible"] != "no"):
        hopeful = asked & group & table["coherent"] & ~is_nuisance
        rows, n_tested = np.flatnonzero(hopeful), int((asked & group).sum())
        mine = Firing(firing.features, firing.chosen[rows], firing.level[rows])
        drawn = FiringWindows.draw(mine, n_top=_N_DRAWN * gates.n_top, seed=seed)
        strongest = (table["upper"] < gates.max_share).to_numpy(bool)[rows]
        found = measure_matched_coherence(
            drawn.with_strongest(windows, mine.chosen, strongest),
            nuisances[rows],
            explainers,
            n_tested=n_tested,
            q=gates.q_beyond,
            n_sets=gates.n_sets,
            seed=seed,
        )
        table.loc[rows, "p_beyond"] = found.p
        table.loc[rows, "q_beyond"] = adjust_p(found.p, n_tested)
        table.loc[rows, "coherence_beyond"] = found.share
    beyond = table["q_beyond"] <= gates.q_beyond
    beyond &= table["coherence_beyond"] >= gates.min_beyond
    table["beyond_nuisances"] = np.where(beyond, "yes", "no")
    table.loc[table["q_beyond"].isna() & ~is_nuisance, "beyond_nuisances"] = "not tested"


def rank_candidates(table: pd.DataFrame, *kinds: str) -> pd.DataFrame:
    """Return the features of some kinds, kind by kind, best first."""
    parts = [table[table["kind"] == kind] for kind in kinds]
    order = {"by": ["score", "feature"], "ascending": [False, True]}
    return pd.concat([part.sort_values(**order) for part in parts], ignore_index=True)


def _score(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return coherence x (1 - upper share of labels) x reproducibility, the last where tested.

    Sub-types are explained by definition; their middle factor is 1 - recall.
    """
    is_part = table["kind"].isin(KINDS[1:]).to_numpy()
    covered = np.where(is_part, table["recall"].to_numpy(), table["label_upper"].to_numpy())
    reproducibility = np.maximum(table["reproducibility"].fillna(1.0).to_numpy(), 0.0)
    score: NDArray[np.float64] = basic_score(table, covered) * reproducibility
    return score


def basic_score(
    table: pd.DataFrame, covered: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return coherence x (1 - covered), the latter by default the upper share of labels."""
    covered = table["label_upper"].to_numpy() if covered is None else covered
    coherence = np.maximum(table["coherence_excess"].to_numpy(), 0.0)
    score: NDArray[np.float64] = coherence * np.clip(1 - covered, 0.0, 1.0)
    return score


def _kinds(
    table: pd.DataFrame, share: ExplainedShare, explainers: Explainers, gates: Gates
) -> list[str]:
    """Return what every feature is: unexplained, a sub-type, or nothing."""
    sound = _sound(table)
    leads = share.labels[:, :, 0]
    part = (table["lead_lower"] >= gates.min_share).to_numpy()
    nuisance = explainers.is_nuisance[leads].any(axis=0)
    kinds = np.select(
        [sound & table["unexplained"].to_numpy(), sound & part & ~nuisance, sound & part],
        KINDS,
        default="",
    )
    return [str(kind) for kind in kinds]


def _sound(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which features pass gates 1, where tested, and 2 ``(n,)``."""
    sound: NDArray[np.bool_] = (table["coherent"] & (table["reproducible"] != "no")).to_numpy(bool)
    return sound


def _part_of_one(table: pd.DataFrame, share: ExplainedShare, gates: Gates) -> NDArray[np.bool_]:
    """Return which features may be a part of a label: the same is best on both halves ``(n,)``."""
    leads = share.labels[:, :, 0]
    same: NDArray[np.bool_] = (leads[0] >= 0) & (leads[0] == leads[1])
    return same & _sound(table) & (share.recall <= gates.max_recall)


def _named(explainers: Explainers, labels: NDArray[np.int64]) -> str:
    """Return the names of the labels chosen on either half ``(2, 3)``, best first."""
    names = [explainers.names[label] for label in labels.T.ravel() if label >= 0]
    return ", ".join(dict.fromkeys(names))


def _word(passed: bool) -> str:
    return "yes" if passed else "no"
