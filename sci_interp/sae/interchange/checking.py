"""check: SparseAutoencoder x Adapter x Dataset -> LayerCheck, the error at neighbouring layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sci_interp.adapter import Adapter, Dataset
from sci_interp.errors import InputError
from sci_interp.sae.model import SparseAutoencoder
from sci_interp.schema import RECORD
from sci_interp.streams import require_layer

__all__ = ["LayerCheck", "check_sae"]


@dataclass(frozen=True)
class LayerCheck:
    """Fractions of variance unexplained at the declared layer and at its neighbours.

    Attributes
    ----------
    layer : str
        The declared layer, which fits best.
    fvu : mapping of str to float
        By layer; above 1 the reconstruction is worse than the mean.
    n_tokens : int
        Tokens measured.
    """

    layer: str
    fvu: Mapping[str, float]
    n_tokens: int

    def format(self) -> str:
        """Return the figures in one line."""
        return f"{_list(self.fvu)} on {self.n_tokens} tokens: {self.layer} fits"


def check_sae(
    sae: SparseAutoencoder,
    adapter: Adapter,
    dataset: Dataset,
    *,
    layer: str | None = None,
    n_records: int = 8,
) -> LayerCheck:
    """Compare the error at the declared layer with that at its two neighbours.

    Parameters
    ----------
    sae
        The autoencoder.
    adapter, dataset
        Model and data.
    layer
        The declared layer; that of the autoencoder by default.
    n_records
        Records to run, evenly spread.

    Raises
    ------
    UnknownNameError
        If the adapter has no such layer.
    InputError
        If the layer has another width, a neighbour fits better, or nothing does; or of a
        transcoder.
    """
    if sae.output is not None:
        raise InputError(
            "a transcoder writes another layer than it reads", allowed="autoencoders of one layer"
        )
    declared = layer or sae.parent.get("layer", adapter.default_layer)
    width = require_layer(adapter, declared)
    if width != sae.width:
        fits = [name for name, size in adapter.layers().items() if size == sae.width]
        raise InputError(
            f"the autoencoder reads {sae.width} channels and layer {declared!r} has {width}",
            allowed=f"layers of that width: {', '.join(fits[:20]) or 'none of this model'}",
            todo="Take the model that it was trained on",
        )
    names = [name for name, size in adapter.layers().items() if size == width]
    layers = [declared, *neighbours(declared, names)]
    fvu, n_tokens = _errors(sae, adapter, dataset, layers, n_records)
    best = min(fvu, key=lambda name: fvu[name])
    if best != declared:
        raise InputError(
            f"the autoencoder fits layer {best!r} and not {declared!r}: fraction of variance "
            f"unexplained {_list(fvu)} on {n_tokens} tokens",
            todo=f"Load it with layer={best!r}, and look at where its source hooks the network",
        )
    if not fvu[declared] < 1.0:
        raise InputError(
            f"the autoencoder fits neither layer {declared!r} nor its neighbours: fraction of "
            f"variance unexplained {_list(fvu)} on {n_tokens} tokens",
            allowed="below 1, which the mean alone reaches",
            todo="Check the model, the layer, k and the norm factor",
        )
    return LayerCheck(declared, fvu, n_tokens)


def neighbours(layer: str, names: Sequence[str]) -> list[str]:
    """Return the layers before and after: by number where they are numbered, else by position."""
    found = re.fullmatch(r"(.*?)(\d+)(\D*)", layer)
    if found is not None:
        head, number, tail = found.groups()
        near = [f"{head}{int(number) + step}{tail}" for step in (-1, 1)]
        near = [name for name in near if name in names]
    else:
        near = []
    at = names.index(layer)
    beside = [names[place] for place in (at - 1, at + 1) if 0 <= place < len(names)]
    return list(dict.fromkeys([*near, *beside]))[:2]


def _errors(
    sae: SparseAutoencoder,
    adapter: Adapter,
    dataset: Dataset,
    layers: Sequence[str],
    n_records: int,
) -> tuple[dict[str, float], int]:
    table = dataset.table
    chosen = np.unique(np.linspace(0, len(table) - 1, max(1, n_records)).round().astype(np.int64))
    records = [str(name) for name in table[RECORD].iloc[chosen]]
    error = dict.fromkeys(layers, 0.0)
    squares = dict.fromkeys(layers, 0.0)
    total = {name: np.zeros(sae.width) for name in layers}
    n_tokens = 0
    for found in adapter.activations(dataset, records, list(layers)):
        for name in layers:
            values = found.values[name].astype(np.float64)
            error[name] += float(np.square(values - sae.reconstruct(found.values[name])).sum())
            squares[name] += float(np.square(values).sum())
            total[name] += values.sum(0)
        n_tokens += len(values)
    fvu = {}
    for name in layers:
        variance = squares[name] - float(total[name] @ total[name]) / n_tokens
        fvu[name] = error[name] / variance if variance > 0 else float("inf")
    return fvu, n_tokens


def _list(fvu: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in fvu.items())
