"""Ways to count the same: this library's kernel, InterPLM's code, sparse and dense products.

Every engine yields, for consecutive labels, true positives, false positives and instances hit, each
``(n_labels, n_features, n_thresholds)``, of activity above every threshold.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from counting_data import FLOORS, SHARES, Task, level_values
from numpy.typing import NDArray
from scipy import sparse

from sci_interp.enrichment.counts import at_or_above, count_split

__all__ = ["ENGINES", "Counted", "Engine", "load_interplm"]

Ints = NDArray[np.int64]
#: True positives, false positives and instances hit of some labels.
Counted = tuple[Ints, Ints, Ints]
Engine = Callable[[Task, int], Iterator[Counted]]

#: Bytes that the kernel's counts of one block of labels may take.
COUNT_BYTES = 512 * 2**20
#: Features that InterPLM's script gives its function at once.
INTERPLM_FEATURES = 250
#: Where the function lies in the releases.
INTERPLM_MODULES = (
    "interplm.analysis.concepts.compare_activations",
    "interplm.concept.compare_activations_to_concepts",
)


def count_by_kernel(task: Task, n_threads: int) -> Iterator[Counted]:
    """Walk over the runs once and count every threshold: this library."""
    n_labels = len(task.known.labels)
    size = max(1, COUNT_BYTES // (8 * task.features.n_features * len(FLOORS)))
    for first in range(0, n_labels, size):
        labels = np.arange(first, min(first + size, n_labels))
        counts = count_split(
            task.features, task.known, "discovery", labels=labels, floors=FLOORS,
            n_threads=n_threads,
        )  # fmt: skip
        active = at_or_above(counts.active[0])
        for at in range(len(labels)):
            positive = at_or_above(counts.tokens[at])
            yield positive[None], (active - positive)[None], at_or_above(counts.instances[at])[None]


def count_by_definition(task: Task, _: int) -> Iterator[Counted]:
    """The published definition, written plainly: label by label and threshold by threshold.

    A token is positive for a label inside one of its runs. True positives are active positive
    tokens, false positives all other active tokens, and an instance is hit by one active token.
    """
    values, runs = _values(task), task.known.everything
    above = [values > share for share in SHARES]
    rows = [_matrix(task, mask) for mask in above]
    active = np.stack([_column_sums(matrix) for matrix in rows], axis=1)
    for label in range(len(task.known.labels)):
        mine = np.flatnonzero(runs.label == label)
        positive, hit = np.zeros((2, task.features.n_features, len(SHARES)), np.int64)
        for threshold, matrix in enumerate(rows):
            for run in mine:
                counts = _column_sums(matrix[runs.start[run] : runs.stop[run]])
                positive[:, threshold] += counts
                hit[:, threshold] += counts > 0
        yield positive[None], (active - positive)[None], hit[None]


def count_by_product(task: Task, _: int) -> Iterator[Counted]:
    """Products of sparse matrices (scipy): features by labels, and features by instances."""
    values, runs = _values(task), task.known.everything
    n_labels, n_tokens = len(task.known.labels), task.features.axis.n_tokens
    n_runs = len(runs.label)
    size = runs.stop - runs.start
    token = np.repeat(runs.start - np.append(0, np.cumsum(size)[:-1]), size) + np.arange(size.sum())
    of_run = np.repeat(np.arange(n_runs), size)
    ones = np.ones(len(token), np.int32)
    inside = sparse.csr_matrix((ones, (token, of_run)), shape=(n_tokens, n_runs))
    label_of = sparse.csr_matrix(
        (np.ones(n_runs, np.int32), (np.arange(n_runs), runs.label)), shape=(n_runs, n_labels)
    )
    shape = (n_labels, task.features.n_features, len(SHARES))
    positive, hit, wrong = (np.zeros(shape, np.int64) for _ in range(3))
    for threshold, share in enumerate(SHARES):
        matrix = _matrix(task, values > share)
        by_run = (matrix.T @ inside).tocsr()  # features x instances
        positive[..., threshold] = (by_run @ label_of).toarray().T
        by_run.data = np.ones_like(by_run.data)
        hit[..., threshold] = (by_run @ label_of).toarray().T
        wrong[..., threshold] = _column_sums(matrix) - positive[..., threshold]
    yield positive, wrong, hit


def count_on_gpu(task: Task, _: int) -> Iterator[Counted]:
    """Dense products on a CUDA device, label by label of a slice of tokens."""
    import torch

    if not torch.cuda.is_available():
        raise NotImplementedError("no CUDA device")
    values, runs = _values(task), task.known.everything
    n_labels, n_features = len(task.known.labels), task.features.n_features
    positive, hit = np.zeros((2, n_labels, n_features, len(SHARES)), np.int64)
    active = np.zeros((n_features, len(SHARES)), np.int64)
    starts = task.features.axis.record_starts
    codes = task.features.codes
    label_of_run = torch.as_tensor(runs.label, device="cuda")
    order = np.argsort(runs.start, kind="stable")
    for first, last in _record_slices(starts, 16_384):
        dense = torch.zeros((last - first, n_features), device="cuda")
        part = slice(int(codes.indptr[first]), int(codes.indptr[last]))
        row = np.repeat(np.arange(last - first), np.diff(codes.indptr[first : last + 1]))
        place = (torch.as_tensor(row), torch.as_tensor(codes.feature[part].astype(np.int64)))
        dense[place] = torch.as_tensor(values[part], dtype=torch.float32).cuda()
        here = order[np.searchsorted(runs.start[order], first) :]
        here = here[: np.searchsorted(runs.start[here], last)]
        inside = torch.zeros((len(here), last - first), device="cuda", dtype=torch.float16)
        for at, run in enumerate(here):
            inside[at, runs.start[run] - first : runs.stop[run] - first] = 1
        mine = label_of_run[torch.as_tensor(here, device="cuda")]
        for threshold, share in enumerate(SHARES):
            above = (dense > np.float32(share)).half()
            by_run = (inside @ above).float()  # a run is shorter than 2048: exact
            total = torch.zeros((2, n_labels, n_features), device="cuda")
            total[0].index_add_(0, mine, by_run)
            total[1].index_add_(0, mine, (by_run > 0).float())
            found = total.long().cpu().numpy()
            positive[..., threshold] += found[0]
            hit[..., threshold] += found[1]
            active[:, threshold] += above.sum(0, dtype=torch.int64).cpu().numpy()
    yield positive, active - positive, hit


def load_interplm(folder: Path) -> Callable[..., Any]:
    """Return the counting function of a copy of InterPLM; its code is run from there."""
    sys.path.insert(0, str(folder))
    for name in INTERPLM_MODULES:
        try:
            function: Callable[..., Any] = importlib.import_module(name).calc_metrics_sparse
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        return function
    raise SystemExit(f"{folder} holds none of {', '.join(INTERPLM_MODULES)}")


def count_by_interplm(function: Callable[..., Any], task: Task) -> Iterator[Counted]:
    """InterPLM's own function, in pieces of as many features as its script gives it."""
    runs = task.known.everything
    n_labels, n_tokens = len(task.known.labels), task.features.axis.n_tokens
    size = runs.stop - runs.start
    token = np.repeat(runs.start - np.append(0, np.cumsum(size)[:-1]), size) + np.arange(size.sum())
    number = np.repeat(runs.instance + 1, size).astype(np.float64)
    labels = sparse.csr_matrix(
        (number, (token, np.repeat(runs.label, size))), shape=(n_tokens, n_labels)
    )
    everything = _matrix(task, None, _values(task)).tocsc()
    parts = [
        function(
            everything[:, first : first + INTERPLM_FEATURES].tocsr(),
            labels,
            list(SHARES),
            [False] * n_labels,
        )
        for first in range(0, task.features.n_features, INTERPLM_FEATURES)
    ]
    positive, wrong, hit = (
        np.concatenate([part[at] for part in parts], axis=1).astype(np.int64) for at in range(3)
    )
    yield positive, wrong, hit


ENGINES: dict[str, Engine] = {
    "kernel": count_by_kernel,
    "definition": count_by_definition,
    "product": count_by_product,
    "gpu": count_on_gpu,
}


def _values(task: Task) -> NDArray[np.float64]:
    return level_values()[task.features.codes.value]


def _matrix(
    task: Task, kept: NDArray[np.bool_] | None, values: NDArray[np.float64] | None = None
) -> sparse.csr_matrix:
    """Return tokens by features: ones where ``kept``, or all values."""
    codes, shape = task.features.codes, (task.features.axis.n_tokens, task.features.n_features)
    if kept is None:
        assert values is not None
        return sparse.csr_matrix((values, codes.feature.astype(np.int32), codes.indptr), shape)
    before = np.append(0, np.cumsum(kept))
    data = np.ones(int(before[-1]), np.int32)
    return sparse.csr_matrix(
        (data, codes.feature[kept].astype(np.int32), before[codes.indptr]), shape
    )


def _column_sums(matrix: sparse.csr_matrix) -> Ints:
    return np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.int64)


def _record_slices(starts: Ints, size: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of whole records of about ``size`` tokens."""
    first = 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + size, "right")) - 1)
        yield int(starts[first]), int(starts[last])
        first = last
