"""The networks that come with the package: dilated convolutions trained by this project."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sci_interp.errors import InputError, UnknownNameError

from .bytenet import ByteNet, ByteNetConfig
from .network import Network

__all__ = ["BUNDLED", "ByteNetNetwork", "find_bundled", "load_bytenet"]

#: Folders of the bundled networks by name; the first is the default.
BUNDLED = {"bytenet": Path(__file__).parent / "data"}


class ByteNetNetwork(Network):
    """A :class:`~sci_interp_protein.bytenet.ByteNet`; layers ``embed``, ``blocks.N``, ``norm``."""

    block_pattern = r"blocks\.\d+"
    landmark_pattern = r"embed|norm"
    whole: ByteNet

    def logits(self, tokens: Tensor) -> Tensor:
        """Return ``(B, L, V)`` for tokens ``(B, L)``; padding is told by its index."""
        result: Tensor = self.whole(tokens)
        return result

    @property
    def reach(self) -> int:
        """How many residues on either side influence a token."""
        config = self.whole.config
        dilations = sum(config.dilation(block) for block in range(config.n_blocks))
        return dilations * (config.kernel // 2)


def find_bundled(name: str) -> Path:
    """Return the folder of a bundled network.

    Raises
    ------
    UnknownNameError
        If there is no bundled network of that name.
    """
    if name not in BUNDLED:
        raise UnknownNameError("bundled model", name, BUNDLED)
    return BUNDLED[name]


def load_bytenet(folder: Path, name: str) -> ByteNetNetwork:
    """Load ``model.safetensors`` and ``config.json`` of a dilated-convolution network.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the weights do not fit the sizes.
    """
    config = _read_sizes(folder / "config.json")
    path = folder / "model.safetensors"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}", todo="Restore the file") from None
    with torch.device("meta"):
        model = ByteNet(config)
    model.to_empty(device="cpu")
    try:
        # Copied, for the file may be replaced while its pages are mapped.
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise InputError(f"{path} does not fit the sizes in config.json: {first}") from None
    return ByteNetNetwork(name, model, model.float())


def _read_sizes(path: Path) -> ByteNetConfig:
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", todo="Restore the file") from None
    names = [item.name for item in fields(ByteNetConfig)]
    sizes = {name: raw[name] for name in names if name in raw}
    wrong = [name for name in names if not isinstance(size := sizes.get(name), int) or size < 1]
    if wrong:
        raise InputError(
            f"{path} gives no usable {wrong[0]}",
            allowed=f"positive integers for {', '.join(names)}",
        )
    return ByteNetConfig(**sizes)
