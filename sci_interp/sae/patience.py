"""Early end of a training that makes no progress any more."""

from __future__ import annotations

import math

import torch

from .settings import TrainingSettings

__all__ = ["Patience"]

#: Share of a new batch in the running mean.
NEW = 0.02
#: A lower running mean counts as progress where it is this much, relatively, below the lowest.
PROGRESS = 1e-3


class Patience:
    """Follows the FVU of training batches.

    Parameters
    ----------
    settings
        Of the run.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self._running = self._lowest = math.inf
        self._since = 0

    def end_after(self, step: int, fvu: float) -> int:
        """Return the step after which training is complete, given the FVU of the step before.

        That is the last of all steps, or the end of a fall of the rate that begins now.
        """
        first = math.isinf(self._running)
        self._running = fvu if first else (1 - NEW) * self._running + NEW * fvu
        self._since += self._settings.batch_size
        if self._running < (1 - PROGRESS) * self._lowest:
            self._lowest, self._since = self._running, 0
        n_steps = self._settings.n_steps
        if self._since < (self._settings.patience or math.inf):
            return n_steps
        return min(n_steps, step + math.ceil(self._settings.decay * n_steps))

    def state(self) -> torch.Tensor:
        """Return what later steps depend on."""
        return torch.tensor([self._running, self._lowest, self._since], dtype=torch.float64)

    def restore(self, state: torch.Tensor) -> None:
        """Take back what :meth:`state` gave."""
        self._running, self._lowest, since = state.tolist()
        self._since = int(since)
