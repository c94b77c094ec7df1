"""The networks that come with the package: dilated convolutions trained by this project."""

from __future__ import annotations

from collections.abc import Mapping
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

#: No width, number of blocks or dilation is larger.
MAX_SIZE = 2**31 - 1


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


def load_bytenet(folder: Path, config: Mapping[str, Any], name: str) -> ByteNetNetwork:
    """Load ``model.safetensors`` of a dilated-convolution network.

    Parameters
    ----------
    folder
        Where the weights are.
    config
        The sizes: the contents of ``config.json`` beside them.
    name
        Name of the network in manifests.

    Raises
    ------
    InputError
        If a size is missing, the file is missing or damaged, or the weights do not fit the sizes.
    """
    path = folder / "model.safetensors"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}", todo="Restore the file") from None
    sizes = _read_sizes(config, folder / "config.json")
    n_blocks = sum(name.startswith("blocks.") and name.endswith(".narrow.bias") for name in weights)
    if n_blocks != sizes.n_blocks:
        raise InputError(f"{path} has {n_blocks} blocks, config.json says {sizes.n_blocks}")
    try:
        with torch.device("meta"):
            model = ByteNet(sizes)
    except (RuntimeError, ValueError, OverflowError):
        raise InputError(f"{folder / 'config.json'} gives sizes that no tensor has") from None
    _require_same_shapes(model.state_dict(), weights, path)
    model.to_empty(device="cpu")
    # Copied, for the file may be replaced while its pages are mapped.
    model.load_state_dict(weights)
    return ByteNetNetwork(name, model, model)


def _require_same_shapes(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path
) -> None:
    for name in sorted({*wanted, *found}):
        shapes = [tuple(side[name].shape) if name in side else None for side in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{path} does not fit the sizes in config.json: {name} has the shape {shapes[0]}",
                allowed=f"{shapes[1]}",
                todo="Take both files from the same training run",
            )


def _read_sizes(config: Mapping[str, Any], path: Path) -> ByteNetConfig:
    names = [item.name for item in fields(ByteNetConfig)]
    sizes = {name: config.get(name) for name in names}
    wrong = [n for n, size in sizes.items() if type(size) is not int or not 1 <= size <= MAX_SIZE]
    if wrong:
        raise InputError(
            f"{path} gives no usable {wrong[0]}: {sizes[wrong[0]]!r}",
            allowed=f"whole numbers from 1 to {MAX_SIZE:,} for {', '.join(names)}",
        )
    return ByteNetConfig(**{name: config[name] for name in names})
