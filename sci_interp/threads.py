"""One thread for sums whose order would otherwise depend on the number of threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_blas_thread", "one_torch_thread"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run matrix products on one thread; a context, and as ``@one_blas_thread()`` a decorator.

    BLAS splits a product among its threads, and the order of its sums, hence the last bit of the
    result, follows. Artefacts shall not depend on the machine's number of processors.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run torch's operations on one thread, if anything has imported torch.

    Its 16-bit products are rounded differently on another number of threads, so that workers of
    whatever number compute on one each.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
