"""A trained sparse autoencoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.codes import Codes, feature_dtype
from sci_interp.errors import InputError, NotFiniteError
from sci_interp.manifest import digest_json

from .normalisation import Normalisation
from .pattern import Pattern
from .preactivation import PreActivation, fast_arithmetic
from .sparsity import Sparsity
from .weights import Weights

if TYPE_CHECKING:
    from sci_interp.adapter import Adapter, Dataset
    from sci_interp.schema import Split
    from sci_interp.source import ActivationSource

    from .interchange import ExportFormat, LayerCheck

__all__ = ["SparseAutoencoder"]

#: Tokens that are encoded at once; bounds memory, and has no influence on the codes.
CHUNK = 2048
#: Share of the features that may be computed exactly for a token and not be active: beyond it, less
#: rounding costs less than it spares.
MOST_SPARE = 1 / 32

Values = TypeVar("Values", NDArray[np.float32], torch.Tensor)


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """Turns activations into sparse codes and back; satisfies :class:`sci_interp.codes.Encoder`.

    Attributes
    ----------
    weights : Weights
        Encoder and decoder.
    sparsity : Sparsity
        The architecture, with its ``k`` and what else it learned.
    normalisation : Normalisation
        Units of the encoder's input, and of what is decoded unless ``output`` says otherwise.
    scale : (n_features,) float32
        Largest activation of every feature on training tokens; where it never fired, the median
        of the others.
    firing_rate : (n_features,) float32
        Share of training tokens on which a feature fires.
    parent : mapping
        Whose activations it was trained on: ``model``, ``model_digest``, ``layer``,
        ``activations``, ``blocks_seen``.
    training : mapping
        Settings and results of its training; of one that another program made, ``format``,
        ``special_tokens`` and ``unmeasured``, the names of what its file lacks.
    output : Normalisation or None
        Units of what is decoded where that is another layer, as of a transcoder.
    opener : callable or None
        Loads it again, in another process; of one that was loaded and not changed since.
    """

    weights: Weights
    sparsity: Sparsity
    normalisation: Normalisation
    scale: NDArray[np.float32]
    firing_rate: NDArray[np.float32]
    parent: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    output: Normalisation | None = None
    # No argument, so that copies with other weights do not have it.
    opener: Callable[[], SparseAutoencoder] | None = field(default=None, init=False, repr=False)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.weights.n_features

    @property
    def width(self) -> int:
        """Number of channels."""
        return self.weights.width

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return self.sparsity.name

    @property
    def k(self) -> int:
        """Active features per token, or their mean."""
        return self.sparsity.k

    @property
    def dictionary(self) -> NDArray[np.float32]:
        """What one unit of every feature adds to the activations ``(n_features, n_written)``."""
        spread = self.written.spread
        directions: NDArray[np.float32] = (self.weights.decoder * spread).numpy()
        return directions

    @property
    def written(self) -> Normalisation:
        """Units of what is decoded."""
        return self.normalisation if self.output is None else self.output

    def pairs(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what is read and what is to be reconstructed, of the activations of a source.

        The same, but for a transcoder, whose source has both layers side by side.

        Raises
        ------
        InputError
            If a transcoder is given activations of one layer.
        """
        if self.output is None:
            return values, values
        n_written = self.weights.decoder.shape[1]
        if values.shape[1] != self.width + n_written:
            raise InputError(
                f"activations of {values.shape[1]} channels are not both layers of the transcoder",
                allowed=f"{self.width} that it reads, then {n_written} that it writes",
                todo="Give a StackedSource of the two layers",
            )
        read = np.ascontiguousarray(values[:, : self.width])
        return read, np.ascontiguousarray(values[:, self.width :])

    def named_tensors(self) -> dict[str, torch.Tensor]:
        """Return everything that determines the codes, and the statistics, by name."""
        names = ("mean", "centre", "spread")
        held = self.output
        written = {} if held is None else {f"output_{name}": getattr(held, name) for name in names}
        return {
            **dict(self.weights.named()),
            "mean": self.normalisation.mean,
            "centre": self.normalisation.centre,
            "spread": self.normalisation.spread,
            "scale": torch.from_numpy(self.scale),
            "firing_rate": torch.from_numpy(self.firing_rate),
            **written,
            **self.sparsity.tensors(),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over tensors and architecture, the same in memory and on disk."""
        found = {
            name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
            for name, tensor in self.named_tensors().items()
        }
        kind = self.normalisation.kind
        return digest_json([self.architecture, self.k, kind, sorted(found.items())])

    @cached_property
    def _products(self) -> list[PreActivation]:
        """Products in arithmetic of falling speed; the first is used until it lets too much in."""
        fastest = fast_arithmetic(self.n_features, ranked=self.sparsity.ranked)
        exacter = fast_arithmetic(self.n_features, ranked=False)
        kinds = dict.fromkeys((fastest, exacter))
        with torch.inference_mode(False):  # what is made here outlives a call inside of it
            return [PreActivation(self.sparsity.reader(self.weights), kind) for kind in kinds]

    def encode(self, values: NDArray[np.float32]) -> Codes:
        """Return the codes of activations ``(n_tokens, width)``.

        A fast product finds every feature that might be active, with a proven margin; the exact
        value of each is then one fixed float32 sum. A token's code therefore depends on neither
        the other tokens, nor the number of threads, nor the processor's bfloat16.

        Raises
        ------
        InputError
            If the width is another.
        NotFiniteError
            If activations hold NaN or infinity.
        """
        parts = [self._as_codes(*self._encode(rows)) for rows in self._chunks(_as_tensor(values))]
        return Codes.concatenate([self._no_codes(), *parts])

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """Return activations ``(n_tokens, width)`` from float codes.

        Where the normalisation changes every token (``"token"``, ``"layer"``, ``"unit"``,
        ``"length"``), the result is in those units.
        """
        pattern = Pattern.of(codes.indptr, codes.feature.astype(np.int64), self.n_features)
        value = torch.from_numpy(np.ascontiguousarray(codes.value, np.float32))
        decoded: NDArray[np.float32] = self.written.invert(self._decode(pattern, value)).numpy()
        return decoded

    def reconstruct(self, values: Values) -> Values:
        """Return what encoding and decoding leaves of activations ``(n_tokens, width)``.

        Of a transcoder, what it makes of them: ``(n_tokens, n_written)``.
        """
        given = _as_tensor(values)
        whole = given.new_empty(len(given), self.weights.decoder.shape[1])
        for at, chunk in enumerate(self._chunks(given)):
            rebuilt = self.written.invert(self._decode(*self._encode(chunk)), like=chunk)
            whole[at * CHUNK : at * CHUNK + len(chunk)] = rebuilt
        if isinstance(values, torch.Tensor):
            return whole.to(values)
        return whole.numpy()

    def encode_and_reconstruct(
        self, values: NDArray[np.float32]
    ) -> tuple[Codes, NDArray[np.float32]]:
        """Return :meth:`encode` and :meth:`reconstruct` of the same activations at once."""
        given = _as_tensor(values)
        whole = given.new_empty(len(given), self.weights.decoder.shape[1])
        parts = [self._no_codes()]
        for at, chunk in enumerate(self._chunks(given)):
            found = self._encode(chunk)
            parts.append(self._as_codes(*found))
            whole[at * CHUNK : at * CHUNK + len(chunk)] = self.written.invert(
                self._decode(*found), like=chunk
            )
        return Codes.concatenate(parts), whole.numpy()

    def measured(
        self,
        source: ActivationSource,
        *,
        splits: Sequence[Split] = ("train", "discovery"),
        n_tokens: int = 500_000,
    ) -> SparseAutoencoder:
        """Return this autoencoder with scale, firing rate and mean of activations measured anew.

        What is loaded from another program's file needs it before it encodes a store.

        Parameters
        ----------
        source
            Activations of its layer.
        splits
            Where to look.
        n_tokens
            About how many tokens to read at most.
        """
        from .statistics import measure

        return measure(self, source, splits=splits, n_tokens=n_tokens)

    def export(
        self,
        out: Path | str,
        *,
        format: ExportFormat,  # noqa: A002 - as in load_sae
        layer: int | None = None,
    ) -> None:
        """Write a folder that another program loads; see :mod:`sci_interp.sae.interchange`.

        Parameters
        ----------
        out
            A folder that does not exist yet, or is empty.
        format
            ``"saelens"``, ``"sparsify"`` or ``"esmc"``.
        layer
            Number of the layer, which ``"esmc"`` names its file by; taken from the layer's name
            where that is one of ESM C.

        Raises
        ------
        InputError
            If the format cannot express this autoencoder, or the folder holds something.
        """
        from .interchange import export_sae

        export_sae(self, Path(out), format=format, layer=layer)

    def check(
        self, adapter: Adapter, dataset: Dataset, layer: str | None = None, *, n_records: int = 8
    ) -> LayerCheck:
        """Compare the error at the declared layer with that at its two neighbours.

        Parameters
        ----------
        adapter, dataset
            Model and data.
        layer
            The declared layer; that of :attr:`parent` by default.
        n_records
            Records to run, evenly spread.

        Raises
        ------
        InputError
            If a neighbour fits better; the message says which, or names a layer of another width.
        """
        from .interchange import check_sae

        return check_sae(self, adapter, dataset, layer=layer, n_records=n_records)

    def _chunks(self, values: torch.Tensor) -> Iterator[torch.Tensor]:
        if values.ndim != 2 or values.shape[1] != self.width:
            raise InputError(
                f"activations of the shape {tuple(values.shape)} do not fit the autoencoder",
                allowed=f"(n_tokens, {self.width})",
                todo="Use the layer it was trained on",
            )
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            if not torch.isfinite(chunk).all():
                raise NotFiniteError("activations hold NaN or infinity")
            yield chunk

    @torch.no_grad()
    def _encode(self, values: torch.Tensor) -> tuple[Pattern, torch.Tensor]:
        rows = self.normalisation.apply(values)
        product = self._products[0]
        candidates = self.sparsity.admit(product(rows), product.error(rows))
        value = self.sparsity.values(rows, self.weights, candidates)
        kept = self.sparsity.keep(candidates, value)
        n_spare = len(kept) - int(kept.sum())
        if len(self._products) > 1 and n_spare > MOST_SPARE * self.n_features * len(rows):
            del self._products[0]
        return candidates.subset(kept), value[kept]

    def _decode(self, pattern: Pattern, value: torch.Tensor) -> torch.Tensor:
        return pattern.combine(value, self.weights.decoder) + self.weights.decoder_bias

    def _no_codes(self) -> Codes:
        empty = np.zeros(0, feature_dtype(self.n_features))
        return Codes(np.zeros(1, np.int64), empty, np.zeros(0, np.float32))

    def _as_codes(self, pattern: Pattern, value: torch.Tensor) -> Codes:
        kind = feature_dtype(self.n_features)
        feature: NDArray[np.unsignedinteger] = pattern.feature.numpy().astype(kind)
        return Codes(pattern.indptr.numpy(), feature, value.numpy())


def _as_tensor(values: NDArray[np.float32] | torch.Tensor) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach().to("cpu", torch.float32).contiguous()
    array = np.ascontiguousarray(values, np.float32)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
