"""Small planted worlds: families of homologous records, labels, features true and deceptive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sci_interp.adapter import Label
from sci_interp.annotations import AnnotationSlice
from sci_interp.axis import TokenAxis
from sci_interp.codes import Codes
from sci_interp.enrichment.memory import MemoryAnnotations, MemoryFeatures

FRACTIONS = {"train": 0.0, "discovery": 0.4, "test": 0.4, "vault": 0.2}


@dataclass
class World:
    axis: TokenAxis
    known: MemoryAnnotations
    features: MemoryFeatures
    label_track: np.ndarray  # (n_labels, n_tokens) bool
    level: np.ndarray  # (n_tokens, n_features) uint8


def build_axis(rng, n_families, *, largest=4, length=(60, 140), n_giant=0):
    rows = []
    for family in range(n_families):
        n_tokens = int(rng.integers(*length))
        n_members = 12 if family < n_giant else int(rng.integers(1, largest + 1))
        for member in range(n_members):
            rows.append((f"f{family}r{member}", f"f{family}", n_tokens + int(rng.integers(0, 5))))
    table = pd.DataFrame(rows, columns=["record", "block", "n_tokens"])
    return TokenAxis.build(table, FRACTIONS)


def to_codes(level):
    token, feature = np.nonzero(level)
    indptr = np.append(0, np.cumsum((level > 0).sum(1))).astype(np.int64)
    return Codes(indptr, feature.astype(np.uint16), level[token, feature])


def annotations(axis, labels, runs, known=None):
    """Build annotations from rows (label, instance, start, stop) and (group, start, stop)."""
    if known is None:
        n_groups = len({label.group for label in labels})
        known = [(group, 0, axis.n_tokens) for group in range(n_groups)]
    run = np.array(runs, np.int64).reshape(-1, 4).T
    range_ = np.array(known, np.int64).reshape(-1, 3).T
    return MemoryAnnotations(axis, labels, AnnotationSlice(*run, *range_))


def family_layout(rng, axis, *, share, width, position=None):
    """Return runs (start, stop) shared by the records of a family; families chosen by ``share``."""
    runs = []
    starts = axis.record_starts
    for first, last in zip(axis.block_starts[:-1], axis.block_starts[1:], strict=True):
        if rng.random() >= share:
            continue
        shortest = int(np.diff(starts[first : last + 1]).min())
        for _ in range(int(rng.integers(1, 3))):
            n = int(rng.integers(*width))
            at = int(rng.integers(0, shortest - n)) if position is None else position
            runs += [
                (int(starts[record]) + at, int(starts[record]) + at + n)
                for record in range(first, last)
            ]
    return runs


def paint(axis, runs):
    track = np.zeros(axis.n_tokens, bool)
    for start, stop in runs:
        track[start:stop] = True
    return track


def random_tracks(rng, axis, n, *, share=0.5, width=(3, 9)):
    return [family_layout(rng, axis, share=share, width=width) for _ in range(n)]


def make_world(rng, axis, label_runs, feature_tracks, *, nuisance=()):
    """Assemble labels from lists of runs and features from boolean tracks."""
    labels = [
        Label(f"L{at}", "sites", f"planted {at}", at in nuisance) for at in range(len(label_runs))
    ]
    rows = [
        (label, 1000 * label + at, start, stop)
        for label, runs in enumerate(label_runs)
        for at, (start, stop) in enumerate(runs)
    ]
    level = np.zeros((axis.n_tokens, len(feature_tracks)), np.uint8)
    for at, track in enumerate(feature_tracks):
        level[track, at] = rng.integers(180, 256, int(track.sum()))
    features = MemoryFeatures(axis, to_codes(level), len(feature_tracks))
    tracks = np.array([paint(axis, runs) for runs in label_runs])
    return World(axis, annotations(axis, labels, rows), features, tracks, level)
