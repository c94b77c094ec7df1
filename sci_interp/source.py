"""Where activations and features come from: stores, a live network, or arrays, read alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .axis import TokenAxis
from .codes import Codes
from .errors import InputError
from .schema import SPLIT

__all__ = ["ActivationSource", "ArraySource", "FeatureSource", "StackedSource"]


@runtime_checkable
class ActivationSource(Protocol):
    """Activations of one layer along a token axis."""

    @property
    def axis(self) -> TokenAxis:
        """The records."""

    @property
    def layer(self) -> str:
        """Name of the hooked layer."""

    @property
    def width(self) -> int:
        """Number of channels."""

    @property
    def digest(self) -> str:
        """Identity of the activations: of the store, or of model, data and layer."""

    @property
    def model(self) -> Mapping[str, str]:
        """``name``, ``digest`` and ``dtype`` of the network."""

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the activations ``(stop - start, width)`` of a token range."""


class FeatureSource(Protocol):
    """Quantised codes along a token axis: a feature store, or codes in memory."""

    @property
    def axis(self) -> TokenAxis:
        """The records."""

    @property
    def n_features(self) -> int:
        """Number of features."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, or nothing where they have none."""

    @property
    def digest(self) -> str:
        """Identity of the codes."""

    def read(self, start: int, stop: int) -> Codes:
        """Return the codes of a token range; values are levels 1..255.

        Several threads may call it at once.
        """


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Activations that are already in memory.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    values : (n_tokens, width) float32
        The activations.
    layer : str
        Name of the layer they come from.
    """

    axis: TokenAxis
    values: NDArray[np.float32]
    layer: str = "array"

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != self.axis.n_tokens:
            raise InputError(
                f"the activations have the shape {self.values.shape}",
                allowed=f"({self.axis.n_tokens}, width): a row for every token of the axis",
            )

    @property
    def width(self) -> int:
        """Number of channels."""
        return int(self.values.shape[1])

    @property
    def model(self) -> Mapping[str, str]:
        """Arrays name no network."""
        return {"name": "array", "digest": self.digest, "dtype": str(self.values.dtype)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the values, of the axis and of its splits."""
        state = hashlib.sha256(np.ascontiguousarray(self.values).tobytes())
        state.update(self.axis.digest.encode())
        state.update(" ".join(self.axis.records[SPLIT]).encode())
        return state.hexdigest()

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the activations ``(stop - start, width)`` of a token range."""
        return np.asarray(self.values[start:stop], dtype=np.float32)


class StackedSource:
    """Activations of several layers, or models, on the same tokens, side by side.

    Parameters
    ----------
    sources
        Two or more, on one token axis.

    Attributes
    ----------
    sources : tuple of ActivationSource
        As given.
    widths : tuple of int
        Channels of each.

    Raises
    ------
    InputError
        If there are fewer than two, or their tokens differ.
    """

    def __init__(self, sources: Sequence[ActivationSource]) -> None:
        self.sources = tuple(sources)
        if len(self.sources) < 2:
            raise InputError(f"{len(self.sources)} source was given", allowed="two or more")
        for other in self.sources[1:]:
            if other.axis.digest != self.axis.digest or not np.array_equal(
                other.axis.records[SPLIT], self.axis.records[SPLIT]
            ):
                raise InputError(
                    f"the layers {self.sources[0].layer!r} and {other.layer!r} lie on other tokens",
                    todo="Extract them from the same dataset with the same splits",
                )
        self.widths = tuple(source.width for source in self.sources)

    @property
    def axis(self) -> TokenAxis:
        """The records."""
        return self.sources[0].axis

    @property
    def layer(self) -> str:
        """Names of the layers."""
        return " + ".join(source.layer for source in self.sources)

    @property
    def width(self) -> int:
        """Number of channels of all layers."""
        return sum(self.widths)

    @property
    def model(self) -> Mapping[str, str]:
        """The network; of several, their names and one digest of theirs."""
        models = [source.model for source in self.sources]
        if len({model["digest"] for model in models}) == 1:
            return models[0]
        names = " + ".join(model["name"] for model in models)
        return {**models[0], "name": names, "digest": _joined(m["digest"] for m in models)}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the sources' digests."""
        return _joined(source.digest for source in self.sources)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the activations ``(stop - start, width)`` of a token range."""
        return np.concatenate([source.read(start, stop) for source in self.sources], axis=1)


def _joined(digests: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()
