"""Spherical Fourier neural operators of torch-harmonics: a folder, or a model -> a network."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sci_interp.errors import InputError, MissingExtraError
from sci_interp_weather.grids import Grid

from .module_network import ModuleNetwork

__all__ = ["SfnoNetwork", "load_sfno"]

_LAYOUT = "batch channel latitude longitude"
_LARGEST = 4 * 2**30


class SfnoNetwork(ModuleNetwork):
    """A ``SphericalFourierNeuralOperator``; layers ``encoder``, ``blocks.0`` ...

    All but the first and the last lie on the operator's internal grid, which is coarser by its
    scale factor and may be Gaussian.

    Parameters
    ----------
    model
        The operator, for a grid from pole to pole that starts at ``first_longitude``.
    variables, offsets
        What it reads; times and variables are its channels, times outermost.
    lead, targets
        What it forecasts; by default nothing.
    mean, scale
        Of every variable, for standardised networks; targets are among the variables then.
    latitude
        Rows of its grid, where it is not evenly spaced from pole to pole.
    first_longitude
        Its first column.
    name
        Identity for the reader.

    Raises
    ------
    InputError
        If the channels or the standardisation do not match the variables, or a target is none.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        variables: Sequence[str],
        offsets: Sequence[int] = (0,),
        lead: int = 0,
        targets: Sequence[str] = (),
        mean: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        latitude: Sequence[float] | None = None,
        first_longitude: float = 0.0,
        name: str = "sfno",
    ) -> None:
        operator: Any = model
        n_rows, n_columns = operator.img_size
        rows = np.linspace(90, -90, n_rows) if latitude is None else np.asarray(latitude)
        columns = (first_longitude + np.arange(n_columns) * 360.0 / n_columns) % 360.0
        grid = Grid.regular(rows, columns)
        _check_channels(operator, variables, offsets, targets, (mean, scale))
        inner = _internal_grid(operator, first_longitude)
        blocks = [f"blocks.{i}" for i in range(operator.num_layers)]
        centre = torch.tensor(mean if mean is not None else [0.0] * len(variables))
        spread = torch.tensor(scale if scale is not None else [1.0] * len(variables))
        chosen = [list(variables).index(target) for target in targets]
        super().__init__(
            model,
            layers=dict.fromkeys(["encoder", *blocks], _LAYOUT),
            grid=grid,
            variables=variables,
            offsets=offsets,
            lead=lead,
            targets=targets,
            token_grids=dict.fromkeys(blocks[:-1], inner),
            first_longitude=first_longitude,
            prepare=lambda fields, _hours: _standardised(fields, centre, spread),
            finish=lambda output: _restored(output, centre[chosen], spread[chosen]),
            default_layer=blocks[max(0, round(2 * len(blocks) / 3) - 1)],
            name=name,
        )


def load_sfno(folder: Path, name: str) -> SfnoNetwork:
    """Load a folder with ``config.json`` and ``model.safetensors``.

    ``config.json`` holds ``architecture`` (arguments of ``SphericalFourierNeuralOperator``) and
    the settings of :class:`SfnoNetwork`.

    Raises
    ------
    MissingExtraError
        If torch-harmonics is not installed.
    InputError
        If a file cannot be read, or the weights do not fit the architecture.
    """
    config_path, path = folder / "config.json", folder / "model.safetensors"
    try:
        config: Any = json.loads(config_path.read_bytes())
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is larger than {_LARGEST:,} bytes")
        weights = load_file(path)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder} cannot be loaded: {error}",
            allowed="a folder with config.json and model.safetensors",
        ) from None
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), dict):
        raise InputError(f"{config_path} has no table 'architecture'")
    settings = {key: value for key, value in config.items() if key != "architecture"}
    try:
        model: nn.Module = _operator_class()(**config["architecture"])
        model.load_state_dict(weights)
        return SfnoNetwork(model, name=name, **settings)
    except InputError as error:
        what = f"{config_path}: {error.what}"
        raise InputError(what, allowed=error.allowed, todo=error.todo) from None
    except MissingExtraError:
        raise
    except Exception as error:  # noqa: BLE001 - torch-harmonics computes with what it is given
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{folder} does not describe an operator of torch-harmonics: {reason}",
            todo="Correct config.json, or take both files from the same training run",
        ) from None


def _operator_class() -> Any:
    try:
        models = importlib.import_module("torch_harmonics.examples.models.sfno")
    except ImportError:
        raise MissingExtraError("torch-harmonics", "sfno") from None
    return models.SphericalFourierNeuralOperator


def _internal_grid(operator: Any, first_longitude: float) -> Grid:
    """Return the grid of the operator's inner blocks."""
    quadrature = importlib.import_module("torch_harmonics.quadrature")
    sizes = operator.h, operator.w
    if operator.grid_internal == "equiangular":
        colatitude = np.linspace(0, np.pi, sizes[0])
    elif operator.grid_internal == "legendre-gauss":
        cosines = np.asarray(quadrature.legendre_gauss_weights(sizes[0])[0])
        colatitude = np.arccos(np.sort(cosines)[::-1])
    else:
        raise InputError(
            f"the operator's internal grid {operator.grid_internal!r} is not known here",
            allowed="equiangular, legendre-gauss",
        )
    columns = first_longitude + np.arange(sizes[1]) * 360.0 / sizes[1]
    return Grid.regular(90.0 - np.degrees(colatitude), columns)


def _check_channels(
    operator: Any,
    variables: Sequence[str],
    offsets: Sequence[int],
    targets: Sequence[str],
    standards: tuple[Sequence[float] | None, ...],
) -> None:
    wanted = {"in_chans": len(variables) * len(offsets)}
    if targets:
        wanted["out_chans"] = len(targets)
    for name, number in wanted.items():
        if getattr(operator, name) != number:
            raise InputError(
                f"the operator has {name} {getattr(operator, name)}, its settings make {number}",
                todo="Name every variable, input time and target that it was made for",
            )
    for numbers in standards:
        if numbers is not None and len(numbers) != len(variables):
            raise InputError(
                f"mean and scale have {len(numbers)} numbers for {len(variables)} variables"
            )
    strange = [target for target in targets if target not in variables]
    if strange:
        raise InputError(
            f"the target {strange[0]!r} is not among the variables", allowed=", ".join(variables)
        )


def _standardised(fields: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    shape = (1, 1, -1, 1, 1)
    centred = fields - mean.to(fields).view(shape)
    return (centred / scale.to(fields).view(shape)).flatten(1, 2)


def _restored(output: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    shape = (1, -1, 1, 1)
    return output * scale.to(output).view(shape) + mean.to(output).view(shape)
