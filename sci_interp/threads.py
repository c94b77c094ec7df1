"""One thread for sums whose order would otherwise depend on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_blas_thread"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run matrix products on one thread; a context, and as ``@one_blas_thread()`` a decorator.

    BLAS splits a product among its threads, and the order of its sums, hence the last bit of the
    result, follows. Artefacts shall not depend on the machine's number of processors.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
