"""Projections: affine scores of the activations, of which the positive part is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from sci_interp.axis import describe_blocks
from sci_interp.codes import Codes, feature_dtype
from sci_interp.disk import read_json
from sci_interp.errors import InputError, NotFiniteError, StoreError
from sci_interp.manifest import (
    begin_artefact,
    clear_on_mistake,
    digest_json,
    finish_artefact,
    read_manifest,
    write_atomically,
)
from sci_interp.schema import Split
from sci_interp.shards import verify_file
from sci_interp.source import ActivationSource
from sci_interp.threads import one_blas_thread

from .moments import read_slices

__all__ = ["LinearProjection", "load_projection"]

JSON_FILE = "projection.json"
ARRAYS_FILE = "projection.safetensors"

_Projection = TypeVar("_Projection", bound="LinearProjection")
_KINDS: dict[str, type[LinearProjection]] = {}


@dataclass(frozen=True, eq=False)
class LinearProjection:
    """Scores ``(x - mean) @ weight - cut`` of activations x; a feature is a score's positive part.

    Attributes
    ----------
    mean : (width,) float32
        Point at which every score is ``-cut``.
    weight : (width, n_directions) float32, or (width,) for one direction per channel
        Directions.
    cut : (n_directions,) float32
        What a score has to exceed.
    names : tuple of str
        Name of every feature.
    parent : mapping of str to str
        What it was fitted on: ``model``, ``model_digest``, ``layer``, ``activations``.
    scale : (n_features,) float32
        Largest activation of every feature on the tokens that it was fitted on.
    details : mapping
        What else the fit has to say.
    """

    mean: NDArray[np.float32]
    weight: NDArray[np.float32]
    cut: NDArray[np.float32]
    names: tuple[str, ...]
    parent: Mapping[str, str]
    scale: NDArray[np.float32]
    details: Mapping[str, Any]

    #: Name of the class in artefacts.
    kind: ClassVar[str]
    #: Whether every direction gives two features, its positive and its negative side.
    two_sided: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        _KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        for name, array, shape in (
            ("mean", self.mean, (self.width,)),
            ("weight", self.weight, (self.width, *([len(self.cut)] * (self.weight.ndim - 1)))),
            ("cut", self.cut, (self.n_active,)),
            ("scale", self.scale, (self.n_features,)),
        ):
            if array.shape != shape:
                raise InputError(f"{name} has the shape {array.shape}", allowed=str(shape))
            if not np.isfinite(array).all():
                raise NotFiniteError(f"{name} of the {self.kind} projection holds NaN or infinity")
        if len(self.names) != self.n_features:
            raise InputError(f"{len(self.names)} names were given for {self.n_features} features")

    @property
    def width(self) -> int:
        """Number of channels it reads."""
        return len(self.mean)

    @property
    def n_active(self) -> int:
        """Number of directions: the most features that one token can activate."""
        return int(self.weight.shape[-1])

    @property
    def n_features(self) -> int:
        """Number of features; the negative sides follow the positive ones."""
        return self.n_active * (2 if self.two_sided else 1)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the arrays and of all that is said about them."""
        state = hashlib.sha256(digest_json(self._describe()).encode())
        state.update(self._pack())
        return state.hexdigest()

    @one_blas_thread()
    def score(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores ``(n_tokens, n_directions)`` of activations ``(n_tokens, width)``."""
        centred = values - self.mean
        score = centred * self.weight if self.weight.ndim == 1 else centred @ self.weight
        return np.asarray(score - self.cut, dtype=np.float32)

    def encode(self, values: NDArray[np.float32]) -> Codes:
        """Return float codes of activations ``(n_tokens, width)``."""
        score = self.score(values)
        if self.two_sided:
            score = np.concatenate([score, -score], axis=1)
        active = score > 0
        feature: NDArray[np.unsignedinteger]
        feature = np.arange(self.n_features).astype(feature_dtype(self.n_features))
        return Codes(
            np.append(0, np.count_nonzero(active, axis=1).cumsum(dtype=np.int64)),
            np.broadcast_to(feature, active.shape)[active],
            score[active],
        )

    def save(self, path: Path | str) -> None:
        """Write the projection as an artefact: ``projection.json`` and a safetensors file.

        Raises
        ------
        StoreError
            If the folder holds other work.
        """
        path = Path(path)
        inputs = {"activations": self.parent["activations"]}
        settings = {"projection": self.kind, "weights": self.digest}
        if begin_artefact(path, "projection", inputs=inputs, settings=settings):
            return
        text = json.dumps(self._describe(), indent=1, sort_keys=True) + "\n"
        with clear_on_mistake(path):
            write_atomically(path / JSON_FILE, text)
            write_atomically(path / ARRAYS_FILE, self._pack())
            finish_artefact(path)

    @classmethod
    def load(cls, path: Path | str) -> LinearProjection:
        """Read a projection of this class.

        Raises
        ------
        StoreError
            If the folder holds something else, or its files are damaged.
        """
        found = load_projection(path)
        if not isinstance(found, cls):
            raise StoreError(f"{path} holds a {found.kind} projection, not {cls.kind}")
        return found

    def _describe(self) -> dict[str, Any]:
        return {
            "projection": self.kind,
            "names": list(self.names),
            "parent": dict(self.parent),
            "details": dict(self.details),
        }

    def _pack(self) -> bytes:
        from safetensors.numpy import save

        names = ("mean", "weight", "cut", "scale")
        data: bytes = save({name: np.ascontiguousarray(getattr(self, name)) for name in names})
        return data


def load_projection(path: Path | str) -> LinearProjection:
    """Read a projection of any class.

    Raises
    ------
    StoreError
        If the folder holds no projection, or its files are damaged or do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    manifest = read_manifest(path, "projection")
    for name in (JSON_FILE, ARRAYS_FILE):
        verify_file(path, name, manifest.files)
    described = read_json(path / JSON_FILE)
    try:
        arrays = load((path / ARRAYS_FILE).read_bytes())
        return _KINDS[described["projection"]](
            mean=arrays["mean"],
            weight=arrays["weight"],
            cut=arrays["cut"],
            names=tuple(described["names"]),
            parent=dict(described["parent"]),
            scale=arrays["scale"],
            details=dict(described["details"]),
        )
    except (AttributeError, LookupError, TypeError, ValueError, SafetensorError) as error:
        raise StoreError(f"{path} does not hold a projection: {error}") from error


def two_sided_names(prefix: str, n_directions: int) -> tuple[str, ...]:
    """Return ``"prefix 0 +" ... "prefix 0 -" ...``."""
    return tuple(f"{prefix} {index} {sign}" for sign in "+-" for index in range(n_directions))


def describe_parent(source: ActivationSource, splits: Sequence[Split]) -> dict[str, str]:
    """Return what a projection remembers of the activations that it was fitted on."""
    return {
        "model": source.model["name"],
        "model_digest": source.model["digest"],
        "layer": source.layer,
        "activations": source.digest,
        **describe_blocks(source.axis, splits),
    }


def with_scale(
    projection: _Projection, source: ActivationSource, ranges: Sequence[tuple[int, int]]
) -> _Projection:
    """Return the projection with the scale of every feature measured on token ranges."""
    largest = np.zeros(projection.n_features, np.float32)
    for _, values in read_slices(source, ranges):
        score = projection.score(values)
        parts = [score.max(axis=0)]
        if projection.two_sided:
            parts.append(-score.min(axis=0))
        np.maximum(largest, np.concatenate(parts), out=largest)
    return replace(projection, scale=largest)
