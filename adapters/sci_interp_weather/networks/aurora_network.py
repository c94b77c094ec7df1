"""Aurora through microsoft-aurora: a published or local checkpoint, or a model -> a network."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.grids import Grid

from .module_network import ModuleNetwork
from .static_fields import read_static
from .torchvision_trap import import_aurora

__all__ = ["CHECKPOINTS", "LEVELS", "AuroraNetwork", "load_aurora"]

#: Published checkpoints that forecast without chance, and their classes in the package.
CHECKPOINTS = {
    "aurora-0.25-finetuned": "Aurora",
    "aurora-0.25-pretrained": "AuroraPretrained",
    "aurora-0.25-small-pretrained": "AuroraSmallPretrained",
    "aurora-0.25-12h-pretrained": "Aurora12hPretrained",
    "aurora-0.1-finetuned": "AuroraHighRes",
    "aurora-0.4-air-pollution": "AuroraAirPollution",
    "aurora-0.25-wave": "AuroraWave",
    "aurora-0.25-v1.5": "AuroraV1p5",
}
#: Pressure levels, in hPa, that the published networks were trained on.
LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
#: This package's names of Aurora's surface variables; the others are the same.
_SURFACE = {"2t": "t2m", "2d": "d2m", "10u": "u10", "10v": "v10", "100u": "u100", "100v": "v100"}
_COMPUTED = "insolation"
_LAYOUT = "batch (level latitude longitude) channel"
_EPOCH = datetime(1970, 1, 1)


class AuroraNetwork(ModuleNetwork):
    """An Aurora model; layers ``backbone.encoder_layers.S.blocks.J``.

    Tokens are patches on latent levels: level 0 is the surface, the others are learned mixtures
    of pressure levels, not pressures. The sizes of a layer are taken from its call. Where a grid
    has one row more than its patches, Aurora leaves the southernmost out, and so does the
    forecast (NaN there).

    Parameters
    ----------
    model
        A model of the package, with its weights.
    static
        Its static fields ``(n_rows, n_columns)`` on the fields' grid (north first, longitudes
        as there), by Aurora's names: ``"lsm"`` (0 to 1), ``"z"`` (surface geopotential, m2 s-2),
        ``"slt"`` (soil type).
    levels
        Pressure levels of the atmospheric variables, in hPa.
    name
        Identity for the reader.

    Raises
    ------
    InputError
        If a static field is missing.

    References
    ----------
    Bodnar et al. 2025, "A foundation model for the Earth system", Nature 641.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        static: Mapping[str, NDArray[Any]],
        levels: Sequence[int] = LEVELS,
        name: str = "aurora",
    ) -> None:
        published: Any = model
        missing = [key for key in published.static_vars if key not in static]
        if missing:
            raise InputError(
                f"{name} needs the static field {missing[0]!r}",
                allowed=f"static={{name: field}} with {', '.join(published.static_vars)}",
            )
        self.static = {key: np.asarray(static[key], np.float32) for key in published.static_vars}
        self._surface = _surface_inputs(published)
        self._atmosphere, self._pressure = tuple(published.atmos_vars), tuple(levels)
        variables = [_SURFACE.get(key, key) for key in self._surface]
        variables += [f"{key}{level}" for key in self._atmosphere for level in levels]
        patches = {
            f"backbone.encoder_layers.{s}.blocks.{j}": published.patch_size * 2**s
            for s, stage in enumerate(published.backbone.encoder_layers)
            for j in range(len(stage.blocks))
        }
        names = list(patches)
        step = int(published.timestep / timedelta(hours=1))
        super().__init__(
            model,
            layers=dict.fromkeys(names, _LAYOUT),
            grid=None,
            variables=variables,
            offsets=[-step * back for back in reversed(range(published.max_history_size))],
            patch={layer: (size, size) for layer, size in patches.items()},
            lead=step,
            targets=variables,
            first_longitude=0.0,
            sizes=_called_sizes,
            default_layer=names[max(0, round(2 * len(names) / 3) - 1)],
            name=name,
        )

    def bind(self, grid: Grid) -> AuroraNetwork:
        """Return this network on a global grid.

        Raises
        ------
        InputError
            If the grid is not global, its columns are not whole patches, more than one row is
            left over, or a static field has another shape.
        """
        published: Any = self.module
        size = published.patch_size
        if not grid.periodic or grid.shape[0] % size > 1 or grid.shape[1] % size:
            raise InputError(
                f"{self.name} cannot read a grid of {grid.shape[0]} x {grid.shape[1]} cells"
                + ("" if grid.periodic else " that does not go around the globe"),
                allowed=f"global grids of whole patches of {size} x {size}, one row may be left",
            )
        for key, values in self.static.items():
            if values.shape != grid.shape:
                raise InputError(
                    f"the static field {key!r} has the shape {values.shape}",
                    allowed=f"{grid.shape}, the grid of the fields",
                )
        return super().bind(grid)

    def _on_small_grid(self, grid: Grid) -> AuroraNetwork:
        small = copy.copy(self)
        small.static = {key: np.zeros(grid.shape, np.float32) for key in self.static}
        return small.bind(grid)

    def _call(self, fields: Tensor, hours: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        aurora = import_aurora()
        published: Any = self.module
        grid, n_surface = self.geometry.require_grid(), len(self._surface)
        n, n_times, _, n_rows, n_columns = fields.shape
        latitude = torch.from_numpy(grid.latitude.copy())
        longitude = torch.from_numpy(grid.longitude % 360.0)
        surface, upper = fields[:, :, :n_surface], fields[:, :, n_surface:]
        shape = (n, n_times, len(self._atmosphere), len(self._pressure), n_rows, n_columns)
        times = tuple(_EPOCH + timedelta(hours=hour) for hour in hours.tolist())
        batch = aurora.Batch(
            surf_vars={key: surface[:, :, i] for i, key in enumerate(self._surface)},
            atmos_vars=dict(zip(self._atmosphere, upper.reshape(shape).unbind(2), strict=True)),
            static_vars={
                key: self.geometry.to_network(torch.from_numpy(values)).to(fields.device)
                for key, values in self.static.items()
            },
            metadata=aurora.Metadata(
                lat=latitude,
                lon=self.geometry.to_network(longitude.expand(1, -1))[0],
                time=times,
                atmos_levels=self._pressure,
            ),
        )
        if _COMPUTED in published.surf_vars:
            batch.surf_vars[_COMPUTED] = self._insolation(batch, fields)
        keywords = {}
        if published.variable_lead_time:
            keywords["lead_times"] = torch.full((n,), float(self.lead))
        return (batch,), keywords

    def _insolation(self, batch: Any, fields: Tensor) -> Tensor:
        """Return the sunlight at every input time ``(n, n_times, n_rows, n_columns)``."""
        insolation = import_aurora().insolation
        place = [
            axis.numpy().astype(np.float32) for axis in (batch.metadata.lat, batch.metadata.lon)
        ]
        offsets = [timedelta(hours=offset) for offset in self.offsets]
        values = [
            np.asarray(insolation([time + o for o in offsets], *place, enforce_2d=True))
            for time in batch.metadata.time
        ]
        return torch.from_numpy(np.stack(values)).to(fields)

    def _finished(self, output: Any) -> Tensor:
        surface = [output.surf_vars[key][:, 0] for key in self._surface]
        upper = [output.atmos_vars[key][:, 0] for key in self._atmosphere]
        found = torch.cat([torch.stack(surface, dim=1), *upper], dim=1)
        left_out = self.geometry.require_grid().shape[0] - found.shape[-2]
        return nn.functional.pad(found, (0, 0, 0, left_out), value=float("nan"))


def load_aurora(
    name: str,
    *,
    variant: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AuroraNetwork:
    """Load a published checkpoint by its name, or one from a file.

    Parameters
    ----------
    name
        A name in :data:`CHECKPOINTS`, downloaded by the package, or a local checkpoint, of which
        tensors alone are read.
    variant
        Class of the package that the file belongs to; by default told by the file's name.
    architecture
        Arguments of that class, for networks of other sizes.
    **settings
        Those of :class:`AuroraNetwork`; ``static`` is needed, and may be the path of a NetCDF
        file with variables of these names.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    UnknownNameError
        If there is no such checkpoint or class.
    InputError
        If it cannot be downloaded or read, or does not fit the class.
    """
    path = Path(name).expanduser()
    stem, variant = _variant(name, path, variant)
    if "static" not in settings:
        raise InputError(
            f"aurora:{name} needs its static fields",
            allowed="static={'lsm': field, 'z': field, 'slt': field} on the fields' grid, or a "
            "NetCDF file that holds them",
        )
    aurora = import_aurora()
    try:
        model = getattr(aurora, variant)(**(architecture or {}))
        if path.is_file():
            model.load_checkpoint_local(str(path))
        else:
            model.load_checkpoint()
    except Exception as error:  # noqa: BLE001 - damage shows in many types; each is reported
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"aurora:{name} cannot be loaded as {variant}: {reason}",
            todo="Check the file and its architecture, or the network connection",
        ) from None
    static = settings.pop("static")
    if isinstance(static, str | Path):
        static = read_static(Path(static).expanduser(), model.static_vars)
    return AuroraNetwork(model, static=static, name=f"aurora:{stem}", **settings)


def _variant(name: str, path: Path, variant: str | None) -> tuple[str, str]:
    """Return the name of a checkpoint without its suffix, and its class in the package."""
    stem = path.name.removesuffix(".ckpt")
    if not path.is_file() and name.removesuffix(".ckpt") not in CHECKPOINTS:
        raise UnknownNameError("Aurora checkpoint", name, CHECKPOINTS)
    if variant is None and stem not in CHECKPOINTS:
        raise InputError(
            f"the name of {path} does not tell which Aurora it holds",
            allowed=f"variant= one of {', '.join(CHECKPOINTS.values())}",
        )
    variant = variant or CHECKPOINTS[stem]
    if variant not in CHECKPOINTS.values():
        raise UnknownNameError("variant of Aurora", variant, CHECKPOINTS.values())
    return stem, variant


def _surface_inputs(model: Any) -> tuple[str, ...]:
    """Return the surface variables that a model reads, before it splits them into channels."""
    left_out = {*model.output_only_surf_vars, _COMPUTED}
    names = [key for key in model.surf_vars if key not in left_out]
    return tuple(dict.fromkeys(re.sub("_(density|sin|cos)$", "", key) for key in names))


def _called_sizes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, int]:
    """Read the sizes of a block from its call ``block(x, c, res, ...)``."""
    sizes = kwargs["res"] if "res" in kwargs else args[2]
    return dict(zip(("level", "latitude", "longitude"), sizes, strict=True))
