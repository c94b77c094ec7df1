"""The state of a training run and its one step; all of it can be saved and taken back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

from sci_interp.errors import NotFiniteError

from .accumulation import accumulate_passes
from .dead import add_auxiliary
from .engine import HOST, Engine
from .gradients import Pass
from .parallel import ALONE, Team
from .patience import Patience
from .preactivation import PreActivation
from .resampling import resample
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
    team
        Processes that learn together.
    engine
        What to compute with; it places the weights.

    Attributes
    ----------
    step : int
        Steps done.
    end : int
        Steps after which training is complete.
    curve : list of (step, FVU, L0, dead fraction)
        Of single training batches.
    """

    def __init__(
        self,
        weights: Weights,
        settings: TrainingSettings,
        team: Team = ALONE,
        engine: Engine = HOST,
    ) -> None:
        self.weights = weights = engine.place(weights)
        self.settings = settings
        self.sparsity = sparsity_of(settings.architecture, settings.k)
        self.sparsity.prepare(settings, weights)
        self.step = 0
        self.end = settings.n_steps
        self._patience = Patience(settings)
        self.curve: list[tuple[float, float, float, float]] = []
        self._adam = engine.adam(dict(weights.named()) | self.sparsity.parameters())
        self._pre = PreActivation(self.sparsity.reader(weights), settings.precision)
        self._team = team
        self._engine = engine
        self._silent = weights.encoder.new_zeros(settings.features, dtype=torch.int64)

    @torch.no_grad()
    def begin(self, rows: torch.Tensor) -> None:
        """Let the architecture set its own parameters from normalised activations."""
        self.sparsity.begin(self._read(rows[: self.settings.batch_size]), self.weights)
        self._pre.refresh()

    @torch.no_grad()
    def update(self, rows: torch.Tensor) -> None:
        """Do one step on normalised activations ``(batch_size, width)``.

        Those that the encoder reads come first, before what is to be written where that differs.
        Of several processes, each gives its share of the batch.

        Raises
        ------
        NotFiniteError
            If the activations or the weights hold NaN or infinity.
        """
        read = self._read(rows)
        done = accumulate_passes(rows, self.settings.accumulate, self._learn)
        n_active, n_dead = self._look(done, len(rows) * self._team.size)
        if n_dead and self.settings.revival == "auxiliary" and self.settings.auxiliary > 0:
            add_auxiliary(
                done.gradient,
                self.weights,
                self._dead(n_dead),
                rows=read,
                error=done.error,
                step=self.step,
                factor=self.settings.auxiliary,
                signed=self.sparsity.signed,
                patterns=self._engine.patterns,
            )
        self._team.average([*dict(done.gradient.named()).values(), *done.own.values()])
        self._descend(done, n_active)
        in_full = self.end == self.settings.n_steps
        if in_full and self.settings.resamples_at(self.step):
            self._resample(n_dead, done.error, read)
        if self.step % max(1, self.settings.n_steps // CURVE_POINTS) == 0:
            self._record(done.error, n_active)
        self.step += 1
        if in_full and self.settings.patience is not None:
            self.end = self._patience.end_after(self.step, self._unexplained(done.error))

    @torch.no_grad()
    def calibrate(self, batches: Iterable[torch.Tensor]) -> None:
        """Let the architecture learn its thresholds from normalised batches."""
        self.sparsity.calibrate(self._pre(self._read(rows)).cpu() for rows in batches)

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
        found |= {f"sparsity.{name}": held for name, held in self.sparsity.state().items()}
        found["silent"] = self._silent
        found["step"] = torch.tensor(self.step)
        if self.settings.patience is not None:
            found["end"] = torch.tensor(self.end)
            found["patience"] = self._patience.state()
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
        self.sparsity.resume(kept)
        self._silent.copy_(state["silent"])
        self.step = int(state["step"])
        if self.settings.patience is not None:
            self.end = int(state["end"])
            self._patience.restore(state["patience"])
        self.curve = [(row[0], row[1], row[2], row[3]) for row in state["curve"].tolist()]
        self._adam.restore(state, self.step)
        self._pre.refresh()

    def _learn(self, rows: torch.Tensor) -> Pass:
        pattern = self._engine.select(self.sparsity, self._pre(self._read(rows)))
        return self.sparsity.learn(rows, self.weights, pattern)

    def _look(self, done: Pass, n_rows: int) -> tuple[float, int]:
        """Check the loss, and return mean activity and the number of dead features.

        All that the host needs to know of a step is read at once: a device is waited for once.
        """
        loss, counts = self._team.add(done.loss), self._team.add(done.counts)
        self._silent.add_(n_rows).masked_fill_(counts > 0, 0)
        n_dead = (self._silent > self.settings.dead_after).sum()
        read = torch.stack([held.double() for held in (loss, counts.sum(), n_dead)]).tolist()
        if not math.isfinite(read[0]):
            raise NotFiniteError(
                f"the loss of training step {self.step} is not finite",
                todo="Check the activations for NaN or infinity, or lower the learning rate",
            )
        return read[1] / n_rows, int(read[2])

    def _descend(self, done: Pass, n_active: float) -> None:
        if self.sparsity.unit_decoder:
            self.weights.drop_parallel(done.gradient.decoder)
        gradient = {**dict(done.gradient.named()), **done.own}
        self._adam.step(gradient, self.settings.rate_at(self.step, self.end))
        if self.sparsity.unit_decoder:
            self.weights.normalise_decoder()
        self.sparsity.follow(n_active)
        self._pre.refresh()

    def _read(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, : self.weights.width].contiguous()

    def _dead(self, n_dead: int) -> torch.Tensor:
        return self._engine.marked(self._silent > self.settings.dead_after, n_dead)

    def _resample(self, n_dead: int, error: torch.Tensor, read: torch.Tensor) -> None:
        seed = (self.settings.seed << 32) + self.step
        generator = torch.Generator().manual_seed(seed)
        fresh = resample(
            self.weights,
            self._dead(n_dead),
            error=error,
            rows=read,
            generator=generator,
            same_layer=self.settings.n_read is None,
        )
        self.sparsity.revive(fresh, self.weights)
        self._adam.forget(fresh)
        self._silent[fresh] = 0
        self._pre.refresh()

    def _record(self, error: torch.Tensor, n_active: float) -> None:
        unexplained = self._unexplained(error)
        dead = float((self._silent > self.settings.dead_after).float().mean())
        self.curve.append((float(self.step), unexplained, n_active, dead))

    def _unexplained(self, error: torch.Tensor) -> float:
        return float(self._team.add(error.square().mean())) / self._team.size
