"""ESM C and ESM3 through the ``esm`` package, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sci_interp.errors import InputError, MissingExtraError, SciInterpError, UnknownNameError

from .alphabet import MASK
from .network import Network

__all__ = ["NATIVE", "Esm3Network", "NativeEsmcNetwork", "load_native"]

#: Key of the package's download and file in it, by the names the package uses.
NATIVE = {
    "esmc_300m": ("esmc-300", "data/weights/esmc_300m_2024_12_v0.pth"),
    "esmc_600m": ("esmc-600", "data/weights/esmc_600m_2024_12_v0.pth"),
    "esm3_sm_open_v1": ("esm3", "data/weights/esm3_sm_open_v1.pth"),
}

#: Channels of one attention head in every ESM C and ESM3.
HEAD_WIDTH = 64
_EMBEDDING = "embed.weight"
_EMBEDDING_3 = "encoder.sequence_embed.weight"
_SCALE_3 = "transformer.blocks.0.geom_attn.distance_scale_per_head"


class NativeEsmcNetwork(Network):
    """ESM C of the ``esm`` package; layers ``embed``, ``transformer.blocks.N``, ..."""

    block_pattern = r"transformer\.blocks\.\d+"
    landmark_pattern = r"embed|transformer\.norm"

    def logits(self, tokens: Tensor) -> Tensor:
        """Return ``(B, L, V)`` for tokens ``(B, L)``; padding is told by the sequence id."""
        real = tokens != self.vocabulary.pad
        result: Tensor = self.whole(sequence_tokens=tokens, sequence_id=real).sequence_logits
        return result


class Esm3Network(NativeEsmcNetwork):
    """ESM3 given sequences alone; layers ``encoder``, ``transformer.blocks.N``, ..."""

    landmark_pattern = r"encoder|transformer\.norm"
    # Its geometric attention multiplies float32 rotations with what autocast made bfloat16.
    autocasts = False


def load_native(name: str) -> Network:
    """Load ESM C or ESM3 through the ``esm`` package, in float32, without flash attention.

    Parameters
    ----------
    name
        A name in :data:`NATIVE`, downloaded by the package, or a local checkpoint of the
        package's own format: ``*.safetensors``, or ``*.pth`` / ``*.pt``, of which tensors alone
        are read.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    InputError
        If another package of the same import name is installed in its place, or the weights
        cannot be read or fit neither model.
    UnknownNameError
        If there is no such model.
    """
    modules = _import_esm()
    path = Path(name).expanduser()
    if path.suffix in {".safetensors", ".pth", ".pt"}:
        shown = f"esm:{path.stem}"
    else:
        path, shown = _download(name, modules), f"esm:{name}"
    weights = _read_weights(path)
    if _EMBEDDING in weights:
        kind, model = NativeEsmcNetwork, _build_esmc(weights, modules)
    elif _EMBEDDING_3 in weights:
        kind, model = Esm3Network, _build_esm3(weights, modules)
    else:
        raise InputError(
            f"{path} holds neither ESM C nor ESM3: it has no {_EMBEDDING} or {_EMBEDDING_3}",
            allowed="checkpoints of the esm package",
            todo="Checkpoints of transformers are loaded by their directory, without 'esm:'",
        )
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} does not fit the esm package's model: {reason}") from None
    return kind(shown, model, model.float())


def _import_esm() -> SimpleNamespace:
    """Import the parts of ``esm`` that are used, or say which package is in the way."""
    names = {
        "esmc": "esm.models.esmc",
        "esm3": "esm.models.esm3",
        "root": "esm.utils.constants.esm3",
    }
    try:
        return SimpleNamespace(**{k: importlib.import_module(name) for k, name in names.items()})
    except ImportError as error:
        reason = str(error)
    try:
        version = metadata.version("fair-esm")
    except metadata.PackageNotFoundError:
        pass
    else:
        raise InputError(
            f"fair-esm {version} is installed, whose import name is 'esm' too",
            allowed="the package 'esm', which holds ESM C and ESM3",
            todo="pip uninstall fair-esm, then pip install 'sci-interp[esm]'; "
            "ESM-2 itself loads through transformers: model='facebook/esm2_t6_8M_UR50D'",
        )
    try:
        version = metadata.version("esm")
    except metadata.PackageNotFoundError:
        raise MissingExtraError("esm", "esm") from None
    raise InputError(f"esm {version} cannot be imported: {reason}", todo="Install what it lacks")


def _download(name: str, modules: SimpleNamespace) -> Path:
    if name not in NATIVE:
        raise UnknownNameError("model of the esm package", name, NATIVE)
    key, file = NATIVE[name]
    try:
        folder: Path = modules.root.data_root(key)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"esm:{name} cannot be downloaded: {reason}",
            todo="Check the network connection, or name a downloaded file: 'esm:FILE.pth'",
        ) from None
    return folder / file


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # noqa: BLE001 - damage shows in many types; each is reported
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} cannot be read: {reason}",
            allowed="*.safetensors, or *.pth that hold tensors and nothing else",
        ) from None
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{path} holds no table of tensors", allowed="a saved state dict")
    return found


def _n_blocks(weights: Mapping[str, Tensor]) -> int:
    blocks = {name.split(".")[2] for name in weights if name.startswith("transformer.blocks.")}
    return len(blocks)


def _build_esmc(weights: Mapping[str, Tensor], modules: SimpleNamespace) -> nn.Module:
    width = weights[_EMBEDDING].shape[1]
    # The tokenizer only tells padding where no sequence id is given; it always is.
    model: nn.Module = modules.esmc.ESMC(
        d_model=width,
        n_heads=width // HEAD_WIDTH,
        n_layers=_n_blocks(weights),
        tokenizer=None,
        use_flash_attn=False,
    )
    return model


def _build_esm3(weights: Mapping[str, Tensor], modules: SimpleNamespace) -> nn.Module:
    if _SCALE_3 not in weights:
        raise InputError("the ESM3 weights lack the geometric attention", allowed=_SCALE_3)
    width = weights[_EMBEDDING_3].shape[1]
    model: nn.Module = modules.esm3.ESM3(
        d_model=width,
        n_heads=width // HEAD_WIDTH,
        v_heads=len(weights[_SCALE_3]),
        n_layers=_n_blocks(weights),
        structure_encoder_fn=_refuse_structure,
        structure_decoder_fn=_refuse_structure,
        function_decoder_fn=_refuse_structure,
        # The forward pass asks the tokenizers for one number.
        tokenizers=SimpleNamespace(sequence=SimpleNamespace(mask_token_id=MASK)),
    )
    return model


def _refuse_structure(_device: Any) -> nn.Module:
    raise SciInterpError("ESM3 is used on sequences alone here")
