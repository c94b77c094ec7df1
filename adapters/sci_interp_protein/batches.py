"""Windows over long proteins, and length-sorted batches of windows under a token budget.

Shapes: B windows, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sci_interp.errors import InputError

from .alphabet import Vocabulary

__all__ = [
    "LENGTH_STEP",
    "Batch",
    "Window",
    "build_batch",
    "padded_length",
    "plan_batches",
    "plan_windows",
]

#: Batches are padded to multiples of this many tokens. Matrix libraries keep kernels and buffers
#: for every shape they meet, so that memory grows with the number of shapes.
LENGTH_STEP = 64


@dataclass(frozen=True)
class Window:
    """A stretch of one protein that the network sees at once; half-open residue ranges.

    Attributes
    ----------
    record : str
        The protein.
    start, stop : int
        What the network sees.
    keep_start, keep_stop : int
        What is kept: the residues that lie farther from this window's cut ends than from
        those of its neighbours. The kept ranges of a protein's windows tile it.
    n_residues : int
        Length of the whole protein.
    """

    record: str
    start: int
    stop: int
    keep_start: int
    keep_stop: int
    n_residues: int

    @property
    def offset(self) -> int:
        """Tokens before the window's first residue: the start token, at a true start only."""
        return int(self.start == 0)

    @property
    def n_tokens(self) -> int:
        """Residues, and the tokens that mark the protein's true ends."""
        return self.stop - self.start + self.offset + int(self.stop == self.n_residues)


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows that are run together.

    Attributes
    ----------
    windows : tuple of Window
        B windows.
    tokens : (B, L) int64
        Letters, start and end tokens, padding at the right.
    residues : (B, L) bool
        Where a token is a residue.
    """

    windows: tuple[Window, ...]
    tokens: Tensor
    residues: Tensor

    def kept(self, row: int) -> slice:
        """Return the columns of a row whose residues are kept."""
        window = self.windows[row]
        shift = window.offset - window.start
        return slice(window.keep_start + shift, window.keep_stop + shift)


def plan_windows(record: str, n_residues: int, *, window: int, overlap: int) -> list[Window]:
    """Cut a protein into equal windows that overlap by at least ``overlap`` residues.

    Neighbours share their overlap at its middle.

    Parameters
    ----------
    record
        The protein's id.
    n_residues
        Its length.
    window
        Most residues in a window.
    overlap
        Least number of residues that neighbours have in common.
    """
    if not 0 <= overlap < window:
        raise InputError(
            f"windows of {window} residues cannot overlap by {overlap}",
            allowed="an overlap of at least 0 and below the window",
        )
    if n_residues <= window:
        return [Window(record, 0, n_residues, 0, n_residues, n_residues)]
    room = n_residues - window
    n_steps = -(-room // (window - overlap))
    starts = [room * step // n_steps for step in range(n_steps + 1)]
    # A seam is the middle of what two neighbours share.
    seams = [(after + before + window) // 2 for before, after in pairwise(starts)]
    edges = [0, *seams, n_residues]
    return [
        Window(record, start, start + window, edges[at], edges[at + 1], n_residues)
        for at, start in enumerate(starts)
    ]


def padded_length(windows: Sequence[Window]) -> int:
    """Return the length L of a batch: its longest window, rounded up to ``LENGTH_STEP``."""
    longest = max(window.n_tokens for window in windows)
    return -(-longest // LENGTH_STEP) * LENGTH_STEP


def plan_batches(windows: Sequence[Window], tokens_per_batch: int) -> Iterator[list[Window]]:
    """Group windows, longest first, so that no padded batch exceeds the token budget.

    A window longer than the budget is a batch of its own. The order among equal lengths is that
    given, so a protein's windows stay together and the plan is a function of its input.
    """
    ordered = sorted(windows, key=lambda window: -window.n_tokens)
    at = 0
    while at < len(ordered):
        n_rows = max(1, tokens_per_batch // padded_length(ordered[at : at + 1]))
        yield ordered[at : at + n_rows]
        at += n_rows


def build_batch(
    windows: Sequence[Window], sequences: Mapping[str, str], vocabulary: Vocabulary
) -> Batch:
    """Lay windows out as tokens, padded to the longest and on to a multiple of ``LENGTH_STEP``.

    Start and end tokens stand at the true ends of a protein only, as in the training of ESM-2,
    which tells a protein from a crop by them.
    """
    length = padded_length(windows)
    tokens = torch.full((len(windows), length), vocabulary.pad, dtype=torch.int64)
    residues = torch.zeros((len(windows), length), dtype=torch.bool)
    for row, window in enumerate(windows):
        letters = vocabulary.encode(sequences[window.record][window.start : window.stop])
        first, last = window.offset, window.offset + len(letters)
        tokens[row, first:last] = torch.from_numpy(letters)
        residues[row, first:last] = True
        if window.offset:
            tokens[row, 0] = vocabulary.cls
        if window.stop == window.n_residues:
            tokens[row, last] = vocabulary.eos
    return Batch(tuple(windows), tokens, residues)
