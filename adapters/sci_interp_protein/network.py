"""The uniform face of every protein language model: tokens in, logits out, named layers between.

Shapes: B windows, L tokens, D width of a layer, V letters.
"""

from __future__ import annotations

import copy
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from sci_interp.errors import InputError

from .alphabet import Vocabulary

__all__ = ["Network", "digest_weights", "permute_weights"]

_PROBE = "MKLVA"


class Network(ABC):
    """A protein language model behind one interface.

    Parameters
    ----------
    name
        Identity for the reader: hub id, folder name, ``"bundled:..."``.
    root
        The module whose submodules' names are the layer names.
    whole
        Everything with weights: ``root``, and the language-model head where there is one.
    vocabulary
        The order of the letters.
    max_residues
        Most residues that fit the network's context, or None where there is no such limit.
    """

    #: Matches the names of the blocks of the residual stream, in order.
    block_pattern: str
    #: Matches further layers worth naming first: embedding and last normalisation.
    landmark_pattern: str
    #: Weights that reach neither a layer nor the logits.
    unused_pattern: str = r"(?!)"
    #: Whether the network runs under bfloat16 autocast.
    autocasts: bool = True

    def __init__(
        self,
        name: str,
        root: nn.Module,
        whole: nn.Module,
        *,
        vocabulary: Vocabulary | None = None,
        max_residues: int | None = None,
    ) -> None:
        self.name = name
        self.root = root
        self.whole = whole.eval().requires_grad_(False)
        self.vocabulary = vocabulary or Vocabulary()
        self.max_residues = max_residues

    @property
    def has_head(self) -> bool:
        """Whether the network predicts letters; without a head there is no loss."""
        return True

    @abstractmethod
    def logits(self, tokens: Tensor) -> Tensor:
        """Return ``(B, L, V)`` for tokens ``(B, L)``; only real tokens see one another."""

    def run(self, tokens: Tensor) -> None:
        """Run as far as every layer has fired; what comes out is of no interest."""
        self.logits(tokens)

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Hookable layers and their widths, blocks first: modules that give ``(B, L, D)``.

        Found by running the network once on two copies of a short peptide.
        """
        letters = [self.vocabulary.cls, *self.vocabulary.encode(_PROBE), self.vocabulary.eos]
        tokens = torch.tensor([letters, letters], device=self.device)
        shapes: dict[str, tuple[int, ...]] = {}
        handles = [
            module.register_forward_hook(_record_shape(name, shapes))
            for name, module in self.root.named_modules()
            if name
        ]
        try:
            with torch.inference_mode():
                self.run(tokens)
        finally:
            for handle in handles:
                handle.remove()
        usable = {
            name: shape[2]
            for name, _ in self.root.named_modules()
            if len(shape := shapes.get(name, ())) == 3 and shape[:2] == tuple(tokens.shape)
        }
        first = re.compile(f"(?:{self.block_pattern})|(?:{self.landmark_pattern})")
        ordered = sorted(usable, key=lambda name: first.fullmatch(name) is None)
        if not any(re.fullmatch(self.block_pattern, name) for name in ordered):
            raise InputError(
                f"no block of {self.name} gives one vector per token (windows, tokens, width)",
                todo="Load it without flash attention, whose unpadded outputs cannot be hooked",
            )
        return {name: usable[name] for name in ordered}

    @property
    def default_layer(self) -> str:
        """The block at two thirds of the depth, where structure and function are most linear."""
        blocks = [name for name in self.layers if re.fullmatch(self.block_pattern, name)]
        return blocks[max(0, 2 * len(blocks) // 3 - 1)]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.whole.parameters()).device

    def to(self, device: torch.device) -> None:
        """Move the weights.

        Raises
        ------
        InputError
            If there is no such device.
        """
        try:
            self.whole.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.name} cannot be moved to {device}: {reason}", allowed="cpu, cuda, cuda:N"
            ) from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and values of the weights in use."""
        return digest_weights(self.whole, self.unused_pattern)

    def shuffled(self, seed: int) -> Network:
        """Return a copy whose every weight tensor is permuted within itself."""
        other = copy.copy(self)
        pair = nn.ModuleDict({"root": self.root, "whole": self.whole})
        copied = copy.deepcopy(pair)
        other.root, other.whole = copied["root"], copied["whole"]
        for cached in ("digest", "layers"):
            other.__dict__.pop(cached, None)
        other.name = f"{self.name} (weights shuffled, seed {seed})"
        permute_weights(other.whole, seed)
        return other


def digest_weights(module: nn.Module, unused_pattern: str = r"(?!)") -> str:
    """Return the SHA-256 over names, shapes and float32 values of a module's parameters.

    Parameters
    ----------
    module
        Any module; tied parameters count once.
    unused_pattern
        Parameters whose name holds this pattern are left out.
    """
    state = hashlib.sha256()
    for name, tensor in _sorted_parameters(module):
        if re.search(unused_pattern, name):
            continue
        values = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        state.update(f"{name} {tuple(values.shape)}\n".encode())
        state.update(values.astype("<f4", copy=False).tobytes())
    return state.hexdigest()


def permute_weights(module: nn.Module, seed: int) -> None:
    """Permute the entries of every parameter within itself, in place.

    The distribution of each tensor's values stays; what was learned goes.
    """
    generator = torch.Generator().manual_seed(seed)
    for _, tensor in _sorted_parameters(module):
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        tensor.data = tensor.detach().reshape(-1)[order].reshape(tensor.shape)


def _sorted_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return iter(sorted(module.named_parameters(), key=lambda pair: pair[0]))


def _record_shape(name: str, shapes: dict[str, tuple[int, ...]]) -> Any:
    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(first, Tensor) and first.is_floating_point():
            shapes[name] = tuple(first.shape)

    return hook
