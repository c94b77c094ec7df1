"""The interface of an architecture, and the list of those there are.

A new architecture is one file with a subclass of :class:`Sparsity`, named in ``ARCHITECTURES``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

import torch

from sci_interp.errors import StoreError, UnknownNameError

from .gradients import Pass, reconstruction_pass, values_of
from .pattern import Pattern
from .weights import Weights

if TYPE_CHECKING:
    from .settings import TrainingSettings

__all__ = ["ARCHITECTURES", "Learning", "Sparsity", "sparsity_of"]

#: Module of every architecture; each holds its class as ``ARCHITECTURE``.
ARCHITECTURES: Mapping[str, str] = {
    "abs_topk": "abs_topk",
    "batch_topk": "batch_topk",
    "crosscoder": "crosscoder",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "matryoshka": "matryoshka",
    "relu": "relu",
    "topk": "topk",
    "transcoder": "transcoder",
}


class Learning:
    """What training asks of an architecture; the defaults suit one without own parameters.

    Once :meth:`prepare` and :meth:`begin`; at each step ``select``, :meth:`learn`,
    :meth:`follow`; with the final weights :meth:`calibrate` and :meth:`finish`.

    Attributes
    ----------
    signed : bool
        Whether activations may be negative in training.
    unit_decoder : bool
        Whether decoder rows are held at unit length.
    """

    signed: ClassVar[bool] = False
    unit_decoder: bool = True

    def prepare(self, settings: TrainingSettings, weights: Weights) -> None:
        """Take settings, and make room for own parameters, which are then begun or taken back."""

    def begin(self, rows: torch.Tensor, weights: Weights) -> None:
        """Set own parameters and biases from a batch ``(n_tokens, width)`` and first weights."""

    def parameters(self) -> dict[str, torch.Tensor]:
        """Return what is learned beside the weights, by name; the optimiser changes it in place."""
        return {}

    def learn(self, rows: torch.Tensor, weights: Weights, pattern: Pattern) -> Pass:
        """Return loss and gradients of a training batch ``(n_tokens, width)``.

        Where the encoder reads fewer channels than there are, the others are what is written.
        """
        return reconstruction_pass(rows, weights, pattern, signed=self.signed)

    def follow(self, n_active: float) -> None:
        """Follow the optimiser's step, in which tokens had ``n_active`` features on average."""

    def revive(self, features: torch.Tensor, weights: Weights) -> None:
        """Set biases and own parameters of features that start anew so that they can fire."""
        weights.encoder_bias[features] = 0.0

    def calibrate(self, batches: Iterator[torch.Tensor]) -> None:
        """Learn what use needs and training does not, from pre-activations of training batches.

        Called once, with the final weights; the batches are computed as they are asked for.
        """

    def finish(self, weights: Weights) -> Weights:
        """Return the weights as they are saved and used."""
        return weights


class Sparsity(Learning, ABC):
    """Decides which features are active, and what is learned from them.

    Parameters
    ----------
    k
        Active features per token (or their mean).
    """

    name: ClassVar[str]
    #: Whether the highest features are active, and not those above a floor of their own.
    ranked: ClassVar[bool] = True

    def __init__(self, k: int) -> None:
        self.k = k

    @abstractmethod
    def select(self, pre: torch.Tensor) -> Pattern:
        """Choose the active entries of a training batch.

        Parameters
        ----------
        pre : (n_tokens, n_features) bfloat16 or float32
            Pre-activations.
        """

    def propose(self, pre: torch.Tensor) -> Pattern:
        """Choose about ``k`` entries per token before :meth:`begin`, to fit the encoder's gain."""
        return self.select(pre)

    @abstractmethod
    def admit(self, pre: torch.Tensor, error: torch.Tensor) -> Pattern:
        """Return every entry that may be active in use, whatever rounding did to ``pre``.

        Parameters
        ----------
        pre : (n_tokens, n_features) bfloat16 or float32
            Approximate pre-activations.
        error : (n_tokens,) float32
            Bound of their distance to the exact ones.
        """

    @abstractmethod
    def keep(self, pattern: Pattern, value: torch.Tensor) -> torch.Tensor:
        """Mark the admitted entries that are active, given their exact values.

        The decision about a token depends on its own entries alone.
        """

    def reader(self, weights: Weights) -> Weights:
        """Return the weights whose pre-activations :meth:`select` and :meth:`admit` are given.

        They share the tensors of ``weights``, so that they follow a training.
        """
        return weights

    def values(self, rows: torch.Tensor, weights: Weights, pattern: Pattern) -> torch.Tensor:
        """Return the exact activations ``(n_entries,)`` of admitted entries.

        Parameters
        ----------
        rows : (n_tokens, width) float32
            Normalised activations.
        weights
            The parameters.
        pattern
            What :meth:`admit` returned.
        """
        return values_of(rows, weights, pattern)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what else is to be saved, by name."""
        return {}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`tensors` gave.

        Raises
        ------
        StoreError
            If a tensor is missing.
        """
        missing = [name for name in self.tensors() if name not in tensors]
        if missing:
            raise StoreError(f"a {self.name} autoencoder needs the tensor {missing[0]!r}")

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything that later training steps depend on, by name."""
        return self.tensors()

    def resume(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        self.restore(state)


def sparsity_of(architecture: str, k: int) -> Sparsity:
    """Return a new instance of an architecture.

    Raises
    ------
    UnknownNameError
        If there is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        raise UnknownNameError("architecture", architecture, ARCHITECTURES)
    module = import_module(f".{ARCHITECTURES[architecture]}", __package__)
    made: Sparsity = module.ARCHITECTURE(k)
    return made
