"""Adam (Kingma and Ba 2015), one pass over memory for each tensor.

``torch.optim`` would import torch's compiler with it, which takes longer than a short training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numba import njit

from .selection import over_rows

__all__ = ["Adam"]

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """Moments of the gradient of every weight.

    Parameters
    ----------
    parameters
        What is optimised, by name; changed in place by :meth:`step`.

    Attributes
    ----------
    n_steps : int
        Steps done.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        self.parameters = parameters
        self.n_steps = 0
        self._first = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
        self._second = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}

    def step(self, gradient: Mapping[str, torch.Tensor], rate: float) -> None:
        """Move the parameters against a gradient.

        Parameters
        ----------
        gradient
            Of the loss, by name.
        rate
            Learning rate of this step.
        """
        self.n_steps += 1
        first, second = (1.0 - beta**self.n_steps for beta in BETAS)
        factors = [rate / first, second**-0.5, EPSILON, *BETAS]
        constants = np.array(factors, np.float32)
        for name, tensor in self.parameters.items():
            parts = (held[name] for held in (gradient, self._first, self._second))
            arrays = [part.numpy().reshape(len(part), -1) for part in (tensor, *parts)]
            over_rows(_descend, len(tensor), *arrays, constants)

    def forget(self, rows: torch.Tensor) -> None:
        """Forget the moments of some rows of every parameter that has a row per feature.

        Parameters
        ----------
        rows : (n_rows,) int64
            Features that start anew.
        """
        n_features = len(self.parameters["encoder"])
        for held in (self._first, self._second):
            for name, moment in held.items():
                if name != "decoder_bias" and len(moment) == n_features:
                    moment[rows] = 0.0

    def state(self) -> dict[str, torch.Tensor]:
        """Return the moments by name."""
        pairs = (("first", self._first), ("second", self._second))
        return {f"{kind}.{name}": held for kind, both in pairs for name, held in both.items()}

    def restore(self, state: Mapping[str, torch.Tensor], n_steps: int) -> None:
        """Take back what :meth:`state` gave after ``n_steps`` steps."""
        self.n_steps = n_steps
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


@njit(cache=True, nogil=True, error_model="numpy")
def _descend(
    weight: Any, slope: Any, first: Any, second: Any, constants: Any, start: int, stop: int
) -> None:
    rate, correction, epsilon, beta, gamma = constants
    one = np.float32(1.0)
    for row in range(start, stop):
        for j in range(weight.shape[1]):
            g = slope[row, j]
            m = beta * first[row, j] + (one - beta) * g
            v = gamma * second[row, j] + (one - gamma) * g * g
            first[row, j] = m
            second[row, j] = v
            weight[row, j] -= rate * m / (np.sqrt(v) * correction + epsilon)
