"""Folders that SAELens, sparsify and the ``esm`` package load.

Every format here subtracts a bias ``b`` from normalised tokens and adds it again. With ours,
``rows = (T(x) - centre) / spread`` and a decoder bias ``c`` of the rows, that is
``b = c * spread + centre``, and the encoder's bias grows by ``E c``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from safetensors.torch import save as save_tensors

from sci_interp.errors import InputError, UnknownNameError
from sci_interp.manifest import write_atomically
from sci_interp.sae.model import SparseAutoencoder
from sci_interp.sae.statistics import UNMEASURED

from . import esmc, saelens, sparsify

__all__ = ["ExportFormat", "export_sae"]

ExportFormat: TypeAlias = Literal["saelens", "sparsify", "esmc"]

#: The version whose rules the settings follow; without one SAELens reads them by older rules.
SAELENS_VERSION = "6.0.0"
#: Theirs for each of ours; what selects in batches becomes a constant threshold.
SAELENS_ARCHITECTURES = {
    "relu": "standard",
    "gated": "gated",
    "topk": "topk",
    "abs_topk": "abstopk",
    "jumprelu": "jumprelu",
    "batch_topk": "jumprelu",
    "matryoshka": "jumprelu",
}
SAELENS_KINDS = {"layer": "layer_norm", "length": "constant_norm_rescale"}
_PLAIN = ("scale", "channel", "none")


@dataclass(frozen=True, eq=False)
class Folded:
    """An autoencoder without units of its own: ``pre = (T(x) - bias) @ encoder.T + encoder_bias``.

    Attributes
    ----------
    encoder, decoder : (n_features, width) float32
    encoder_bias, shift : (n_features,) float32
        ``shift`` is what the encoder's bias grew by.
    bias : (width,) float32
    """

    encoder: torch.Tensor
    encoder_bias: torch.Tensor
    shift: torch.Tensor
    decoder: torch.Tensor
    bias: torch.Tensor


def export_sae(
    sae: SparseAutoencoder,
    folder: Path,
    *,
    format: ExportFormat,  # noqa: A002 - as in load_sae
    layer: int | None = None,
) -> None:
    """Write a folder that another program loads.

    Parameters
    ----------
    sae
        The autoencoder.
    folder
        It must not exist, or be empty.
    format
        ``"saelens"``, ``"sparsify"`` (TopK alone) or ``"esmc"`` (TopK on tokens with kind
        ``"layer"``, without an encoder bias).
    layer
        Number of the layer, which ``"esmc"`` names its file by.

    Raises
    ------
    UnknownNameError
        If there is no such format.
    InputError
        If the format cannot express this autoencoder, or the folder holds something.
    """
    if format not in get_args(ExportFormat):
        raise UnknownNameError("format to write", format, get_args(ExportFormat))
    if sae.output is not None:
        raise _cannot(sae, "another layer that is written", ("autoencoders of one layer",))
    if format == "esmc":
        files = _esmc(sae, layer)
    else:
        files = _saelens(sae) if format == "saelens" else _sparsify(sae)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty", todo="Choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)


def fold(sae: SparseAutoencoder) -> Folded:
    """Return the weights with units and biases folded, computed in float64."""
    units, weights = sae.normalisation, sae.weights
    spread = units.spread.double()
    added = weights.decoder_bias.double()
    shift = weights.encoder.double() @ added
    return Folded(
        encoder=(weights.encoder / spread).float(),
        encoder_bias=(weights.encoder_bias + shift).float(),
        shift=shift.float(),
        decoder=(weights.decoder * spread).float(),
        bias=(added * spread + units.centre).float(),
    )


def _saelens(sae: SparseAutoencoder) -> dict[str, bytes | str]:
    kind = sae.normalisation.kind
    if kind not in (*_PLAIN, *SAELENS_KINDS):
        raise _cannot(sae, f"tokens normalised by kind {kind!r}", (*_PLAIN, *SAELENS_KINDS))
    if sae.architecture not in SAELENS_ARCHITECTURES:
        raise _cannot(sae, f"the architecture {sae.architecture!r}", SAELENS_ARCHITECTURES)
    folded = fold(sae)
    name = SAELENS_ARCHITECTURES[sae.architecture]
    half = slice(0, sae.n_features // 2 if name == "abstopk" else sae.n_features)
    tensors = {
        "W_enc": folded.encoder[half].t().contiguous(),
        "W_dec": folded.decoder[half].contiguous(),
        "b_dec": folded.bias,
    }
    learned = sae.sparsity.tensors()
    if name == "gated":
        scale = learned["magnitude_scale"]
        tensors["b_gate"] = learned["gate_bias"] + folded.shift
        tensors["b_mag"] = sae.weights.encoder_bias + scale * folded.shift
        tensors["r_mag"] = scale.log()
    else:
        tensors["b_enc"] = folded.encoder_bias[half].contiguous()
    if name == "jumprelu":
        tensors["threshold"] = learned["threshold"].clamp_min(0.0).expand(sae.n_features).clone()
    config: dict[str, Any] = {
        "architecture": name,
        "d_in": sae.width,
        "d_sae": len(tensors["W_dec"]),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": SAELENS_KINDS.get(kind, "none"),
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": SAELENS_VERSION,
            "model_name": sae.parent.get("model"),
            "hook_name": sae.parent.get("layer"),
        },
    }
    if name in ("topk", "abstopk"):
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    return {
        saelens.SETTINGS_FILE: json.dumps(config, indent=1) + "\n",
        saelens.WEIGHTS_FILE: save_tensors(tensors),
    }


def _sparsify(sae: SparseAutoencoder) -> dict[str, bytes | str]:
    if sae.architecture != "topk":
        raise _cannot(sae, f"the architecture {sae.architecture!r}", ("topk",))
    if sae.normalisation.kind not in _PLAIN:
        raise _cannot(sae, f"tokens normalised by kind {sae.normalisation.kind!r}", _PLAIN)
    folded = fold(sae)
    tensors = {
        "encoder.weight": folded.encoder.contiguous(),
        "encoder.bias": folded.encoder_bias,
        "W_dec": folded.decoder.contiguous(),
        "b_dec": folded.bias,
    }
    config = {
        "activation": "topk",
        "expansion_factor": max(1, sae.n_features // sae.width),
        "normalize_decoder": False,
        "num_latents": sae.n_features,
        "k": sae.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": sae.width,
    }
    return {
        sparsify.SETTINGS_FILE: json.dumps(config) + "\n",
        sparsify.WEIGHTS_FILE: save_tensors(tensors),
    }


def _esmc(sae: SparseAutoencoder, layer: int | None) -> dict[str, bytes | str]:
    if sae.architecture != "topk":
        raise _cannot(sae, f"the architecture {sae.architecture!r}", ("topk",))
    if sae.normalisation.kind != "layer":
        raise _cannot(sae, f"tokens normalised by kind {sae.normalisation.kind!r}", ("layer",))
    folded = fold(sae)
    reach = folded.encoder.norm(dim=1).max()
    if folded.encoder_bias.abs().max() > 1e-6 * reach:
        raise _cannot(sae, "an encoder bias", ("none",))
    number = _esmc_number(sae) if layer is None else layer
    measured = "scale" not in sae.training.get(UNMEASURED, ())
    tensors = {
        "W_enc": folded.encoder.t().contiguous(),
        "W_dec": folded.decoder.contiguous(),
        "b_dec": folded.bias,
        "idf": torch.ones(sae.n_features),
        "max": torch.from_numpy(sae.scale).clone() if measured else torch.ones(sae.n_features),
    }
    config = {
        "model_type": esmc.MODEL_TYPE,
        "d_model": sae.width,
        "codebook_dim": sae.n_features,
        "k": sae.k,
        "available_layers": [number],
    }
    return {
        "config.json": json.dumps(config, indent=2) + "\n",
        f"layer_{number}.safetensors": save_tensors(tensors),
    }


def _esmc_number(sae: SparseAutoencoder) -> int:
    name = sae.parent.get("layer", "")
    found = re.fullmatch(r"layers\.(\d+)", name)
    if found is None and name != "embed_tokens":
        raise InputError(
            f"the format esmc names files by the number of a hidden state, and {name!r} has none",
            todo="Give it: sae.export(..., layer=...)",
        )
    return 0 if found is None else int(found[1]) + 1


def _cannot(
    sae: SparseAutoencoder, what: str, allowed: Mapping[str, str] | tuple[str, ...]
) -> InputError:
    return InputError(
        f"this format has no place for {what} of the autoencoder of {sae.n_features} features",
        allowed=", ".join(allowed),
        todo="Choose another format, or save it with save_sae",
    )
