"""Targets of an extraction: what is wanted, in words, and the stores that are to be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, StoreError
from .journal import Journal
from .manifest import begin_artefact
from .parts import Parts
from .quarantine import Quarantined, Tolerance
from .schema import JOURNAL_FILE, REQUEST_FILE, Split
from .token_layout import ARRAYS_FOLDER, TokenLayout, describe_left_out
from .token_writer import create_arrays, write_shard

__all__ = ["Target", "Wanted"]

KIND = "activations"


@dataclass(frozen=True)
class Wanted:
    """What is extracted, in words that a worker can be sent.

    Attributes
    ----------
    folders : tuple of (str, Path)
        The layers, and the folder of each one's store.
    dtype : str
        Stored number type.
    fractions : mapping or None
        Shares of the splits.
    unit_tokens, shard_tokens : int
        Tokens that the network is asked for at once, and most tokens of a shard.
    tolerance : Tolerance
        What becomes of records that cannot be used.
    left_out : tuple of Quarantined
        Records that are left out beforehand.
    """

    folders: tuple[tuple[str, Path], ...]
    dtype: str
    fractions: Mapping[Split, float] | None
    unit_tokens: int
    shard_tokens: int
    tolerance: Tolerance = field(default_factory=Tolerance)
    left_out: tuple[Quarantined, ...] = ()

    def __post_init__(self) -> None:
        if self.unit_tokens < 1:
            raise InputError(
                f"unit_tokens={self.unit_tokens} is not usable", allowed="a positive number"
            )

    @staticmethod
    def folders_of(
        layer: str | list[str] | tuple[str, ...], out: Path
    ) -> tuple[tuple[str, Path], ...]:
        """Return the layers and their folders: ``out``, or of several layers, folders in it.

        Raises
        ------
        InputError
            If layers repeat, or cannot name folders.
        StoreError
            If ``out`` is an artefact and several layers need folders in it.
        """
        if isinstance(layer, str):
            return ((layer, out),)
        if not layer or len(set(layer)) < len(layer):
            raise InputError(f"the layers {list(layer)} are not usable", allowed="different names")
        for name in layer:
            if name in {".", ".."} or set(name) & set("/\\:\0"):
                raise InputError(
                    f"layer {name!r} cannot name a folder", todo="Extract it by itself"
                )
        if (out / REQUEST_FILE).exists():
            raise StoreError(
                f"{out} is an artefact and several layers need a folder of their own",
                todo="Choose another output folder",
            )
        return tuple((name, out / name) for name in layer)


@dataclass(frozen=True, eq=False)
class Target:
    """One store to make.

    Attributes
    ----------
    layer : str
        The layer.
    folder : Path
        The store.
    layout : TokenLayout
        Its shape and sharding.
    inputs, settings : mapping
        Its request.
    """

    layer: str
    folder: Path
    layout: TokenLayout
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]

    @cached_property
    def parts(self) -> Parts:
        """Shards that were made beside the store."""
        return Parts(self.folder, KIND, inputs=self.inputs, settings=self.settings)

    def claim(self) -> bool:
        """Claim the folder, and return whether the store is finished."""
        return begin_artefact(self.folder, KIND, inputs=self.inputs, settings=self.settings)

    def make_part(
        self,
        shard: int,
        values: NDArray[Any],
        coordinates: Mapping[str, NDArray[np.float64]],
        left_out: Mapping[int, Quarantined],
    ) -> None:
        """Write a shard as a part, with the records that begin in it and were left out."""

        def write(folder: Path) -> tuple[Mapping[str, str], Mapping[str, Any]]:
            create_arrays(folder / ARRAYS_FOLDER, self.layout)
            files = write_shard(folder, self.layout, shard, values, coordinates)
            return files, describe_left_out(left_out)

        self.parts.make(shard, write)

    def missing(self, shards: Iterable[int]) -> set[int]:
        """Return which of some shards are neither committed to the store nor a sound part."""
        n_committed = Journal(self.folder / JOURNAL_FILE).n_committed
        return {each for each in shards if each >= n_committed and not self.parts.has(each)}

    def shards_from(self, begin: int, end: int) -> range:
        """Return the shards that begin in a token range."""
        size = self.layout.shard_tokens
        return range(-(-begin // size), -(-end // size))
