"""Files of weights, and the settings beside them, as targets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

import sci_interp as si
from sci_interp.hooks import declare_torchvision_operators
from sci_interp_protein.alphabet import Vocabulary
from sci_interp_protein.bytenet import ByteNet, ByteNetConfig
from sci_interp_protein.models import load_network as load_protein_network
from sci_interp_weather.models import load_network as load_weather_network

__all__ = ["checkpoint_targets", "small_esm"]

Row = tuple[str, tuple[bytes, ...], Callable[[bytes], object]]

_WIDTH, _FEATURES = 3, 5
_BYTENET = ByteNetConfig(width=4, bottleneck=2, n_blocks=1, max_dilation=1)
_NAMED = {"layer": "layer.1", "parent": "a network"}
_FORECAST = Path(__file__).parents[2] / "adapters/sci_interp_weather/data/forecast"


def checkpoint_targets(files: Path) -> Iterator[Row]:
    """Yield the targets; each keeps its files in a folder of ``files``."""
    yield from _autoencoders(files)
    yield from _networks(files)


def _autoencoders(files: Path) -> Iterator[Row]:
    interplm = {"bias": torch.zeros(_WIDTH), **_linear()}
    interprot = {
        "w_enc": torch.ones(_WIDTH, _FEATURES), "w_dec": torch.ones(_FEATURES, _WIDTH),
        "b_enc": torch.zeros(_FEATURES), "b_pre": torch.zeros(_WIDTH),
    }  # fmt: skip
    saelens = {
        "W_enc": torch.ones(_WIDTH, _FEATURES), "W_dec": torch.ones(_FEATURES, _WIDTH),
        "b_enc": torch.zeros(_FEATURES), "b_dec": torch.zeros(_WIDTH),
    }  # fmt: skip
    arrays = io.BytesIO()
    np.savez(arrays, **{name: held.numpy() for name, held in interplm.items()})
    weights = {
        "sae.pt": (_torch_file(interplm), _torch_file({"model_state_dict": interplm}, old=True)),
        "sae.safetensors": (save(interprot),),
        "sae.npz": (arrays.getvalue(),),
    }
    for name, seeds in weights.items():
        where = _folder(files, f"autoencoder {name}") / name
        yield f"autoencoder, {where.suffix[1:]}", seeds, _loading(where, where, k=2)
    metadata = {"sae_lens_version": "6.0.0", "model_name": "net", "hook_name": "blocks.1"}
    settings = {"architecture": "standard", "metadata": metadata, "d_in": 3, "d_sae": 5}
    folder = _folder(files, "autoencoder settings")
    (folder / "sae_weights.safetensors").write_bytes(save(saelens))
    seed = json.dumps(settings).encode()
    yield "autoencoder, settings", (seed,), _loading(folder / "cfg.json", folder)
    folder = _folder(files, "autoencoder trainer")
    trained = {**_linear(), "b_dec": torch.zeros(_WIDTH), "k": torch.tensor(2)}
    (folder / "ae.pt").write_bytes(_torch_file(trained))
    trainer = {"trainer": {"dict_class": "AutoEncoderTopK", "k": 2, "layer": 1, "lm_name": "net"}}
    seed = json.dumps(trainer).encode()
    yield "autoencoder, trainer", (seed,), _loading(folder / "config.json", folder)


def _loading(path: Path, what: Path, **facts: object) -> Callable[[bytes], object]:
    """Return what writes bytes to ``path`` and loads the autoencoder ``what``."""

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return si.load_sae(what, **_NAMED, **facts)  # type: ignore[arg-type]

    return parse


def _networks(files: Path) -> Iterator[Row]:
    folder = _folder(files, "protein network")
    config = json.dumps({"model_type": "bytenet", **_BYTENET.to_dict(), "steps": 0}).encode()
    weights = save(ByteNet(_BYTENET).state_dict())
    own: dict[str, bytes] = {"config.json": config, "model.safetensors": weights}

    def load_protein() -> object:
        return load_protein_network(str(folder))

    for name, seed in own.items():
        yield f"protein network, {name}", (seed,), _replacing(folder, own, name, load_protein)

    esm = _folder(files, "ESM network")
    beside = small_esm(esm)

    def load_esm() -> object:
        return load_protein_network(str(esm))

    for name in ("config.json", "vocab.txt"):
        yield f"ESM network, {name}", (beside[name],), _replacing(esm, beside, name, load_esm)

    forecast = _folder(files, "forecast network")
    shipped = {each.name: each.read_bytes() for each in sorted(_FORECAST.iterdir())}

    def load_forecast() -> object:
        return load_weather_network(str(forecast))

    for name, seed in shipped.items():
        parse = _replacing(forecast, shipped, name, load_forecast)
        yield f"forecast network, {name}", (seed,), parse


def _replacing(
    folder: Path, files: dict[str, bytes], name: str, load: Callable[[], object]
) -> Callable[[bytes], object]:
    """Return what puts bytes in place of one of the files, and loads all of them."""
    for each, held in files.items():
        (folder / each).write_bytes(held)

    def parse(data: bytes) -> object:
        (folder / name).write_bytes(data)
        try:
            return load()
        finally:
            (folder / name).write_bytes(files[name])

    return parse


def small_esm(folder: Path) -> dict[str, bytes]:
    """Return the files of an ESM-2 checkpoint of one narrow block."""
    declare_torchvision_operators()
    from transformers import EsmConfig, EsmForMaskedLM

    config = EsmConfig(
        vocab_size=33, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, position_embedding_type="rotary", token_dropout=False,
        pad_token_id=1, mask_token_id=32,
    )  # fmt: skip
    config.save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(save(_untied(EsmForMaskedLM(config))))
    (folder / "vocab.txt").write_text("\n".join(Vocabulary().tokens), encoding="utf-8")
    names = ("config.json", "model.safetensors", "vocab.txt")
    return {name: (folder / name).read_bytes() for name in names}


def _untied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: held.clone() for name, held in model.state_dict().items()}


def _folder(files: Path, name: str) -> Path:
    folder = files / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _linear() -> dict[str, torch.Tensor]:
    return {
        "encoder.weight": torch.ones(_FEATURES, _WIDTH),
        "encoder.bias": torch.zeros(_FEATURES),
        "decoder.weight": torch.ones(_WIDTH, _FEATURES),
    }


def _torch_file(entries: object, *, old: bool = False) -> bytes:
    target = io.BytesIO()
    torch.save(entries, target, _use_new_zipfile_serialization=not old)
    return target.getvalue()
