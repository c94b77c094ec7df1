"""Forecast error of a network, with one layer's output replaced where asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sci_interp.adapter import TokenLoss
from sci_interp.errors import InputError, NotFiniteError

from .datasets import WeatherDataset

__all__ = ["forecast_loss", "require_forecast", "require_targets"]


def require_forecast(name: str, lead: int) -> None:
    """Refuse a network that forecasts nothing.

    Raises
    ------
    InputError
        If the lead is 0.
    """
    if lead == 0:
        raise InputError(
            f"{name} makes no forecast, so it has no forecast error",
            todo="Use a forecast network, or leave out what needs the loss: fidelity of the "
            "autoencoder and effects of interventions",
        )


def require_targets(dataset: WeatherDataset) -> None:
    """Refuse data that lack what the network forecasts: there is nothing to compare it with.

    Raises
    ------
    InputError
        If a target is not among the fields.
    """
    targets, fields = dataset.needs.targets, dataset.fields
    missing = [name for name in targets if not fields.has(name)]
    if missing:
        raise InputError(
            f"the data lack {', '.join(missing)}, which the network forecasts; they hold "
            f"{', '.join(fields.variables)}",
            allowed=f"fields with {', '.join(targets)}",
            todo="Add the variables to the data, or say what they are called in the files: "
            f"variables={{{missing[0]!r}: 'NAME IN THE FILE', ...}}",
        )


def forecast_loss(
    dataset: WeatherDataset,
    records: Sequence[str],
    forecast: Callable[[Sequence[str]], NDArray[np.float32]],
    *,
    batch_size: int,
) -> TokenLoss:
    """Return the squared forecast error in climatological variances, summed over cells.

    The error of every target is divided by the standard deviation of its departures from the
    climatology, squared, averaged over targets and over the token's cell, and weighted with the
    cell's area in units of the mean cell. A forecast of the climatology has a loss near 1 per
    token. A cell with several levels counts once. Records whose forecast time is not among the
    data are not scored, nor are cells that the network does not forecast (NaN: a row that its
    patches leave over).

    Parameters
    ----------
    dataset
        The data.
    records
        Records to score.
    forecast
        Maps records to the forecast ``(n, n_targets, n_rows, n_columns)`` in physical units.
    batch_size
        Most records at once.

    Raises
    ------
    InputError
        If the data lack a target.
    NotFiniteError
        If a forecast holds infinity, or no number at all.
    """
    require_targets(dataset)
    targets = dataset.needs.targets
    scored = [record for record in records if dataset.truth(record) is not None]
    area = np.broadcast_to(dataset.grid.row_weights()[:, None], dataset.grid.shape)
    weights = area / area.mean()
    total, n_cells = 0.0, 0
    for start in range(0, len(scored), batch_size):
        batch = scored[start : start + batch_size]
        found = forecast(batch)
        if np.isinf(found).any() or np.isnan(found).all(axis=(1, 2, 3)).any():
            raise NotFiniteError(
                f"the forecast of one of the records {batch[0]} to {batch[-1]} is not finite"
            )
        places = np.array([dataset.truth(record) for record in batch], dtype=np.int64)
        error = np.zeros((len(batch), *dataset.fields.grid.shape))
        for at, name in enumerate(targets):
            deviation = dataset.climatology.variables[name].deviation
            wrong = found[:, at].astype(np.float64) - dataset.fields.read(name, places)
            error += (wrong / deviation) ** 2 / len(targets)
        absent = np.isnan(error)
        cells = dataset.cell_means.of(np.where(absent, 0.0, error))
        told = dataset.cell_means.of(absent.astype(np.float64)) == 0
        total += float((np.where(told, cells, 0.0) * weights).sum(dtype=np.float64))
        n_cells += int(told.sum())
    return TokenLoss(total, n_cells)
