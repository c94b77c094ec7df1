"""GRIB files through cfgrib, one dataset per variable; nothing is written beside the file."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from sci_interp.errors import InputError, MissingExtraError

__all__ = ["import_projections_first", "open_grib"]

#: ecCodes short names by type of level; further keys choose one level.
_WANTED: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("prmsl", "msl"), {"typeOfLevel": "meanSea"}),
    (("msl", "sp", "sst", "lsm", "orog", "tp", "z", "tcwv"), {"typeOfLevel": "surface"}),
    (("2t",), {"typeOfLevel": "heightAboveGround", "level": 2}),
    (("10u", "10v"), {"typeOfLevel": "heightAboveGround", "level": 10}),
    (("2t", "10u", "10v"), {"typeOfLevel": "surface"}),
    (("z", "gh", "t", "u", "v", "q", "w"), {"typeOfLevel": "isobaricInhPa"}),
)

#: ecCodes unpacks every point of a field to a number of eight bytes.
_POINTS, _BYTES = "numberOfPoints", 8


def import_projections_first() -> None:
    """Import pyproj, where it is installed, ahead of ecCodes.

    Wheels of both bring a PROJ library of their own; where that of ecCodes is loaded first, the
    interpreter crashes when it ends. Packages of storm tracks import pyproj.
    """
    if importlib.util.find_spec("pyproj") is not None:
        importlib.import_module("pyproj")


def open_grib(path: Path, *, limit: int, chunks: Any = None) -> list[xr.Dataset]:
    """Return one lazy dataset for every known variable of a GRIB file.

    A GRIB file is a pile of messages: variables on different levels do not fit one dataset. The
    index is kept in memory, since cfgrib's index files lie beside the data and are pickles.

    Parameters
    ----------
    path
        The file.
    limit
        Bytes that one field may take: a message of a constant field is short, however many points
        it declares.
    chunks
        Passed to xarray.

    Raises
    ------
    MissingExtraError
        If cfgrib or ecCodes is not installed.
    InputError
        If the file is damaged, a field exceeds the limit, or messages of one variable do not fit
        together.
    """
    import_projections_first()
    try:
        import cfgrib
        from cfgrib.xarray_plugin import CfGribBackend
    except (ImportError, RuntimeError):  # cfgrib raises the latter where the library is missing
        raise MissingExtraError("cfgrib", "grib") from None
    try:
        stream = cfgrib.messages.FileStream(str(path), errors="raise")
        keys = [*cfgrib.dataset.INDEX_KEYS, "time", "step", "level", "shortName", _POINTS]
        index = cfgrib.dataset.open_fileindex(stream, indexpath="", index_keys=keys)
    except Exception as error:  # noqa: BLE001 - damage shows in errors of ecCodes, cfgrib, Python
        raise InputError(
            f"{path} cannot be read as GRIB ({type(error).__name__}: {error})",
            todo="Copy or download it again",
        ) from None
    largest = max((int(n) for n in index.header_values[_POINTS] if str(n).isdigit()), default=0)
    if _BYTES * largest > limit:
        raise InputError(
            f"{path}: a field has {largest:,} points and takes {_BYTES * largest:,} bytes",
            allowed=f"{limit:,} bytes at once",
            todo="Do not trust this file; if it is right, open it with a larger limit=",
        )
    datasets = []
    for names, level in _WANTED:
        for name in names:
            chosen = index.subindex({**level, "shortName": name})
            offsets = [offset for _, at in chosen.iter_index() for offset in at]
            if offsets:
                messages = _Messages(stream, offsets)
                datasets.append(_open_messages(f"{path}: {name}", messages, CfGribBackend, chunks))
    return datasets


class _Messages(Mapping[Any, Any]):
    """Some messages of a file, by their place in it."""

    def __init__(self, stream: Any, offsets: Sequence[Any]) -> None:
        self._stream = stream
        self._offsets = offsets

    def __getitem__(self, offset: Any) -> Any:
        return self._stream[offset]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)


def _open_messages(where: str, messages: _Messages, backend: Any, chunks: Any) -> xr.Dataset:
    """Return the lazy dataset of one variable's messages."""
    try:
        return xr.open_dataset(
            messages,  # type: ignore[arg-type]  # cfgrib opens mappings of messages
            engine=backend,
            chunks=chunks,
            decode_times=False,
            decode_timedelta=False,
            errors="raise",
        )
    except Exception as error:  # noqa: BLE001 - as above
        raise InputError(
            f"{where}: the messages do not fit one array ({error})",
            todo="Split the file by kind of product, for example with grib_copy",
        ) from None
