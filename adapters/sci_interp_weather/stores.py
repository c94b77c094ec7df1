"""Files and stores opened lazily, after a look at how much they claim to hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from sci_interp.errors import InputError, MissingExtraError

from .classic_header import check_classic_header
from .grib import open_grib

__all__ = ["READ_ERRORS", "open_store"]

#: What the libraries raise on damaged files, beside crashes that nobody can catch.
READ_ERRORS = (
    *(OSError, RuntimeError, ValueError, TypeError, EOFError),
    *(ArithmeticError, AttributeError, LookupError, MemoryError, SystemError),
)
#: A coordinate is read whole: 8 million times, which is 900 years of hours.
_MAX_COORDINATE = 64 * 2**20

#: Codecs that turn bytes into numbers and do nothing else; numcodecs also has one that unpickles.
_CODECS = frozenset(
    (
        *("adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta"),
        *("fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma", "packbits"),
        *("pcodec", "quantize", "sharding_indexed", "shuffle", "transpose", "vlen-bytes"),
        *("vlen-utf8", "zfpy", "zlib", "zstd"),
    )
)
#: File systems of fsspec that evaluate what a file says.
_RUNNING = frozenset({"reference"})

#: Deflate cannot shrink data more than 1,032 times.
_MAX_EXPANSION = 2000
_FORMATS = "NetCDF (.nc), Zarr (a folder or a URL) or GRIB (.grb)"
_ENGINES = ("netcdf4", "h5netcdf", "scipy", "zarr", "cfgrib")
_DAMAGED = "Copy or download it again"


def open_store(
    path: str,
    *,
    engine: str | None = None,
    chunks: Any = None,
    limit: int,
    storage_options: Mapping[str, Any] | None = None,
) -> list[xr.Dataset]:
    """Open one file or store without reading its fields; times are left as numbers.

    Parameters
    ----------
    path
        NetCDF or GRIB file, Zarr folder, or URL of a Zarr store.
    engine
        ``"netcdf4"``, ``"h5netcdf"``, ``"scipy"``, ``"zarr"`` or ``"cfgrib"``; None looks at the
        first bytes.
    chunks
        Passed to xarray: chunk sizes make the fields dask arrays.
    limit
        Bytes that a coordinate or one chunk may take.
    storage_options
        Passed to fsspec with a URL.

    Raises
    ------
    InputError
        If it does not exist, is damaged, or declares more than the limit allows.
    MissingExtraError
        If the package that reads this format is not installed.
    """
    chosen = engine or _guess_engine(path)
    if chosen not in _ENGINES:
        raise InputError(f"there is no engine {chosen!r}", allowed=", ".join(_ENGINES))
    if chosen == "cfgrib":
        datasets = open_grib(Path(path), limit=limit, chunks=chunks)
    elif chosen == "zarr":
        datasets = [_open_zarr(path, chunks, limit, storage_options)]
    else:
        datasets = [_open_netcdf(path, chosen, chunks, limit)]
    for dataset in datasets:
        _check_chunks(path, dataset, limit)
    return datasets


def _guess_engine(path: str) -> str:
    if "://" in path:
        return "zarr"
    file = Path(path)
    if file.is_dir():
        return "zarr"
    try:
        with file.open("rb") as stream:
            magic = stream.read(8)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}", todo="Check the path"
        ) from None
    if magic.startswith((b"CDF", b"\x89HDF")):
        return "netcdf4"
    if magic.startswith(b"GRIB"):
        return "cfgrib"
    raise InputError(f"{path} is none of the formats read here", allowed=_FORMATS)


def _open_netcdf(path: str, engine: str, chunks: Any, limit: int) -> xr.Dataset:
    try:
        import netCDF4
    except ImportError:
        raise MissingExtraError("netCDF4", "weather") from None
    check_classic_header(Path(path))
    try:
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            sizes = {
                name: (variable.dimensions, _n_bytes(variable.shape, variable.dtype))
                for name, variable in file.variables.items()
            }
            classic = not file.data_model.startswith("NETCDF4")
    except READ_ERRORS as error:
        raise InputError(f"{path} cannot be read as NetCDF ({error})", todo=_DAMAGED) from None
    _check_coordinates(path, sizes, limit)
    _check_total(path, sum(n for _, n in sizes.values()), limit, classic=classic)
    return _open_xarray(path, _backend(engine), chunks)


def _open_zarr(
    path: str, chunks: Any, limit: int, storage_options: Mapping[str, Any] | None
) -> xr.Dataset:
    import zarr

    if any(part.split("://")[0] in _RUNNING for part in path.split("::")):
        raise InputError(
            f"{path} names a file system that fills templates from the data",
            allowed="files, folders, and addresses such as https://, s3:// and gs://",
            todo="Copy the store, or write it as Zarr",
        )
    options = dict(storage_options or {}) or None
    try:
        group = zarr.open_group(path, mode="r", storage_options=options)
        arrays = dict(group.arrays())
        sizes = {
            name: (_zarr_dimensions(array), _n_bytes(array.shape, array.dtype))
            for name, array in arrays.items()
        }
        codecs = {codec for array in arrays.values() for codec in _codecs(array.metadata)}
    except ImportError as error:
        raise InputError(
            f"{path} cannot be read: {error}", todo="Install the file system that the URL names"
        ) from None
    except READ_ERRORS as error:
        raise InputError(
            f"{path} cannot be read as a Zarr group ({type(error).__name__}: {error})",
            todo="Check the path, and that the store was written to its end",
        ) from None
    if strange := sorted(codecs - _CODECS):
        raise InputError(
            f"{path} is coded by {strange[0]!r}, which may run code",
            allowed=", ".join(sorted(_CODECS)),
            todo="Ask for a store in one of these",
        )
    _check_coordinates(path, sizes, limit)
    consolidated = group.metadata.consolidated_metadata is not None
    return _open_xarray(
        path, _backend("zarr"), chunks, consolidated=consolidated, storage_options=options
    )


def _open_xarray(path: str, backend: Any, chunks: Any, **options: Any) -> xr.Dataset:
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return xr.open_dataset(
            path, engine=backend, chunks=chunks, decode_times=False, decode_timedelta=False, **given
        )
    except ImportError as error:
        raise InputError(f"{path} cannot be opened: {error}", todo="Install that package") from None
    except READ_ERRORS as error:
        raise InputError(
            f"{path} cannot be opened ({type(error).__name__}: {error})", todo=_DAMAGED
        ) from None


def _backend(engine: str) -> Any:
    """Return xarray's own reader, so that no third party's plug-in is imported on the way."""
    from xarray.backends import h5netcdf_, netCDF4_, scipy_, zarr

    return {
        "netcdf4": netCDF4_.NetCDF4BackendEntrypoint,
        "h5netcdf": h5netcdf_.H5netcdfBackendEntrypoint,
        "scipy": scipy_.ScipyBackendEntrypoint,
        "zarr": zarr.ZarrBackendEntrypoint,
    }[engine]


def _zarr_dimensions(array: Any) -> tuple[str, ...]:
    named = array.attrs.get("_ARRAY_DIMENSIONS") or getattr(array.metadata, "dimension_names", None)
    names = tuple(named or [f"dimension {i}" for i in range(array.ndim)])
    if len(names) != array.ndim or not all(isinstance(name, str) for name in names):
        raise TypeError(f"the dimensions are named {names}")
    return names


def _codecs(value: Any) -> Iterator[str]:
    """Yield the names of all codecs in the metadata of an array, inner ones too."""
    described = value if isinstance(value, Mapping) else value.to_dict()
    parts = [described[key] for key in ("codecs", "index_codecs", "filters") if described.get(key)]
    listed = [each for part in parts for each in part]
    if described.get("compressor"):
        listed.append(described["compressor"])
    for codec in listed:
        settings = codec if isinstance(codec, Mapping) else codec.to_dict()
        yield str(settings.get("id") or settings.get("name")).removeprefix("numcodecs.")
        inner = settings.get("configuration") or settings
        if isinstance(inner, Mapping):
            yield from _codecs(inner)


def _n_bytes(shape: Iterable[int], dtype: Any) -> int:
    n_bytes = int(getattr(dtype, "itemsize", 1))
    for n in shape:
        n_bytes *= int(n)
    return n_bytes


def _check_coordinates(
    path: str, sizes: Mapping[str, tuple[tuple[str, ...], int]], limit: int
) -> None:
    """Refuse coordinates that are too large to be read, which happens before anything else."""
    allowed = min(limit, _MAX_COORDINATE)
    for name, (dimensions, n_bytes) in sizes.items():
        if len(dimensions) == 1 and n_bytes > allowed:
            raise InputError(
                f"{path} declares {n_bytes:,} bytes for the coordinate {name!r}",
                allowed=f"{allowed:,} bytes",
                todo="Do not trust this file; if it is right, split it",
            )


def _check_total(path: str, total: int, limit: int, *, classic: bool) -> None:
    """Refuse a file that declares more than it can hold; the classic format has no compression."""
    held = Path(path).stat().st_size
    most = 2 * held if classic else max(limit, _MAX_EXPANSION * held)
    if total > most:
        raise InputError(
            f"{path} holds {held:,} bytes and declares {total:,}",
            allowed=f"{most:,} bytes",
            todo="It is damaged or not to be trusted; copy or download it again, or, if it is "
            "right, open it with a larger limit=",
        )


def _check_chunks(path: str, dataset: xr.Dataset, limit: int) -> None:
    """Refuse chunks above the limit: one value cannot be read without its whole chunk."""
    for name, variable in dataset.variables.items():
        shape = variable.encoding.get("chunksizes") or variable.encoding.get("chunks")
        n_bytes = _n_bytes(shape, variable.dtype) if shape else 0
        if n_bytes > limit:
            raise InputError(
                f"{path}: one chunk of {name!r} takes {n_bytes:,} bytes",
                allowed=f"{limit:,} bytes at once",
                todo="Store it in smaller chunks, or open it with a larger limit=",
            )
