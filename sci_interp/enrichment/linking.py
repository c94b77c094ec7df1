"""The two-stage, cross-fitted test of every feature-label pair.

In each direction thresholds are chosen and pairs screened on one half, and the pairs that pass are
tested on the other by permutation. The false discovery rate is controlled at q/2 in each direction
and the findings are united.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.schema import LINK_CLASSES

from .chunks import Chunk, Study, each_chunk
from .family_wise import adjust_by_maxima
from .permutations import ENOUGH, PermutationTest, permute_pairs
from .scores import PairList, score_pairs
from .selection import DIRECTIONS, Direction
from .significance import adjust_p, classify_links

__all__ = ["Links", "link_pairs"]

Ints = NDArray[np.int64]

#: A label needs this many families with an event in each half.
MIN_EVENT_FAMILIES = 8
#: A pair needs this effective number of families (Kish) in the half that tests it.
MIN_KISH = 5.0
#: One-sided p of the robust t below which a pair goes on to the other half. T of k equal families
#: is at most sqrt(k): one or two cannot nominate. Three or four may, and nothing rests on it.
SCREEN_P = 0.05
#: Hybrid F1 that a nuisance label's pair needs on the selecting half to be tested.
NUISANCE_F1 = 0.5

#: Exceedances that the largest rejected p shall have where the permutations asked for are too few.
FEWEST_EXCEEDANCES = 5

NULLS = ("local", "swap", "joint")
#: Column of p, and of q, that a class rests on.
P_OF_CLASS = {"site": "p", "regional": "p_region", "record": "p_swap", "positional": "p_local"}
Q_OF_CLASS = {name: column.replace("p", "q", 1) for name, column in P_OF_CLASS.items()}

TOO_FEW_FAMILIES = "label in fewer than 8 families of a half"
TOO_CONCENTRATED = "effective number of families below 5"


@dataclass(frozen=True, eq=False)
class Links:
    """Outcome of the test.

    Attributes
    ----------
    table : DataFrame
        One row per tested pair: ``feature, label`` (numbers), ``direction`` (number), ``p_local,
        p_swap, p_joint, p, q, q_class, class``. The class is the stronger of the two directions',
        q the smaller; direction and p are the first direction's, unless only the second reaches
        that class. ``q_class`` is the q of the nulls that the class rests on. Of labels of whole
        records only ``p_swap`` is there, ``p`` is the same, and the class is ``record`` at most.
    unjudged : DataFrame
        Columns ``feature, label, direction``: pairs that could not be judged on the selecting half.
    n_candidates, n_tested : int
        Pairs with positive association on a selecting half; pairs that passed the screen.
    not_identifiable : mapping of reason to number of pairs
        Candidate pairs that cannot be judged, and why; over both directions.
    """

    table: pd.DataFrame
    unjudged: pd.DataFrame
    n_candidates: int
    n_tested: int
    not_identifiable: dict[str, int]


@dataclass(frozen=True, eq=False)
class _Screened:
    """Pairs of one direction by what the selecting half says of them."""

    passed: pd.DataFrame
    unjudged: pd.DataFrame
    n_candidates: int


def link_pairs(study: Study) -> Links:
    """Run both directions and unite them."""
    reasons = {TOO_FEW_FAMILIES: 0, TOO_CONCENTRATED: 0}
    screened = [_screen(study, way, reasons) for way in DIRECTIONS]
    tables = [
        _judge(_permute(study, way, found.passed, reasons), study, way)
        for way, found in zip(DIRECTIONS, screened, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)
    n_tested = len(table)
    rank = table["class"].map({name: at for at, name in enumerate(LINK_CLASSES)})
    order = np.lexsort((table["direction"], rank))
    lowest = table.groupby(["label", "feature"], as_index=False)[list(Q_OF_CLASS.values())].min()
    table = table.iloc[order].drop_duplicates(["label", "feature"])
    table = table.drop(columns=list(Q_OF_CLASS.values())).merge(lowest, on=["label", "feature"])
    table = table.sort_values(["label", "feature"]).reset_index(drop=True)
    table["q_class"] = np.nan
    for name, column in Q_OF_CLASS.items():
        table["q_class"] = table["q_class"].mask(table["class"] == name, table[column])
    n_candidates = sum(found.n_candidates for found in screened)
    parts = [found.unjudged.assign(direction=at) for at, found in enumerate(screened)]
    unjudged = pd.concat(parts, ignore_index=True)
    return Links(table, unjudged, n_candidates, n_tested, reasons)


def _screen(study: Study, way: Direction, reasons: dict[str, int]) -> _Screened:
    """Screen one direction's candidates by the robust t on the selecting half."""
    empty = pd.DataFrame({name: np.zeros(0, np.int64) for name in ("feature", "label", "bin")})
    groups = range(len(study.known.groups))
    found = [_candidates(study, way, group) for group in groups]
    candidates = pd.concat([empty, *found], ignore_index=True)
    families = study.selection.n_families
    n_families = np.minimum(families[way.selecting], families[way.testing])
    enough = n_families[candidates["label"]] >= MIN_EVENT_FAMILIES
    reasons[TOO_FEW_FAMILIES] += int((~enough).sum())
    passed, unjudged = [empty], [candidates[~enough]]
    for tracks, entries, pairs, piece in each_chunk(study, way.selecting, candidates[enough]):
        robust = score_pairs(entries, tracks, pairs, n_threads=study.n_threads)
        fine = robust.p < SCREEN_P
        too_few = ~fine & (robust.kish < MIN_KISH)
        reasons[TOO_CONCENTRATED] += int(too_few.sum())
        unjudged.append(piece[too_few])
        passed.append(piece[fine].assign(statistic=robust.statistic[fine]))
        del entries  # before the next are read
    return _Screened(
        _strongest(pd.concat(passed, ignore_index=True), study.settings.n_per_label),
        pd.concat(unjudged, ignore_index=True)[["feature", "label"]],
        len(candidates),
    )


def _strongest(passed: pd.DataFrame, n_per_label: int) -> pd.DataFrame:
    """Return the pairs with each label's largest T, in the order given.

    T is of the selecting half, so the other half's p and their adjustment stay valid.
    """
    if n_per_label and len(passed):
        order = passed.sort_values(["statistic", "feature"], ascending=[False, True], kind="stable")
        passed = order.groupby("label", sort=False).head(n_per_label).sort_index()
    return passed.drop(columns="statistic", errors="ignore").reset_index(drop=True)


def _candidates(study: Study, way: Direction, group: int) -> pd.DataFrame:
    """Return the positively associated pairs of one group on the selecting half."""
    found: list[tuple[Ints, Ints]] = []
    for label in np.flatnonzero(study.selection.group == group):
        table = study.selection.confusion(way.number, way.selecting, slice(None), int(label))
        chosen = (table.true_positive > 0) & (table.log_odds > 0)
        if study.known.labels[int(label)].nuisance:
            chosen &= table.hybrid_f1 > NUISANCE_F1
        feature = np.flatnonzero(chosen)
        found.append((feature, np.full(len(feature), label)))
    empty = np.zeros(0, np.int64)
    features = np.concatenate([empty, *(pair[0] for pair in found)])
    labels = np.concatenate([empty, *(pair[1] for pair in found)])
    bins = study.selection.bin[way.number][labels, features].astype(np.int64)
    order = np.lexsort((labels, bins, features))
    columns = {"feature": features[order], "label": labels[order], "bin": bins[order]}
    return pd.DataFrame(columns)


def _permute(
    study: Study, way: Direction, survivors: pd.DataFrame, reasons: dict[str, int]
) -> pd.DataFrame:
    """Test survivors on the testing half; p is NaN where it is not identifiable there.

    Where the p that is rejected would have too few exceedances to tell it from less, or none, the
    pairs that may still be links are drawn of again, more often.
    """
    test = study.settings
    done = _permute_once(study, way, survivors, test.n_permutations)
    reasons[TOO_CONCENTRATED] += int(done["p"].isna().sum())
    open_ = (done["p"] < (ENOUGH + 1) / (test.n_permutations + 1)).to_numpy()
    if not open_.any():
        return done
    resolved = FEWEST_EXCEEDANCES * len(done) / (open_.sum() * test.q / 2)
    n_draws = min(int(np.ceil(resolved)), test.max_permutations)
    if n_draws <= test.n_permutations:
        return done
    more = _permute_once(study, way, done.loc[open_, ["feature", "label", "bin"]], n_draws)
    return pd.concat([done[~open_], more], ignore_index=True)


def _permute_once(
    study: Study, way: Direction, survivors: pd.DataFrame, n_draws: int
) -> pd.DataFrame:
    test = study.settings
    settings = PermutationTest(n_draws, test.seed, way.number, test.q / 2, study.n_threads)
    columns = ("kish", *(f"p_{null}" for null in NULLS), "p_region", "p")
    empty = survivors.iloc[:0].assign(**{column: np.zeros(0) for column in columns})
    # A map lets go of a chunk before the next is read.
    work = partial(_permute_chunk, study, settings)
    parts = list(map(work, each_chunk(study, way.testing, survivors)))
    return pd.concat([part for part in parts if len(part)] or [empty], ignore_index=True)


def _permute_chunk(study: Study, settings: PermutationTest, chunk: Chunk) -> pd.DataFrame:
    tracks, entries, pairs, piece = chunk
    robust = score_pairs(entries, tracks, pairs, n_threads=settings.n_threads)
    spread = np.flatnonzero(robust.kish >= MIN_KISH)
    chosen = PairList(*(column[spread] for column in pairs))
    p = np.full((len(NULLS), len(piece)), np.nan)
    group = int(study.selection.group[tracks.labels[0]])
    p[:, spread] = permute_pairs(entries, tracks, chosen, group=group, test=settings)
    alone = {f"p_{null}": p[at] for at, null in enumerate(NULLS)}
    region = np.fmax(p[0], p[1])
    return piece.assign(kish=robust.kish, **alone, p_region=region, p=np.fmax(region, p[2]))


def _judge(pairs: pd.DataFrame, study: Study, way: Direction) -> pd.DataFrame:
    """Adjust the p of one direction at half the rate and classify its pairs.

    A pair that cannot be judged on the testing half counts as tested with p = 1. Nuisance labels
    are adjusted by themselves. A label of whole records is record-level at most: its p is that of
    the swap null, and stands in one list with the p of all nulls of the others.
    """
    if study.settings.dependence == "maxt":
        adjusted = adjust_by_maxima(study, way, pairs)
    else:
        adjusted = _adjust(pairs, study)
    whole = study.by_family[pairs["label"].to_numpy(np.int64)]
    for name in ("p_region", "p_swap"):
        adjusted[name] = np.where(whole, adjusted["p"], adjusted[name])
    of_all, region, swap, local = (adjusted[column] for column in P_OF_CLASS.values())
    classes = classify_links(of_all, region, swap, local, study.settings.q)
    classes[whole] = np.where(adjusted["p"][whole] <= study.settings.q, "record", "none")
    unknown = pairs["p"].isna().to_numpy()
    classes[unknown] = "not identifiable"
    found = {
        Q_OF_CLASS[name]: np.where(unknown, np.nan, adjusted[column])
        for name, column in P_OF_CLASS.items()
    }
    return pairs.assign(direction=way.number, **found, **{"class": classes.astype(str)})


def _adjust(pairs: pd.DataFrame, study: Study) -> dict[str, NDArray[np.float64]]:
    """Return each p that a class rests on, adjusted for the false discovery rate of both ways."""
    label = pairs["label"].to_numpy(np.int64)
    nuisance = np.array([known.nuisance for known in study.known.labels], bool)[label]
    adjusted = {}
    for name in P_OF_CLASS.values():
        filled = pairs[name].fillna(1.0).to_numpy(np.float64)
        if name == "p_local":
            # Of labels of whole records there is no such null, and no such test.
            filled = np.where(study.by_family[label], np.nan, filled)
        value = np.empty(len(pairs))
        for part in (nuisance, ~nuisance):
            value[part] = adjust_p(filled[part], study.settings.dependence)
        adjusted[name] = np.minimum(2 * value, 1.0)
    return adjusted
