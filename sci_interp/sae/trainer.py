"""The state of a training run and its one step; all of it can be saved and taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from sci_interp.errors import NotFiniteError

from .adam import Adam
from .dead import add_auxiliary
from .preactivation import PreActivation
from .settings import TrainingSettings
from .sparsity import sparsity_of
from .weights import Weights

__all__ = ["Trainer"]

#: About as many points the recorded learning curve has.
CURVE_POINTS = 50


class Trainer:
    """Weights, optimiser, and what is counted on the way.

    Parameters
    ----------
    weights
        Where to start; changed in place.
    settings
        Of the run.

    Attributes
    ----------
    step : int
        Steps done.
    curve : list of (step, FVU, L0, dead fraction)
        Of single training batches.
    """

    def __init__(self, weights: Weights, settings: TrainingSettings) -> None:
        self.weights = weights
        self.settings = settings
        self.sparsity = sparsity_of(settings.architecture, settings.k)
        self.step = 0
        self.curve: list[tuple[float, float, float, float]] = []
        self._adam = Adam(weights)
        self._pre = PreActivation(weights, settings.dtype)
        self._silent = torch.zeros(settings.features, dtype=torch.int64)

    @torch.no_grad()
    def update(self, rows: torch.Tensor) -> None:
        """Do one step on normalised activations ``(batch_size, width)``.

        Raises
        ------
        NotFiniteError
            If the activations or the weights hold NaN or infinity.
        """
        pattern = self.sparsity.select(self._pre(rows))
        done = self.sparsity.learn(rows, self.weights, pattern)
        if not torch.isfinite(done.loss):
            raise NotFiniteError(
                f"the loss of training step {self.step} is not finite",
                todo="Check the activations for NaN or infinity, or lower the learning rate",
            )
        self._silent += len(rows)
        self._silent[pattern.counts() > 0] = 0
        if self.settings.auxiliary > 0:
            dead = torch.nonzero(self._silent > self.settings.dead_after).flatten()
            factor = self.settings.auxiliary
            add_auxiliary(
                done.gradient,
                self.weights,
                dead,
                rows=rows,
                error=done.error,
                step=self.step,
                factor=factor,
            )
        self._descend(done.gradient)
        if self.step % max(1, self.settings.n_steps // CURVE_POINTS) == 0:
            self._record(done.error, len(pattern.feature) / len(rows))
        self.step += 1

    @torch.no_grad()
    def calibrate(self, batches: Iterable[torch.Tensor]) -> None:
        """Let the architecture learn its thresholds from normalised batches."""
        self.sparsity.calibrate(self._pre(rows) for rows in batches)

    def describe(self) -> str:
        """Return the last point of the curve in words."""
        if not self.curve:
            return ""
        _, fvu, n_active, dead = self.curve[-1]
        return f"FVU {fvu:.3f}, L0 {n_active:.1f}, dead {dead:.1%}"

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything that later steps depend on."""
        found = dict(self.weights.named())
        found |= self._adam.state()
        found |= {f"sparsity.{name}": held for name, held in self.sparsity.tensors().items()}
        found["silent"] = self._silent
        found["step"] = torch.tensor(self.step)
        found["curve"] = torch.tensor(self.curve, dtype=torch.float64).reshape(-1, 4)
        return found

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        for name, tensor in self.weights.named():
            tensor.copy_(state[name])
        kept = {
            key.removeprefix("sparsity."): value
            for key, value in state.items()
            if key.startswith("sparsity.")
        }
        self.sparsity.restore(kept)
        self._silent.copy_(state["silent"])
        self.step = int(state["step"])
        self.curve = [(row[0], row[1], row[2], row[3]) for row in state["curve"].tolist()]
        self._adam.restore(state, self.step)
        self._pre.refresh()

    def _descend(self, gradient: Weights) -> None:
        self.weights.drop_parallel(gradient.decoder)
        self._adam.step(gradient, self.settings.rate_at(self.step))
        self.weights.normalise_decoder()
        self._pre.refresh()

    def _record(self, error: torch.Tensor, n_active: float) -> None:
        unexplained = float(error.square().mean())
        dead = float((self._silent > self.settings.dead_after).float().mean())
        self.curve.append((float(self.step), unexplained, n_active, dead))
