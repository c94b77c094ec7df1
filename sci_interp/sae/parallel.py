"""Data-parallel training: every process learns from its share of each batch.

The processes are started by ``torchrun``, one training run in all of them::

    torchrun --standalone --nproc-per-node 2 -m sci_interp train ... --parallel

As in torch's DistributedDataParallel, every process holds all weights, gradients are averaged over
the processes by all-reduce, and each then takes the same step. Every process reads every block of
tokens, and computes with its rows of the batch alone: what is divided is the arithmetic, not the
reading. The first process writes; the output folder is one that all see.

On CUDA devices each process has that of its local rank, and NCCL adds what is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from sci_interp.errors import InputError, SciInterpError

__all__ = ["ALONE", "Team", "join_team"]


@dataclass(frozen=True)
class Team:
    """The processes of one training run; alone, it does nothing.

    Attributes
    ----------
    rank : int
        This process; 0 writes.
    size : int
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """Return this process's rows of a batch ``(n_tokens, width)``."""
        return rows if self.size == 1 else rows.chunk(self.size)[self.rank]

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of the processes' tensors."""
        if self.size == 1:
            return tensor
        from torch import distributed

        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by the mean of the processes', in place."""
        if self.size > 1:
            for tensor in tensors:
                tensor.copy_(self.add(tensor)).div_(self.size)

    def equalise(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by the first process's, in place."""
        if self.size == 1:
            return
        from torch import distributed

        for tensor in tensors:
            held = tensor.contiguous()
            distributed.broadcast(held, src=0)
            tensor.copy_(held)

    def first(self, work: Callable[[], bool]) -> bool:
        """Return what the first process's ``work`` returns, to all of them.

        Raises
        ------
        SciInterpError
            In every process, if the first's work raises it.
        """
        if self.size == 1:
            return work()
        state = torch.full((1,), 2)
        try:
            if self.rank == 0:
                state.fill_(int(work()))
        finally:
            # The others learn of an error as well, and wait for nothing.
            self.equalise([state])
        if int(state) == 2:
            raise SciInterpError("the first process stopped", todo="Read its message")
        return bool(state)


#: One process.
ALONE = Team()


@contextmanager
def join_team(batch_size: int, device: torch.device) -> Iterator[Team]:
    """Join the processes that ``torchrun`` started, and leave them at the end.

    Without ``torchrun``, or with one process, nothing is joined. A process group that exists is
    used and left as it is.

    Parameters
    ----------
    batch_size
        Tokens of a step.
    device
        Where each process computes.

    Raises
    ------
    InputError
        If the number of processes does not divide ``batch_size``.
    """
    from torch import distributed

    size = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size % size:
        raise InputError(
            f"batch_size={batch_size} is not divided by {size} processes",
            allowed="a multiple of the number of processes",
        )
    if size == 1:
        yield ALONE
        return
    joined = not distributed.is_initialized()
    if joined:
        on_device = device.type == "cuda"
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_device else "gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        if joined:
            distributed.destroy_process_group()
