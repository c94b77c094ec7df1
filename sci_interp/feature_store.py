"""Feature stores: sparse 8-bit codes on the common token axis.

The folder of a store holds::

    records.parquet             the axis
    features.json               number of features, their names and families, tokens per shard
    scale.safetensors           largest activation of every feature
    codes.zarr/000000/          a Zarr group per token shard: indptr, feature, value
    journal.jsonl               a line per finished shard
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import shards
from .axis import TokenAxis
from .codes import Codes, feature_dtype
from .disk import read_json, reading
from .errors import InputError, NotFiniteError, StoreError
from .manifest import Manifest, read_manifest, write_atomically
from .mirrors import open_folder
from .schema import CHUNK_TOKENS, RECORDS_FILE, SHARD_TOKENS

if TYPE_CHECKING:
    import pandas as pd
    import xarray

    from .adapter import Adapter, Dataset

__all__ = [
    "FeatureLayout",
    "FeatureStore",
    "require_valid",
    "shard_name",
    "shard_ranges",
    "shard_tokens",
]

FEATURES_FILE = "features.json"
SCALE_FILE = "scale.safetensors"
CODES_FOLDER = "codes.zarr"

#: Entries that a shard may hold; encoders with many active features get shorter shards.
SHARD_ENTRIES = 2**24


class FeatureStore:
    """Sparse feature codes of every token.

    Attributes
    ----------
    path : Path
        The artefact's folder.
    manifest : Manifest
        Its provenance.
    axis : TokenAxis
        The records.
    names : tuple of str
        Name of every feature, or empty.
    families : tuple of str
        Baseline that every feature belongs to, or empty.
    scale : (n_features,) float32
        Activation that level 255 stands for.
    shard_tokens : int
        Tokens of every shard but the last.
    """

    def __init__(
        self, path: Path, *, manifest: Manifest, axis: TokenAxis, scale: NDArray[np.float32]
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.axis = axis
        described = read_json(path / FEATURES_FILE)
        with reading(path / FEATURES_FILE):
            names, families = (tuple(map(str, described[name])) for name in ("names", "families"))
            size = int(described["shard_tokens"])
            if not 1 <= size <= SHARD_TOKENS:
                raise ValueError(f"shards of {size} tokens")
            layout = FeatureLayout(axis, names, families, scale, size)
        self.scale = layout.scale
        self.names: tuple[str, ...] = names
        self.families: tuple[str, ...] = families
        self.shard_tokens = size
        self._shards = list(shard_ranges(axis.n_tokens, size))
        self._files = shards.group_files(manifest.files, depth=2)
        self._verified: set[int] = set()
        self._cache: OrderedDict[int, Codes] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Callable[[Path], FeatureStore], tuple[Path]]:
        """Open the folder again in another process."""
        return FeatureStore.open, (self.path,)

    @classmethod
    def open(cls, path: Path | str) -> FeatureStore:
        """Open a finished store.

        Raises
        ------
        StoreError
            If the folder is no feature store, is unfinished, or one of its files is damaged.
        """
        path = open_folder(path)
        manifest = read_manifest(path, "features")
        for name in (FEATURES_FILE, SCALE_FILE, RECORDS_FILE):
            shards.verify_file(path, name, manifest.files)
        axis = TokenAxis.read(path)
        return cls(path, manifest=manifest, axis=axis, scale=_read_scale(path / SCALE_FILE))

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.scale)

    @property
    def digest(self) -> str:
        """Identity of the codes."""
        return self.manifest.digest

    def shards(self) -> Iterator[tuple[int, int]]:
        """Yield the half-open token range of every shard; reading along them is fastest."""
        yield from self._shards

    def read(self, start: int, stop: int) -> Codes:
        """Return the codes of a token range; ``value`` holds uint8 levels.

        Raises
        ------
        StoreError
            If a shard in the range is damaged; it is checked when first read.
        """
        if not 0 <= start <= stop <= self.axis.n_tokens:
            raise InputError(
                f"the token range {start}:{stop} is not in {self.path}",
                allowed=f"0 <= start <= stop <= {self.axis.n_tokens}",
            )
        parts = [
            self._shard(index).rows(max(start, first) - first, min(stop, last) - first)
            for index, (first, last) in enumerate(self._shards)
            if first < stop and start < last
        ]
        return Codes.concatenate(parts) if parts else _no_rows(self.n_features)

    def to_xarray(
        self,
        adapter: Adapter,
        dataset: Dataset,
        *,
        features: Sequence[int | str],
        records: Sequence[str] | None = None,
    ) -> xarray.Dataset:
        """Return features as maps, for example on (time, latitude, longitude).

        Parameters and errors are those of :func:`~sci_interp.feature_view.map_features`.
        """
        from .feature_view import map_features

        given: Any = {"features": features, "records": records}
        return map_features(self, self.scale, adapter, dataset, **given)

    def to_table(
        self,
        adapter: Adapter,
        dataset: Dataset,
        *,
        features: Sequence[int | str] | None = None,
        records: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return a row for every active feature of every token, for example every residue.

        Parameters and errors are those of :func:`~sci_interp.feature_view.tabulate_features`.
        """
        from .feature_view import tabulate_features

        given: Any = {"features": features, "records": records}
        return tabulate_features(self, self.scale, adapter, dataset, **given)

    def _shard(self, index: int) -> Codes:
        with self._lock:  # Several threads may read, each its own shards.
            if index not in self._cache:
                name = shard_name(index)
                is_new = index not in self._verified
                if is_new:
                    shards.verify_folder(self.path, name, self._files.get(name, {}))
                arrays = shards.read_group(self.path / name, ("indptr", "feature", "value"))
                codes = Codes(arrays["indptr"], arrays["feature"], arrays["value"])
                if is_new:
                    start, stop = self._shards[index]
                    if not _is_valid(codes, stop - start, self.n_features):
                        raise StoreError(f"{self.path / name} holds no compressed sparse rows")
                    self._verified.add(index)
                self._cache[index] = codes
                while len(self._cache) > 2:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(index)
            return self._cache[index]


@dataclass(frozen=True, eq=False)
class FeatureLayout:
    """What a store holds beside its codes.

    Attributes
    ----------
    axis : TokenAxis
        The records.
    names, families : tuple of str
        One for every feature, or empty.
    scale : (n_features,) float32
        Activation that level 255 stands for.
    shard_tokens : int
        Tokens per shard.
    """

    axis: TokenAxis
    names: tuple[str, ...]
    families: tuple[str, ...]
    scale: NDArray[np.float32]
    shard_tokens: int

    def __post_init__(self) -> None:
        for kind, given in (("names", self.names), ("families", self.families)):
            if len(given) not in (0, self.n_features):
                raise InputError(
                    f"{len(given)} {kind} were given for {self.n_features} features",
                    allowed="one for every feature, or none",
                )
        if not np.isfinite(self.scale).all() or (self.scale < 0).any():
            raise NotFiniteError(
                "the scale of the features holds NaN, infinity or a negative number"
            )

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.scale)

    def describe(self) -> dict[str, Any]:
        """Return the contents of ``features.json``."""
        return {
            "n_features": self.n_features,
            "names": list(self.names),
            "families": list(self.families),
            "shard_tokens": self.shard_tokens,
        }

    def write(self, folder: Path) -> None:
        """Write everything but the codes."""
        from safetensors.numpy import save

        self.axis.write(folder)
        text = json.dumps(self.describe(), indent=1, sort_keys=True) + "\n"
        write_atomically(folder / FEATURES_FILE, text)
        write_atomically(folder / SCALE_FILE, save({"scale": self.scale}))


def shard_tokens(n_active: int) -> int:
    """Return the tokens per shard for codes with at most ``n_active`` features per token."""
    tokens = SHARD_TOKENS
    while tokens > CHUNK_TOKENS and tokens * n_active > SHARD_ENTRIES:
        tokens //= 2
    return tokens


def require_valid(codes: Codes, n_tokens: int, n_features: int) -> None:
    """Refuse codes that are not compressed sparse rows of positive values."""
    if not _is_valid(codes, n_tokens, n_features):
        raise InputError(
            "an encoder returned codes that are not compressed sparse rows",
            allowed=f"{n_tokens} rows of positive values, features ascending below {n_features}",
        )


def _is_valid(codes: Codes, n_tokens: int, n_features: int) -> bool:
    feature = codes.feature
    if codes.n_tokens != n_tokens or len(codes.value) != len(feature):
        return False
    ascending = feature[1:] > feature[:-1]
    boundary = codes.indptr[1:-1] - 1
    ascending[boundary[(boundary >= 0) & (boundary < len(ascending))]] = True
    return bool(
        codes.indptr[0] == 0
        and codes.indptr[-1] == len(feature)
        and (codes.indptr[1:] >= codes.indptr[:-1]).all()
        and (len(feature) == 0 or 0 <= feature.min() <= feature.max() < n_features)
        and ascending.all()
        and (codes.value > 0).all()
    )


def _read_scale(path: Path) -> NDArray[np.float32]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        scale: NDArray[np.float32] = load(path.read_bytes())["scale"]
    except (OSError, LookupError, ValueError, TypeError, SafetensorError) as error:
        raise StoreError(f"{path} cannot be read: {error!r}") from None
    if scale.dtype != np.float32 or scale.ndim != 1:
        raise StoreError(f"{path} holds {scale.dtype} {scale.shape}", allowed="float32 (features,)")
    return scale


def _no_rows(n_features: int) -> Codes:
    empty = np.zeros(0, feature_dtype(n_features))
    return Codes(np.zeros(1, np.int64), empty, np.zeros(0, np.uint8))


def shard_name(index: int) -> str:
    """Return the path of a shard's group inside the store."""
    return f"{CODES_FOLDER}/{index:06d}"


def shard_ranges(n_tokens: int, shard_tokens: int) -> Iterator[tuple[int, int]]:
    """Yield the half-open token range of every shard."""
    for start in range(0, n_tokens, shard_tokens):
        yield start, min(start + shard_tokens, n_tokens)
