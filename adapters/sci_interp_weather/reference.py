"""The sample fields: ten years of daily sea-level pressure that come with the adapter.

``data/sample/header.json`` names source, licence, units, grid and packing; ``fields.bin`` holds
the fields, and ``indices`` two daily indices. The fields are whole numbers of ``step`` from
``offset``, differenced along time, latitude and longitude, folded to unsigned 16 bits (0, -1, 1,
-2, ...), the low bytes of all before the high bytes, and deflated.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .fields import Fields
from .grids import Grid

__all__ = ["SAMPLE_FOLDER", "SampleHeader", "pack_fields", "read_sample", "write_sample"]

SAMPLE_FOLDER: Final = Path(__file__).parent / "data" / "sample"
HEADER_FILE: Final = "header.json"
FIELDS_FILE: Final = "fields.bin"
INDICES_FOLDER: Final = "indices"
_MOST_VALUES: Final = 50_000_000


@dataclass(frozen=True)
class SampleHeader:
    """What the packed fields are.

    Attributes
    ----------
    source, licence, description : str
        Where they come from.
    variable, unit : str
        Canonical name and unit.
    start : str
        ISO time of the first field.
    n_times : int
        Number of fields.
    hours : int
        Distance of the fields.
    latitude, longitude : tuple of float
        Centres of the grid, north first.
    offset, step : float
        A stored whole number ``n`` stands for ``offset + step * n``.
    sha256 : str
        Of ``fields.bin``.
    """

    source: str
    licence: str
    description: str
    variable: str
    unit: str
    start: str
    n_times: int
    hours: int
    latitude: tuple[float, ...]
    longitude: tuple[float, ...]
    offset: float
    step: float
    sha256: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Times, rows, columns."""
        return self.n_times, len(self.latitude), len(self.longitude)

    @property
    def times(self) -> pd.DatetimeIndex:
        """Time of every field."""
        return pd.date_range(self.start, periods=self.n_times, freq=f"{self.hours}h")


def read_sample(folder: Path = SAMPLE_FOLDER) -> Fields:
    """Return the sample fields.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    header = _read_header(folder / HEADER_FILE)
    path = folder / FIELDS_FILE
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", todo=_REINSTALL) from None
    if sha256(packed).hexdigest() != header.sha256:
        raise InputError(f"{path} is not the file that its header names", todo=_REINSTALL)
    numbers = unpack_fields(packed, header.shape)
    times = header.times
    grid = Grid.regular(header.latitude, header.longitude)
    values = (header.offset + header.step * numbers).astype(np.float32)
    return Fields.from_arrays(grid, times, {header.variable: values})


def write_sample(folder: Path, header: SampleHeader, values: NDArray[np.floating[Any]]) -> None:
    """Write header and fields; equal content gives equal bytes.

    Parameters
    ----------
    folder
        Where to; made if need be.
    header
        What the fields are.
    values : (n_times, n_rows, n_columns)
        The fields, rounded to the header's step.

    Raises
    ------
    InputError
        If the values do not have the header's shape, or do not fit 16 bits.
    """
    if values.shape != header.shape:
        raise InputError(f"the fields have the shape {values.shape}", allowed=str(header.shape))
    numbers = np.rint((values - header.offset) / header.step).astype(np.int64)
    packed = pack_fields(numbers)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FIELDS_FILE).write_bytes(packed)
    content = {**vars(header), "sha256": sha256(packed).hexdigest()}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / HEADER_FILE).write_text(text + "\n", encoding="utf-8")


def pack_fields(numbers: NDArray[np.int64]) -> bytes:
    """Return whole numbers ``(n_times, n_rows, n_columns)`` in few bytes.

    Raises
    ------
    InputError
        If a difference does not fit 16 bits.
    """
    rest = numbers
    for axis in range(3):
        rest = np.diff(rest, axis=axis, prepend=0)
    folded = np.where(rest < 0, -2 * rest - 1, 2 * rest)
    if folded.size and folded.max() >= 2**16:
        raise InputError("neighbouring values differ too much", allowed="a larger step")
    halves = folded.astype("<u2").reshape(-1).view(np.uint8).reshape(-1, 2)
    return zlib.compress(np.ascontiguousarray(halves.T).tobytes(), 9)


def unpack_fields(packed: bytes, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Return the numbers that :func:`pack_fields` packed.

    Raises
    ------
    InputError
        If the bytes do not hold an array of that shape.
    """
    n_bytes = 2 * int(np.prod(shape))
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(packed, n_bytes + 1)
    except zlib.error as error:
        raise InputError(f"the packed fields are damaged: {error}", todo=_REINSTALL) from None
    if len(plain) != n_bytes:
        raise InputError(f"the packed fields do not hold {shape} numbers", todo=_REINSTALL)
    halves = np.frombuffer(plain, dtype=np.uint8).reshape(2, -1)
    folded = np.ascontiguousarray(halves.T).reshape(-1).view("<u2").astype(np.int64)
    numbers = np.where(folded % 2 == 1, -(folded + 1) // 2, folded // 2).reshape(shape)
    for axis in range(3):
        numbers = np.cumsum(numbers, axis=axis)
    return numbers


def _read_header(path: Path) -> SampleHeader:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(map(float, raw[name])) for name in ("latitude", "longitude")}
        header = SampleHeader(**{**raw, **lists})
        fits = (
            0 < np.prod(header.shape) <= _MOST_VALUES
            and header.hours > 0
            and len(header.times) == header.n_times
        )
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", todo=_REINSTALL) from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged: {error}", todo=_REINSTALL) from None
    if not fits:
        raise InputError(f"{path} is damaged: {header.shape} fields", todo=_REINSTALL)
    return header


_REINSTALL: Final = "Install the package again"
