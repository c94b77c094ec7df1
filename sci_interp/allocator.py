"""Give memory that is free inside the process back to the system, so that the peak stays flat."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

__all__ = ["release_free_memory"]


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None  # not the GNU C library: other allocators return memory by themselves


def release_free_memory() -> None:
    """Return free pages to the system where the C library, or Arrow, keeps them.

    Tensors of ever new shapes leave the heap of the GNU C library in pieces, which it neither
    joins nor returns: over thousands of batches a process grows though nothing is held. Arrow
    keeps what tables took when they were read and written in a pool of its own.
    """
    # Where nothing has imported it, there is no pool.
    if make_pool := getattr(sys.modules.get("pyarrow"), "default_memory_pool", None):
        make_pool().release_unused()
    trim = _trim()
    if trim is not None:
        trim(0)
