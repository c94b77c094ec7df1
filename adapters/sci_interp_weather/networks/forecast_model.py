"""A convolutional forecast of gridded fields: what was and what is -> what will be.

Shapes: B records, O input times, V variables, T targets, H latitudes, W longitudes, D width.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ForecastConfig", "ForecastModel", "seasonal_harmonics"]

_HOURS_PER_YEAR = 24 * 365.2425


@dataclass(frozen=True, slots=True)
class ForecastConfig:
    """Sizes and meaning of a :class:`ForecastModel`; stored beside its weights.

    Attributes
    ----------
    variables : tuple of str
        What it reads, by the canonical names of the weather adapter; it forecasts the same.
    offsets : tuple of int
        Hours of the input times relative to the record's, ascending, the last one 0.
    lead : int
        Hours from the record's time to the forecast's.
    latitude, longitude : tuple of float
        Centres of the grid: degrees north, descending; degrees east, ascending.
    width, n_blocks : int
        Channels of the residual stream; number of its blocks.
    n_harmonics : int
        Of the year, in the climatology.
    """

    variables: tuple[str, ...]
    offsets: tuple[int, ...]
    lead: int
    latitude: tuple[float, ...]
    longitude: tuple[float, ...]
    width: int = 96
    n_blocks: int = 6
    n_harmonics: int = 3

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, for JSON."""
        return asdict(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the attributes."""
        return tuple(item.name for item in fields(cls))


class ForecastBlock(nn.Module):
    """Residual block: normalise each cell, convolve, convolve, add."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output ``(B, D, H, W)``."""
        y = _normalise(self.norm, x)
        y = self.dropout(functional.gelu(self.first(y)))
        added: Tensor = x + self.second(y)
        return added


class ForecastModel(nn.Module):
    """Residual convolutions at full resolution that forecast a change of the anomalies.

    The mean annual cycle of every cell and one scale per variable are buffers of the model: it
    reads and gives fields in physical units. Hook points are ``stem`` and ``blocks.0`` ...
    ``blocks.{n-1}``, each ``(B, D, H, W)``.

    Parameters
    ----------
    config
        The sizes.
    dropout
        Share of the channels that are dropped in training.
    """

    climatology: Tensor
    scale: Tensor
    geometry: Tensor
    _offsets: Tensor

    def __init__(self, config: ForecastConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        n_variables = len(config.variables)
        height, width = len(config.latitude), len(config.longitude)
        n_terms = 1 + 2 * config.n_harmonics
        self.register_buffer("climatology", torch.zeros(n_variables, n_terms, height, width))
        self.register_buffer("scale", torch.ones(n_variables))
        self.register_buffer("geometry", _geometry(config), persistent=False)
        self.register_buffer("_offsets", torch.tensor(config.offsets).double(), persistent=False)
        n_channels = len(config.offsets) * n_variables + 2 + len(self.geometry)
        self.stem = nn.Conv2d(n_channels, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(
            ForecastBlock(config.width, dropout) for _ in range(config.n_blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Conv2d(config.width, n_variables, 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor, hours: Tensor) -> Tensor:
        """Return the forecast ``(B, T, H, W)`` in physical units.

        Parameters
        ----------
        inputs
            ``(B, O, V, H, W)`` float32, physical units.
        hours
            ``(B,)`` float64, hours of the records since 1970.
        """
        anomalies = self.standardise(inputs, hours[:, None] + self._offsets)
        change = self.predict_change(anomalies, hours)
        later = hours + self.config.lead
        return self.restore((anomalies[:, -1] + change)[:, None], later[:, None])[:, 0]

    def predict_change(
        self, anomalies: Tensor, hours: Tensor, geometry: Tensor | None = None
    ) -> Tensor:
        """Return the change ``(B, T, H, W)`` of standardised anomalies ``(B, O, V, H, W)``.

        ``geometry`` ``(3, H, W)`` belongs to a window of the grid; without it, the whole grid.
        """
        n, _, _, height, width = anomalies.shape
        season = seasonal_harmonics(hours, 1)[:, 1:].to(anomalies.dtype)  # (B, 2)
        place = self.geometry if geometry is None else geometry
        channels = [
            anomalies.flatten(1, 2),
            season[:, :, None, None].expand(n, 2, height, width),
            place.expand(n, -1, height, width),
        ]
        x = self.stem(torch.cat(channels, dim=1).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        change: Tensor = self.head(_normalise(self.norm, x))
        return change

    def normals(self, hours: Tensor) -> Tensor:
        """Return the mean annual cycle ``(..., V, H, W)`` at ``hours`` ``(...)``."""
        terms = seasonal_harmonics(hours, self.config.n_harmonics).to(self.climatology.dtype)
        return torch.einsum("...k,vkhw->...vhw", terms, self.climatology)

    def standardise(self, values: Tensor, hours: Tensor) -> Tensor:
        """Return anomalies in units of the scale; ``values`` ``(B, O, V, H, W)``, hours (B, O)."""
        return (values - self.normals(hours)) / self.scale[:, None, None]

    def restore(self, anomalies: Tensor, hours: Tensor) -> Tensor:
        """Invert :meth:`standardise`."""
        return anomalies * self.scale[:, None, None] + self.normals(hours)


def seasonal_harmonics(hours: Tensor, n_harmonics: int) -> Tensor:
    """Return ``(..., 1 + 2 n)`` float64: 1, then cosine and sine of each harmonic of the year.

    Parameters
    ----------
    hours
        Hours since 1970.
    n_harmonics
        How many.
    """
    phase = hours.double() * (2 * math.pi / _HOURS_PER_YEAR)
    terms = [torch.ones_like(phase)]
    for k in range(1, n_harmonics + 1):
        terms += [torch.cos(k * phase), torch.sin(k * phase)]
    return torch.stack(terms, dim=-1)


def _geometry(config: ForecastConfig) -> Tensor:
    """Return latitude and longitude ``(3, H, W)`` as channels of order 1."""
    latitude = torch.deg2rad(torch.tensor(config.latitude, dtype=torch.float64))[:, None]
    longitude = torch.deg2rad(torch.tensor(config.longitude, dtype=torch.float64))[None, :]
    shape = len(config.latitude), len(config.longitude)
    channels = torch.sin(latitude), torch.cos(longitude), torch.sin(longitude)
    return torch.stack([channel.expand(shape) for channel in channels]).float()


def _normalise(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalise the channels of every cell of ``(B, D, H, W)``."""
    normalised: Tensor = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return normalised
