"""Sparse probes: which few features together tell a label's tokens best, and their weights.

Least squares on two target values, which is Fisher's discriminant. Features are taken one by one,
each time the one that lowers the error most (orthogonal least squares; Chen, Billings & Luo 1989),
among the candidates of largest correlation with the label. Everything follows from sums over the
discovery half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.threads import one_blas_thread

from .probe_sums import ProbeSums, ProbeUniverse, sum_products, sum_values

__all__ = ["Probe", "fit_probes", "select_forward"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Features whose products are held at once, at least those of one label's candidates.
N_PRODUCTS = 2_896
#: Bytes that the sums of a block of labels may take.
SUM_BYTES = 64 * 2**20
#: Share of a label's variance below which another feature adds nothing.
LEAST_GAIN = 1e-12


@dataclass(frozen=True, eq=False)
class Probe:
    """One probe of a label.

    Attributes
    ----------
    label : int
        The label.
    k : int
        How many features it may use.
    features : (n_chosen,) int64
        The features in the order in which they were taken; fewer than ``k`` where no other helps.
    weights : (n_chosen,) float64
        Weight of each feature's relative activation.
    """

    label: int
    k: int
    features: Ints
    weights: Floats


@one_blas_thread()
def fit_probes(
    universe: ProbeUniverse, labels: Ints, *, k: Sequence[int], n_candidates: int, ridge: float
) -> list[Probe]:
    """Return the probes of the labels, one for each label and ``k``, by label.

    Parameters
    ----------
    universe
        Codes, annotations and label group.
    labels : (n_labels,) int64
        Labels of the group.
    k
        Numbers of features, ascending.
    n_candidates
        Features that a label's probes choose among: those of largest absolute correlation.
    ridge
        Strength of the regularisation, relative to the variance of a feature.
    """
    probes: list[Probe] = []
    size = max(1, SUM_BYTES // (8 * universe.features.n_features))
    for first in range(0, len(labels), size):
        part = labels[first : first + size]
        sums = sum_values(universe, part)
        deviation, target = sums.deviation, sums.correlation
        candidates = [_candidates(row, n_candidates) for row in target]
        for begin, end, chosen in _blocks(candidates):
            products = _correlations(sums, sum_products(universe, chosen), chosen)
            for at in range(begin, end):
                mine = candidates[at]
                rows = np.searchsorted(chosen, mine)
                order = select_forward(
                    products[np.ix_(rows, rows)], target[at, mine], max(k), ridge=ridge
                )
                for number in k:
                    taken = order[:number]
                    matrix = products[np.ix_(rows[taken], rows[taken])]
                    slope = np.linalg.solve(
                        matrix + ridge * np.eye(len(taken)), target[at, mine[taken]]
                    )
                    weights = slope / deviation[mine[taken]]
                    probes.append(Probe(int(part[at]), number, mine[taken], weights))
    return probes


def select_forward(correlation: Floats, target: Floats, n_steps: int, *, ridge: float) -> Ints:
    """Return features in the order in which each lowers the squared error most.

    Parameters
    ----------
    correlation : (n_candidates, n_candidates) float64
        Correlations of the features.
    target : (n_candidates,) float64
        Correlation of each feature with the label.
    n_steps
        Features to take at most; it ends earlier where no other lowers the error.
    ridge
        Added to the diagonal.

    Notes
    -----
    Steps of a pivoted Cholesky factorisation: with the chosen features projected out, feature j has
    the variance ``left[j]`` and the covariance ``error[j]`` with the label, and lowers the error by
    ``error[j] ** 2 / left[j]``. Of equals the first is taken.
    """
    n_steps = min(n_steps, len(target))
    factor = np.zeros((len(target), n_steps))
    left = np.diag(correlation) + ridge
    error = target.copy()
    chosen: list[int] = []
    free = np.ones(len(target), bool)
    for step in range(n_steps):
        gain = np.where(free & (left > 0), error**2 / np.where(left > 0, left, 1.0), -1.0)
        best = int(gain.argmax())
        if gain[best] < LEAST_GAIN:
            break
        chosen.append(best)
        free[best] = False
        root = np.sqrt(left[best])
        column = correlation[:, best] - factor[:, :step] @ factor[best, :step]
        factor[:, step] = column / root
        error = error - factor[:, step] * (error[best] / root)
        left = left - factor[:, step] ** 2
    return np.array(chosen, np.int64)


def _candidates(correlation: Floats, n_candidates: int) -> Ints:
    """Return the features of largest absolute correlation, ascending; of equals the first."""
    size = np.abs(correlation)
    order = np.argsort(-size, kind="stable")[:n_candidates]
    return np.sort(order[size[order] > 0]).astype(np.int64)


def _blocks(candidates: Sequence[Ints]) -> Iterator[tuple[int, int, Ints]]:
    """Yield ranges of labels and the candidates they have together, as many as fit in memory."""
    begin = 0
    while begin < len(candidates):
        chosen, end = candidates[begin], begin + 1
        while end < len(candidates):
            joined = np.union1d(chosen, candidates[end])
            if len(joined) > N_PRODUCTS:
                break
            chosen, end = joined, end + 1
        yield begin, end, chosen
        begin = end


def _correlations(sums: ProbeSums, products: Floats, chosen: Ints) -> Floats:
    mean, deviation = sums.mean[chosen], sums.deviation[chosen]
    covariance = products / sums.weight - np.outer(mean, mean)
    return covariance / np.outer(deviation, deviation)
