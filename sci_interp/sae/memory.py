"""Large results of training steps, in memory that earlier steps gave back.

The system hands out pages one fault at a time: on fresh memory of the size of a decoder a step can
wait longer than it computes.
"""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["reused"]

#: Results that a step has at once, and some; older memory is let go.
MOST_SPARE = 8

_spare: list[NDArray[np.float32]] = []


def reused(n_rows: int, width: int) -> torch.Tensor:
    """Return an uninitialised float32 tensor ``(n_rows, width)``.

    Its memory is used again once neither the tensor nor a view of it exists.
    """
    held = next((array for array in _spare if array.shape == (n_rows, width)), None)
    if held is None:
        held = np.empty((n_rows, width), np.float32)
    else:
        _spare[:] = [array for array in _spare if array is not held]
    lent = held[:]  # lives as long as the tensor's storage
    weakref.finalize(lent, _give_back, held).atexit = False
    return torch.from_numpy(lent)


def _give_back(held: NDArray[np.float32]) -> None:
    _spare.append(held)
    del _spare[:-MOST_SPARE]
