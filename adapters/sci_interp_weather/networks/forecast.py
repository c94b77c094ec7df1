"""The project's own forecast networks: a folder with sizes and weights -> a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.grids import Grid

from .forecast_model import ForecastConfig, ForecastModel
from .module_network import ModuleNetwork

__all__ = ["BUNDLED", "ForecastNetwork", "find_bundled", "load_forecast"]

#: Folders of the networks that come with the package; the first is the default.
BUNDLED = {"forecast": Path(__file__).parents[1] / "data" / "forecast"}
_LAYOUT = "batch channel latitude longitude"
_LARGEST = 64 * 2**20
#: Of hours and sizes.
_MOST = 1_000_000


def _is_degree(value: object) -> bool:
    return type(value) in (int, float) and -360 <= value <= 720  # type: ignore[operator]


#: What stands in the lists of ``config.json``.
_LISTS: dict[str, Callable[[object], bool]] = {
    "variables": lambda value: isinstance(value, str),
    "offsets": lambda value: type(value) is int and abs(value) <= _MOST,
    "latitude": _is_degree,
    "longitude": _is_degree,
}


class ForecastNetwork(ModuleNetwork):
    """A :class:`ForecastModel`; layers ``stem``, ``blocks.0`` ..., one token per grid cell.

    Parameters
    ----------
    model
        The network, which knows its grid and its variables.
    name
        Identity for the reader.
    """

    def __init__(self, model: ForecastModel, name: str) -> None:
        config = model.config
        blocks = [f"blocks.{index}" for index in range(config.n_blocks)]
        super().__init__(
            model,
            layers=dict.fromkeys(["stem", *blocks], _LAYOUT),
            grid=Grid.regular(config.latitude, config.longitude),
            variables=config.variables,
            offsets=config.offsets,
            lead=config.lead,
            targets=config.variables,
            prepare=lambda inputs, hours: (inputs, hours),
            default_layer=blocks[max(0, round(2 * len(blocks) / 3) - 1)],
            name=name,
        )


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


def load_forecast(folder: Path, name: str) -> ForecastNetwork:
    """Load ``config.json`` and ``model.safetensors``.

    Parameters
    ----------
    folder
        Where they are.
    name
        Identity for the reader.

    Raises
    ------
    InputError
        If a file is missing, damaged or not the one that ``config.json`` names by its digest,
        or if the weights do not fit the sizes.
    """
    config, digest = _read_config(folder / "config.json")
    path = folder / "model.safetensors"
    content = _read_bytes(path)
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(
            f"{path} is not the file that config.json was written for: its SHA-256 differs",
            todo="Restore both files from the same training run",
        )
    try:
        weights = load(content)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    _require_sizes(config, weights, path)
    model = ForecastModel(config)
    _require_same_shapes(model.state_dict(), weights, path)
    model.load_state_dict(weights)
    return ForecastNetwork(model, name)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is larger than {_LARGEST:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}", todo="Restore the file") from None


def _read_config(path: Path) -> tuple[ForecastConfig, str]:
    try:
        found: Any = json.loads(_read_bytes(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict) or found.get("model_type") != "forecast":
        raise InputError(f"{path} does not describe a forecast network of this package")
    digest = found.get("weights_sha256")
    if not isinstance(digest, str):
        raise InputError(f"{path} has no weights_sha256")
    for name in ForecastConfig.names():
        value = found.get(name)
        if name in _LISTS:
            usable = isinstance(value, list) and value and all(map(_LISTS[name], value))
        else:
            usable = type(value) is int and 0 < value <= _MOST
        if not usable:
            raise InputError(
                f"{path} gives no usable {name}: {str(value)[:200]}",
                allowed="lists of names, of whole hours and of degrees; positive whole numbers",
            )
    values: dict[str, Any] = {name: found[name] for name in ForecastConfig.names()}
    values |= {name: tuple(found[name]) for name in _LISTS}
    return ForecastConfig(**values), digest


def _require_sizes(config: ForecastConfig, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse sizes that the weights do not have, before a network of these sizes is made."""
    n_terms = 1 + 2 * config.n_harmonics
    grid = (len(config.latitude), len(config.longitude))
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    n_blocks = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    found = (n_blocks, shapes.get("norm.weight"), shapes.get("climatology"))
    wanted = (config.n_blocks, (config.width,), (len(config.variables), n_terms, *grid))
    if found != wanted:
        raise InputError(
            f"{path} does not fit the sizes in config.json: its blocks, width and climatology are "
            f"{found}",
            allowed=f"{wanted}",
            todo="Take both files from the same training run",
        )


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
