"""Saved autoencoders: ``sae.safetensors`` beside ``sae.json``, and nothing that can run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from sci_interp.disk import read_json, reading
from sci_interp.errors import InputError, StoreError, UnknownNameError
from sci_interp.manifest import (
    begin_artefact,
    clear_on_mistake,
    digest_file,
    finish_artefact,
    read_manifest,
    write_atomically,
)
from sci_interp.mirrors import ensure_file, open_folder
from sci_interp.registry import find_autoencoder

from .model import SparseAutoencoder
from .normalisation import NORMALISATIONS, Normalisation
from .sparsity import sparsity_of
from .weights import Weights

__all__ = ["KIND", "load_sae", "read_tensors", "save_sae", "write_sae"]

KIND = "sae"
FORMAT = 1
TENSORS_FILE = "sae.safetensors"
CONFIG_FILE = "sae.json"
BUNDLED = "bundled:"
UNITS = ("mean", "centre", "spread")

_RETRAIN = "Train it again, or copy it again from where it came"


def write_sae(sae: SparseAutoencoder, folder: Path) -> None:
    """Write both files into an artefact that is being made."""
    config = {
        "format": FORMAT,
        "architecture": sae.architecture,
        "k": sae.k,
        "n_features": sae.n_features,
        "width": sae.width,
        "normalisation": sae.normalisation.kind,
        "parent": dict(sae.parent),
        "training": dict(sae.training),
    }
    if sae.output is not None:
        config["n_written"] = sae.weights.decoder.shape[1]
    tensors = {name: tensor.clone() for name, tensor in sae.named_tensors().items()}
    write_atomically(folder / TENSORS_FILE, save_tensors(tensors))
    write_atomically(folder / CONFIG_FILE, json.dumps(config, indent=1, sort_keys=True) + "\n")


def save_sae(sae: SparseAutoencoder, out: Path | str) -> None:
    """Write an autoencoder that was not trained here as an artefact of its own.

    Raises
    ------
    StoreError
        If the folder holds something else.
    """
    folder = Path(out)
    inputs = {"activations": sae.parent["activations"]} if "activations" in sae.parent else {}
    if not begin_artefact(folder, KIND, inputs=inputs, settings={"digest": sae.digest}):
        with clear_on_mistake(folder):
            write_sae(sae, folder)
            finish_artefact(folder)


def load_sae(path: Path | str) -> SparseAutoencoder:
    """Load an autoencoder from its folder.

    Parameters
    ----------
    path
        A folder that ``train`` made, or ``"bundled:NAME"`` for the autoencoder that comes with the
        embedded default of the adapter NAME.

    Raises
    ------
    UnknownNameError
        If there is no such adapter.
    InputError
        If the path is a file, as other programs' pickled checkpoints are.
    StoreError
        If the artefact is unfinished, damaged, of a newer format, or incomplete.
    """
    name = str(path)
    bundled = name.startswith(BUNDLED)
    folder = find_autoencoder(name.removeprefix(BUNDLED)) if bundled else open_folder(path)
    if folder.is_file():
        raise InputError(
            f"{folder} is a file",
            allowed=f"a folder with {CONFIG_FILE} and {TENSORS_FILE}; pickled weights are not read",
        )
    manifest = read_manifest(folder, KIND)
    for name in (CONFIG_FILE, TENSORS_FILE):
        file = folder / name
        ensure_file(folder, name, manifest.files.get(name, ""))
        if not file.is_file():
            raise StoreError(f"{folder} has no {name}", todo=_RETRAIN)
        if digest_file(file) != manifest.files.get(name):
            raise StoreError(
                f"{file} is damaged: its checksum is not the manifest's", todo=_RETRAIN
            )
    config = _read_config(folder / CONFIG_FILE)
    with reading(folder / TENSORS_FILE):
        sae = _build(config, read_tensors(folder / TENSORS_FILE), folder)
    object.__setattr__(sae, "opener", partial(load_sae, folder.absolute()))
    return sae


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises
    ------
    StoreError
        If it cannot be read, is truncated, or is something else.
    """
    try:
        return load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"{path} is not a readable safetensors file: {error}",
            allowed="safetensors; pickled weights are not read",
            todo=_RETRAIN,
        ) from None


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path)
    if not isinstance(config.get("format"), int):
        raise StoreError(f"{path} does not say its format", todo=_RETRAIN)
    if config["format"] > FORMAT:
        raise StoreError(
            f"{path} has the format {config['format']}",
            allowed=f"formats up to {FORMAT}",
            todo="Install a newer version of sci-interp",
        )
    wanted = {"architecture": str, "k": int, "n_features": int, "width": int, "normalisation": str}
    for name, kind in wanted.items():
        if not isinstance(config.get(name), kind):
            raise StoreError(
                f"{path} holds no usable {name!r}: {config.get(name)!r}", todo=_RETRAIN
            )
    if config["normalisation"] not in NORMALISATIONS:
        raise StoreError(
            f"{path} names the normalisation {config['normalisation']!r}",
            allowed=", ".join(NORMALISATIONS),
        )
    if not isinstance(config.get("n_written", 1), int):
        raise StoreError(f"{path} holds no usable 'n_written'", todo=_RETRAIN)
    if not 1 <= config["k"] <= config["n_features"]:
        raise StoreError(f"{path} has k={config['k']} of {config['n_features']} features")
    return config


def _build(
    config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], folder: Path
) -> SparseAutoencoder:
    written = config.get("n_written")
    _require_shapes(tensors, config["n_features"], config["width"], written, folder / TENSORS_FILE)
    try:
        sparsity = sparsity_of(config["architecture"], config["k"])
    except UnknownNameError as error:
        raise StoreError(f"{folder / CONFIG_FILE}: {error.what}", allowed=error.allowed) from None
    sparsity.restore(tensors)
    return SparseAutoencoder(
        weights=Weights.from_named(tensors),
        sparsity=sparsity,
        normalisation=Normalisation(config["normalisation"], *(tensors[name] for name in UNITS)),
        output=None
        if written is None
        else Normalisation(config["normalisation"], *(tensors[f"output_{name}"] for name in UNITS)),
        scale=tensors["scale"].numpy(),
        firing_rate=tensors["firing_rate"].numpy(),
        parent=config.get("parent") or {},
        training=config.get("training") or {},
    )


def _require_shapes(
    tensors: Mapping[str, torch.Tensor],
    n_features: int,
    width: int,
    written: int | None,
    path: Path,
) -> None:
    n_written = width if written is None else written
    wanted: dict[str, tuple[int, ...]] = {"encoder": (n_features, width)}
    wanted |= {"decoder": (n_features, n_written), "decoder_bias": (n_written,)}
    wanted |= dict.fromkeys(UNITS, (width,))
    wanted |= dict.fromkeys(("encoder_bias", "scale", "firing_rate"), (n_features,))
    if written is not None:
        wanted |= dict.fromkeys((f"output_{name}" for name in UNITS), (written,))
    own = ("gate_bias", "magnitude_scale", "threshold")
    wanted |= {name: (n_features,) for name in own if name in tensors and tensors[name].ndim}
    for name, shape in wanted.items():
        if name not in tensors:
            raise StoreError(f"{path} lacks the tensor {name!r}", todo=_RETRAIN)
        found = tensors[name]
        if tuple(found.shape) != shape or found.dtype != torch.float32:
            raise StoreError(
                f"the tensor {name!r} of {path} is {found.dtype} {tuple(found.shape)}",
                allowed=f"torch.float32 {shape}",
                todo=_RETRAIN,
            )
        if not torch.isfinite(found).all():
            raise StoreError(f"the tensor {name!r} of {path} holds NaN or infinity", todo=_RETRAIN)
