"""How activations lie on disk: units of work, shards, and the stored number types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from .axis import TokenAxis
from .errors import InputError, NotFiniteError, StoreError
from .journal import Commit, Journal
from .quarantine import Quarantined, from_rows, to_rows
from .schema import CHUNK_TOKENS, MAX_SHARD_BYTES, SHARD_TOKENS, SPLIT

__all__ = [
    "ARRAYS_FOLDER",
    "UNIT_TOKENS",
    "StoredDtype",
    "TokenLayout",
    "choose_shard_tokens",
    "describe_left_out",
    "from_stored",
    "journal_left_out",
    "read_left_out",
    "to_stored",
    "work_units",
]

ARRAYS_FOLDER: Final = "activations.zarr"
ACTIVATION: Final = "activation"
COORDINATE_PREFIX: Final = "coordinate_"
#: Key of a shard's commit under which the records stand that begin in it and were left out.
_LEFT_OUT: Final = "quarantined"

#: Tokens that the network is asked for at once.
UNIT_TOKENS: Final = 65_536

StoredDtype: TypeAlias = Literal["float16", "bfloat16", "float32"]

#: Zarr has no bfloat16: its bits are kept as uint16 and the array's attribute says so.
_NUMPY_DTYPES: Final = {"float16": np.float16, "bfloat16": np.uint16, "float32": np.float32}


@dataclass(frozen=True)
class TokenLayout:
    """Shape and sharding of one activation store.

    Attributes
    ----------
    n_tokens : int
        Tokens of the axis.
    width : int
        Channels of the layer.
    dtype : {"float16", "bfloat16", "float32"}
        Number type of the activations.
    shard_tokens : int
        Tokens of every shard but the last.
    coordinates : tuple of str
        Numeric coordinates of a token, without the prefix of their arrays.
    """

    n_tokens: int
    width: int
    dtype: StoredDtype
    shard_tokens: int
    coordinates: tuple[str, ...]

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return -(-self.n_tokens // self.shard_tokens)

    @property
    def chunk_tokens(self) -> int:
        """Tokens of an inner chunk."""
        return min(CHUNK_TOKENS, self.shard_tokens)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Number type of the array on disk."""
        return np.dtype(_NUMPY_DTYPES[self.dtype])

    def shard_range(self, shard: int) -> tuple[int, int]:
        """Return the half-open token range of a shard."""
        start = shard * self.shard_tokens
        return start, min(start + self.shard_tokens, self.n_tokens)

    def shard_files(self, shard: int) -> list[str]:
        """Return the files of a shard, by path inside the store."""
        names = [f"{COORDINATE_PREFIX}{name}/c/{shard}" for name in self.coordinates]
        return [f"{ARRAYS_FOLDER}/{name}" for name in (f"{ACTIVATION}/c/{shard}/0", *names)]

    def metadata_files(self) -> list[str]:
        """Return the files that describe the arrays, by path inside the store."""
        arrays = [ACTIVATION, *(COORDINATE_PREFIX + name for name in self.coordinates)]
        names = ["zarr.json", *(f"{array}/zarr.json" for array in arrays)]
        return [f"{ARRAYS_FOLDER}/{name}" for name in names]


def require_dtype(dtype: str) -> StoredDtype:
    """Return ``dtype`` if activations can be stored in it.

    Raises
    ------
    InputError
        Otherwise.
    """
    for known in get_args(StoredDtype):
        if dtype == known:
            found: StoredDtype = known
            return found
    raise InputError(
        f"activations cannot be stored as {dtype!r}", allowed=", ".join(get_args(StoredDtype))
    )


def choose_shard_tokens(width: int, dtype: StoredDtype, *, most: int = SHARD_TOKENS) -> int:
    """Return the tokens of a shard: ``most``, or fewer where a shard would exceed its bytes.

    Parameters
    ----------
    width
        Channels of the layer.
    dtype
        Stored number type.
    most
        Upper bound; a multiple of the inner chunk's tokens, or fewer than those.

    Raises
    ------
    InputError
        If ``most`` is neither.
    """
    if most < 1 or most % min(most, CHUNK_TOKENS):
        raise InputError(
            f"a shard of {most} tokens is not usable",
            allowed=f"a multiple of {CHUNK_TOKENS}, or a positive number below it",
        )
    fitting = MAX_SHARD_BYTES // (width * np.dtype(_NUMPY_DTYPES[dtype]).itemsize)
    return min(most, max(CHUNK_TOKENS, fitting - fitting % CHUNK_TOKENS))


def to_stored(values: NDArray[np.float32], dtype: StoredDtype) -> NDArray[Any]:
    """Return finite activations in their stored number type.

    Raises
    ------
    NotFiniteError
        If a value exceeds the type's range.
    """
    if dtype == "float32":
        return values
    if dtype == "bfloat16":
        bits = values.view(np.uint32)
        # Round to nearest, ties to even, on the upper half of the bits.
        rounded = (bits + (0x7FFF + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
        stored: NDArray[Any] = rounded.astype(np.uint16)
        overflow = bool(((stored & 0x7FFF) == 0x7F80).any())
    else:
        with np.errstate(over="ignore"):
            stored = values.astype(np.float16)
        overflow = not np.isfinite(stored).all()
    if overflow:
        size = np.abs(values)
        largest = float(size.max())
        raise NotFiniteError(
            f"activations up to {largest:.6g} exceed the range of {dtype}",
            todo='Store them as bfloat16: dtype="bfloat16", or --dtype bfloat16'
            if dtype == "float16"
            else "",
            token=int(np.argmax(size.max(axis=-1))),
        )
    return stored


def from_stored(stored: NDArray[Any], dtype: StoredDtype) -> NDArray[np.float32]:
    """Return stored activations as float32."""
    if dtype == "bfloat16":
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32, copy=False)


def describe_left_out(left_out: Mapping[int, Quarantined]) -> dict[str, Any]:
    """Return what a shard's commit says of records that begin in it and were left out."""
    return {_LEFT_OUT: to_rows(left_out)} if left_out else {}


def read_left_out(commit: Commit) -> dict[int, Quarantined]:
    """Return the records that begin in a shard and were left out, by their first token.

    Raises
    ------
    StoreError
        If the commit lists something else.
    """
    try:
        return from_rows(commit.info.get(_LEFT_OUT, []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"shard {commit.shard} lists records that were left out, and they cannot be read: "
            f"{error!r}",
            todo="Make the artefact again",
        ) from None


def journal_left_out(journal: Journal) -> dict[int, Quarantined]:
    """Return the records of all committed shards that were left out, by their first token."""
    return {
        start: bad
        for commit in journal.entries.values()
        for start, bad in read_left_out(commit).items()
    }


def work_units(axis: TokenAxis, n_tokens: int = UNIT_TOKENS) -> NDArray[np.int64]:
    """Cut the records into units that the network is asked for at once.

    Parameters
    ----------
    axis
        The records.
    n_tokens
        Most tokens of a unit; a longer record is a unit by itself.

    Returns
    -------
    (n_units, 2) int64
        Half-open record ranges, in axis order. A unit lies within one split.
    """
    starts = axis.record_starts
    split = axis.records[SPLIT].to_numpy()
    edges = np.append(np.flatnonzero(split[1:] != split[:-1]) + 1, axis.n_records)
    units = []
    first = 0
    for edge in edges.tolist():
        while first < edge:
            fitting = int(np.searchsorted(starts, starts[first] + n_tokens, side="right")) - 1
            last = min(max(fitting, first + 1), edge)
            units.append((first, last))
            first = last
    return np.array(units, np.int64)
