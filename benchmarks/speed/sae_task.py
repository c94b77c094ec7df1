"""What every engine of the training benchmark is given, and has to answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Task:
    """What all engines are given alike.

    Attributes
    ----------
    engine, architecture : str
        A name in :data:`ENGINES`, and ``"topk"`` or ``"batch_topk"``.
    features, k, batch_size, n_steps, seed, threads : int
        Sizes of the run.
    learning_rate, warm_up, decay : float
        Highest rate, and the shares of the steps in which it rises and falls.
    data : str
        Folder with ``train.npy``, ``held_out.npy`` and perhaps ``directions.npy``.
    """

    engine: str
    architecture: str
    features: int
    k: int
    batch_size: int
    n_steps: int
    seed: int
    threads: int
    learning_rate: float
    warm_up: float
    decay: float
    data: str

    def rate_at(self, step: int) -> float:
        """Return the share of the learning rate at a step: linear rise, constant, linear fall."""
        rise = (step + 1) / max(1.0, self.warm_up * self.n_steps)
        fall = (self.n_steps - step) / max(1.0, self.decay * self.n_steps)
        return min(1.0, rise, fall)

    @property
    def warm_up_steps(self) -> int:
        """Steps in which the rate rises."""
        return max(1, round(self.warm_up * self.n_steps))

    @property
    def decay_steps(self) -> int:
        """Steps in which the rate falls."""
        return max(1, round(self.decay * self.n_steps))


class Engine(ABC):
    """A training run that can be stepped and looked at."""

    @abstractmethod
    def step(self, rows: torch.Tensor) -> None:
        """Learn from a batch ``(batch_size, width)``."""

    @abstractmethod
    def look(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which features are active on a batch as in training, and its reconstruction.

        Returns
        -------
        active : (n_features,) int64
            Tokens on which each feature is active.
        rebuilt : (batch_size, width) float32
        """

    @abstractmethod
    def dictionary(self) -> torch.Tensor:
        """Return decoder rows ``(n_features, width)``."""
