"""Loops of the counting kernel: activity of known tokens, and walks along the runs of labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernel import compiled

__all__ = ["Activity", "Spans", "add_active", "add_labels"]

Ints = NDArray[np.int64]
Narrow = NDArray[np.signedinteger]

#: Numbers of the shared histogram for one entry, at most, where it is worth adding it up.
WORTH_SHARING = 8


class Activity(NamedTuple):
    """Codes of a slice, the bin of every level, and the weight of every token, 0 if unknown."""

    indptr: Ints
    feature: NDArray[np.unsignedinteger]
    level: NDArray[np.uint8]
    bin_of: NDArray[np.uint8]
    known: Narrow


class Spans(NamedTuple):
    """Runs by label, instance and start; ``bounds`` are each label's."""

    bounds: Ints
    start: Ints
    stop: Ints
    instance: Ints


@compiled
def add_active(
    activity: Activity,
    group: int,
    moved: NDArray[np.bool_],
    active: Ints,
    entries: Ints,
    has_steps: bool,
) -> None:
    """Add the activity of a slice, weighted at known tokens and bare at all that are moved."""
    known = activity.known[group]
    for token in range(len(known)):
        if not moved[token]:  # nor is it known
            continue
        weight = known[token]
        for entry in range(activity.indptr[token], activity.indptr[token + 1]):
            at = activity.feature[entry]
            level = activity.bin_of[activity.level[entry]]
            active[at, level] += weight
            if has_steps:
                entries[at, level] += 1


@compiled
def add_labels(
    activity: Activity,
    spans: Spans,
    group: Ints,
    part: tuple[int, int],
    tokens: Narrow,
    instances: Narrow,
    n_positive: Ints,
    n_instances: Ints,
) -> None:
    """Walk the runs of labels ``part[0]:part[1]``."""
    indptr, feature, value, bin_of = (
        activity.indptr, activity.feature, activity.level, activity.bin_of
    )  # fmt: skip
    n_features = tokens.shape[1]
    seen = np.full(activity.known.shape[1], -1, np.int64)  # the label that saw a token last
    # Largest bin of every feature in the instance, plus 1, and the features that have one. They
    # are listed without a branch, which would be guessed wrongly half of the time.
    largest = np.zeros(n_features, np.uint8)
    met = np.empty(n_features + 1, np.uint32)
    n_met = 0
    shared = np.zeros((2, *tokens.shape[1:]), tokens.dtype)
    for label in range(part[0], part[1]):
        known = activity.known[group[label]]
        n_entries = 0
        for run in range(spans.bounds[label], spans.bounds[label + 1]):
            n_entries += indptr[spans.stop[run]] - indptr[spans.start[run]]
        is_shared = n_entries > shared.size // WORTH_SHARING
        of_tokens = shared[0] if is_shared else tokens[label]
        of_instances = shared[1] if is_shared else instances[label]
        any_known = False
        end = spans.bounds[label + 1]
        for run in range(spans.bounds[label], end):
            for token in range(spans.start[run], spans.stop[run]):
                if not known[token]:
                    continue
                any_known = True
                fresh = known[token] if seen[token] != label else 0
                seen[token] = label
                n_positive[label] += fresh
                for entry in range(np.uint64(indptr[token]), np.uint64(indptr[token + 1])):
                    at = feature[entry]
                    level = bin_of[value[entry]]
                    of_tokens[at, level] += fresh
                    before = largest[at]
                    met[n_met] = at
                    n_met += before == 0
                    largest[at] = max(before, level + np.uint8(1))
            if run + 1 == end or spans.instance[run + 1] != spans.instance[run]:
                n_instances[label] += any_known
                any_known = False
                for number in range(n_met):
                    at = met[number]
                    of_instances[at, largest[at] - np.uint8(1)] += 1
                    largest[at] = 0
                n_met = 0
        if is_shared:
            tokens[label] += shared[0]
            instances[label] += shared[1]
            shared[:] = 0
