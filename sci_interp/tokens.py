"""Stores of activations: read by token range, every shard checked before its first use.

An activation store is a folder with

- ``request.json``: model, data, layer and sizes that it was made from;
- ``records.parquet``: the token axis;
- ``activations.zarr``: a Zarr v3 group of ``activation`` (token, channel) and one
  ``coordinate_<name>`` (token,) per numeric coordinate, sharded along the tokens, not compressed;
- ``journal.jsonl``: a line per committed shard with the digests of its files, and with the records
  that begin in it and were left out because they cannot be used;
- ``manifest.json``: written last.

The arrays have a row for every token that was read, and zeros for those of records that were left
out. The token axis knows only records that are used, and so does whoever reads by token range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from .axis import TokenAxis
from .disk import UNREADABLE, reading
from .errors import InputError, StoreError
from .journal import Journal
from .manifest import Manifest, read_manifest
from .mirrors import is_mirror, open_folder
from .schema import JOURNAL_FILE, RECORDS_FILE, REQUEST_FILE
from .shards import verify_file
from .token_layout import (
    ACTIVATION,
    ARRAYS_FOLDER,
    COORDINATE_PREFIX,
    StoredDtype,
    TokenLayout,
    choose_shard_tokens,
    from_stored,
    journal_left_out,
    require_dtype,
)

if TYPE_CHECKING:
    import xarray

__all__ = ["ActivationStore"]

#: No layer has more channels.
_MAX_WIDTH = 2**20


class ActivationStore:
    """Activations of one layer on disk; an :class:`~sci_interp.source.ActivationSource`.

    Open one with :meth:`open`.

    Attributes
    ----------
    path : Path
        The folder.
    manifest : Manifest
        From what it was made, and the digests of its files.
    axis : TokenAxis
        The records.
    """

    def __init__(
        self, path: Path, manifest: Manifest, axis: TokenAxis, *, verify: bool = True
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.axis = axis
        self._layout = _read_layout(manifest, path)
        journal = Journal(path / JOURNAL_FILE)
        self._files = journal.files
        self._gaps = _Gaps.read(journal, axis, self._layout, path)
        self._verify = verify
        self._verified: set[str] = set()
        with reading(path / ARRAYS_FOLDER):
            self._arrays = _open_arrays(path / ARRAYS_FOLDER, self._layout)

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> ActivationStore:
        """Open a finished store.

        Parameters
        ----------
        path
            The folder.
        verify
            Check every shard against its digest when it is first read. The small files are
            always checked, and all files of an artefact at an address.

        Raises
        ------
        StoreError
            If there is no such store, or it is unfinished or damaged.
        """
        folder = open_folder(path)
        manifest = read_manifest(folder, "activations")
        layout = _read_layout(manifest, folder)
        for name in (REQUEST_FILE, RECORDS_FILE, JOURNAL_FILE, *layout.metadata_files()):
            verify_file(folder, name, manifest.files)
        axis = TokenAxis.read(folder)
        journal = Journal(folder / JOURNAL_FILE)
        left_out = journal_left_out(journal).values()
        n_read = axis.n_tokens + sum(each.n_tokens for each in left_out)
        if n_read != layout.n_tokens or journal.n_committed != layout.n_shards:
            used = f", {axis.n_tokens} of them used" if left_out else ""
            raise StoreError(
                f"{folder} has {n_read} tokens{used} in {journal.n_committed} committed shards and "
                f"its manifest says {layout.n_tokens} in {layout.n_shards}",
                todo="Make the store again",
            )
        # Zarr reads zeros where a file is not there yet.
        return cls(folder, manifest, axis, verify=verify or is_mirror(folder))

    @property
    def layer(self) -> str:
        """Name of the hooked layer."""
        return str(self.manifest.settings["layer"])

    @property
    def width(self) -> int:
        """Number of channels."""
        return self._layout.width

    @property
    def dtype(self) -> StoredDtype:
        """Number type on disk; :meth:`read` returns float32."""
        return self._layout.dtype

    @property
    def digest(self) -> str:
        """Identity of the store."""
        return self.manifest.digest

    @property
    def model(self) -> Mapping[str, str]:
        """``name``, ``digest`` and ``dtype`` of the network."""
        settings = self.manifest.settings
        return {
            "name": str(settings["model"]),
            "digest": self.manifest.inputs["model"],
            "dtype": str(settings["arithmetic"]),
        }

    def shards(self) -> Iterator[tuple[int, int]]:
        """Yield the half-open token range of every shard that holds tokens of the axis."""
        for shard in range(self._layout.n_shards):
            start, stop = (self._gaps.place(each) for each in self._layout.shard_range(shard))
            if start < stop:
                yield start, stop

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the activations ``(stop - start, width)`` of a token range.

        Raises
        ------
        InputError
            If the range leaves the axis.
        StoreError
            If a shard of the range is missing, truncated or changed.
        """
        return from_stored(self._read_array(ACTIVATION, start, stop), self.dtype)

    def read_coordinates(self, start: int, stop: int) -> dict[str, NDArray[np.float64]]:
        """Return every numeric coordinate ``(stop - start,)`` of a token range.

        Raises
        ------
        InputError, StoreError
            As :meth:`read`.
        """
        return {
            name: self._read_array(COORDINATE_PREFIX + name, start, stop)
            for name in self._layout.coordinates
        }

    def coordinates(self) -> dict[str, NDArray[np.float64]]:
        """Return every numeric coordinate ``(n_tokens,)`` of the whole axis."""
        return self.read_coordinates(0, self.axis.n_tokens)

    def to_xarray(self) -> xarray.DataArray:
        """Return a view ``(token, channel)`` that reads from the store when it is indexed.

        Its coordinates are ``record`` and ``split`` of every token and the numeric coordinates.
        """
        from .xarray_view import view_source

        return view_source(self, self.coordinates())

    def _read_array(self, name: str, start: int, stop: int) -> NDArray[Any]:
        if not 0 <= start <= stop <= self.axis.n_tokens:
            raise InputError(
                f"the token range {start}:{stop} is not in {self.path}",
                allowed=f"ranges within 0:{self.axis.n_tokens}",
            )
        pieces = [self._read_rows(name, *piece) for piece in self._gaps.pieces(start, stop)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read_rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return a range of rows as they lie on disk."""
        if self._verify and start < stop:
            size = self._layout.shard_tokens
            for shard in range(start // size, (stop - 1) // size + 1):
                self._verify_shard(shard, name)
        try:
            return np.asarray(self._arrays[name][start:stop])
        except UNREADABLE as error:
            raise StoreError(
                f"tokens {start}:{stop} of {name} in {self.path} cannot be read: {error}",
                todo="Make the store again",
            ) from error

    def _verify_shard(self, shard: int, array: str) -> None:
        prefix = f"{ARRAYS_FOLDER}/{array}/"
        for name in self._layout.shard_files(shard):
            if name.startswith(prefix) and name not in self._verified:
                verify_file(self.path, name, self._files)
                self._verified.add(name)


class _Gaps:
    """The rows of records that were left out, between those of the axis.

    Parameters
    ----------
    start, stop : (n_gaps,) int64
        Rows of each record that was left out, ascending.
    """

    def __init__(self, start: NDArray[np.int64], stop: NDArray[np.int64]) -> None:
        self._start, self._stop = start, stop
        # Rows left out before each gap, and before what follows the last.
        self._before = np.append(0, np.cumsum(stop - start))
        self._places = start - self._before[:-1]

    @classmethod
    def read(cls, journal: Journal, axis: TokenAxis, layout: TokenLayout, path: Path) -> _Gaps:
        """Read what the journal says, and refuse what does not fit the axis.

        Raises
        ------
        StoreError
            If the journal's records do not lie in the arrays, or are used all the same.
        """
        found = sorted(journal_left_out(journal).items())
        with reading(path / JOURNAL_FILE):
            start = np.array([at for at, _ in found], np.int64)
            stop = start + np.array([bad.n_tokens for _, bad in found], np.int64)
            ends = np.append(0, stop)
            listed = {each.record for each in axis.quarantine}
            if (start < ends[:-1]).any() or ends[-1] > layout.n_tokens:
                raise ValueError("records that were left out overlap, or leave the arrays")
            if not listed.issuperset(bad.record for _, bad in found):
                raise ValueError("a record was left out that the token axis does not list")
        return cls(start, stop)

    def place(self, row: int) -> int:
        """Return how many tokens of the axis lie before a row."""
        before = int(np.searchsorted(self._start, row, side="right"))
        # A row inside a gap is taken for its end.
        inside = before > 0 and row < self._stop[before - 1]
        return int(self._places[before - 1]) if inside else row - int(self._before[before])

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of rows that hold a range of the axis: at least one."""
        gap = int(np.searchsorted(self._places, start, side="right"))
        last = int(np.searchsorted(self._places, stop, side="left"))
        edges = [start, *self._places[gap:last].tolist(), stop]
        for index, (begin, end) in enumerate(pairwise(edges)):
            if begin < end or start == stop:
                shift = int(self._before[gap + index])
                yield begin + shift, end + shift


def _read_layout(manifest: Manifest, path: Path) -> TokenLayout:
    settings = manifest.settings
    try:
        layout = TokenLayout(
            n_tokens=int(settings["n_tokens"]),
            width=int(settings["width"]),
            dtype=require_dtype(settings["dtype"]),
            shard_tokens=int(settings["shard_tokens"]),
            coordinates=tuple(str(name) for name in settings["coordinates"]),
        )
        names = ("layer", "model", "arithmetic")
        if not all(isinstance(settings[name], str) for name in names):
            raise TypeError(f"{', '.join(names)} are texts")
        if not 1 <= layout.width <= _MAX_WIDTH or layout.n_tokens < 1:
            raise ValueError(f"{layout.n_tokens} tokens of {layout.width} channels")
        choose_shard_tokens(layout.width, layout.dtype, most=layout.shard_tokens)
        if layout.shard_tokens > choose_shard_tokens(layout.width, layout.dtype):
            raise ValueError(f"shards of {layout.shard_tokens} tokens")
        return layout
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"the manifest of {path} is not usable: {error!r}") from error


def _open_arrays(path: Path, layout: TokenLayout) -> dict[str, zarr.Array[Any]]:
    """Return the arrays by name; what they declare is what is written here, and no more."""
    # The second format would choose its filters, of which one unpickles.
    group = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)
    rows = (layout.n_tokens, layout.shard_tokens, layout.chunk_tokens)
    wanted: dict[str, tuple[list[tuple[int, ...]], np.dtype[Any]]] = {
        ACTIVATION: ([(n, layout.width) for n in rows], layout.numpy_dtype)
    }
    for name in layout.coordinates:
        wanted[COORDINATE_PREFIX + name] = ([(n,) for n in rows], np.dtype(np.float64))
    found = {}
    for name, (sizes, dtype) in wanted.items():
        array = group[name]
        if (
            not isinstance(array, zarr.Array)
            or [array.shape, array.shards, array.chunks] != sizes
            or array.dtype != dtype
            or array.compressors
            or array.filters
        ):
            raise ValueError(f"{name!r} has another shape or coding than its manifest says")
        found[name] = array
    return found
