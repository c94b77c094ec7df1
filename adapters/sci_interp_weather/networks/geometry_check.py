"""Does a layer move where its geometry says? One input cell is changed, and the change is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError
from sci_interp_weather.fields import Fields
from sci_interp_weather.grids import Grid
from sci_interp_weather.times import hours_since
from sci_interp_weather.tokens import from_tokens

from .base import Network

__all__ = ["GeometryCheck", "check_geometry", "read_inputs"]

#: Shares of the grid's height and width where cells are changed: no symmetry maps them onto
#: themselves.
_PLACES = ((0.12, 0.18), (0.3, 0.62), (0.4, 0.9), (0.62, 0.35), (0.75, 0.78), (0.9, 0.07))
_ENOUGH = 0.75


@dataclass(frozen=True, eq=False)
class GeometryCheck:
    """Where cells were changed and where the layer answered most.

    Attributes
    ----------
    layer : str
        The layer.
    changed : (n, 2) int64
        Row and column of the token that holds the changed cell.
    moved : (n, 2) int64
        Row and column of the token that moved most, over all levels.
    near : (n,) bool
        Whether the two are no further apart than the tolerance.
    """

    layer: str
    changed: NDArray[np.int64]
    moved: NDArray[np.int64]
    near: NDArray[np.bool_]


def check_geometry(
    network: Network,
    fields: Fields,
    *,
    layer: str | None = None,
    record: str | None = None,
    tolerance: int = 1,
) -> GeometryCheck:
    """Change single input cells and check that the layer moves most near them.

    Every variable is raised by its standard deviation at six cells, one after the other; three
    quarters of the answers must lie within the tolerance.

    Parameters
    ----------
    network
        The network to check; bound to the fields' grid here.
    fields
        Any fields that it can read.
    layer
        The layer; by default the network's.
    record
        Time of the record; by default the first one with all input times.
    tolerance
        How many tokens the answer may be off, in either direction.

    Returns
    -------
    GeometryCheck
        What was found.

    Raises
    ------
    InputError
        If the layer moves elsewhere; the message names the likely mistake. Also if it does not
        move at all, or no record has all input times.
    """
    network = network.bind(fields.grid)
    layer = layer or network.default_layer
    inputs, hours = _first_inputs(network, fields, record)
    tokens = network.token_grid(layer)
    cells = _cells(fields.grid, tokens)
    moved = [_answer(network, layer, inputs, hours, cell) for cell in cells]
    here, there = np.array(list(cells.values())), np.array(moved)
    if not np.any(there >= 0):
        raise InputError(
            f"layer {layer!r} does not move when an input cell is changed",
            todo="Check that prepare= hands the inputs on",
        )
    near = _near(here, there, tokens, tolerance)
    if near.mean() < _ENOUGH:
        raise InputError(
            _describe(layer, fields.grid, tokens, list(cells), there, near),
            todo=_diagnosis(here, there, tokens, tolerance),
        )
    return GeometryCheck(layer, here, there, near)


def read_inputs(
    network: Network, fields: Fields, records: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return inputs ``(n, n_offsets, n_variables, n_rows, n_columns)`` and hours ``(n,)``.

    Parameters
    ----------
    network
        Which variables and input times.
    fields
        Where they are read.
    records
        Positions of the records' times ``(n,)``.

    Raises
    ------
    InputError
        If an input time is missing.
    UnknownNameError
        If a variable is missing.
    """
    hours = hours_since(fields.times)
    wanted = hours[records][:, None] + np.array(network.offsets, dtype=np.float64)
    at = np.clip(np.searchsorted(hours, wanted - 1e-3), 0, len(hours) - 1)
    missing = np.abs(hours[at] - wanted) > 1e-2
    if missing.any():
        record, offset = np.argwhere(missing)[0]
        raise InputError(
            f"the fields lack the time {network.offsets[offset]:+d} hours from "
            f"{fields.time_labels[int(records[record])]}",
            allowed="records whose input times are all present",
        )
    columns = [
        np.stack([fields.read(name, at[:, o]) for name in network.variables], axis=1)
        for o in range(len(network.offsets))
    ]
    return np.stack(columns, axis=1), hours[records]


def _first_inputs(
    network: Network, fields: Fields, record: str | None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    if record is not None:
        return read_inputs(network, fields, np.array([fields.index_of(record)]))
    hours = hours_since(fields.times)
    for offset in network.offsets:
        hours = hours[np.isin(hours + offset, hours_since(fields.times))]
    if hours.size == 0:
        raise InputError(
            f"no record has all input times {network.offsets} (hours)",
            todo="Give fields with that spacing",
        )
    first = np.searchsorted(hours_since(fields.times), hours[:1])
    return read_inputs(network, fields, first)


def _cells(grid: Grid, tokens: Grid) -> dict[tuple[int, int], tuple[int, int]]:
    """Return the cells to change and the tokens that hold them; not all rows have tokens."""
    n_rows, n_columns = grid.shape
    places = [(int(y * n_rows), int(x * n_columns)) for y, x in _PLACES]
    found = {(r, c): tokens.nearest(grid.latitude[r], grid.longitude[c]) for r, c in places}
    return {place: token for place, token in found.items() if token is not None}


def _answer(
    network: Network,
    layer: str,
    inputs: NDArray[np.float32],
    hours: NDArray[np.float64],
    cell: tuple[int, int],
) -> tuple[int, int]:
    """Return row and column of the token that moves most; -1 where none does."""
    raised = inputs.copy()
    raised[:, :, :, cell[0], cell[1]] += inputs.std(axis=(0, 1, 3, 4)) + 1e-6
    both = [network.run(values, hours, [layer])[layer][0].double() for values in (inputs, raised)]
    size = (both[1] - both[0]).square().sum(dim=-1).numpy()
    if not size.max() > 0:
        return (-1, -1)
    shape = network.token_grid(layer).shape
    sums = from_tokens(size, shape, network.n_levels(layer)).sum(axis=0)
    row, column = np.unravel_index(int(np.argmax(sums)), shape)
    return int(row), int(column)


def _near(
    here: NDArray[np.int64], there: NDArray[np.int64], tokens: Grid, tolerance: int
) -> NDArray[np.bool_]:
    apart = np.abs(here - there)
    if tokens.periodic:
        apart[:, 1] = np.minimum(apart[:, 1], tokens.shape[1] - apart[:, 1])
    return np.asarray((apart <= tolerance).all(axis=1) & (there[:, 0] >= 0))


def _describe(
    layer: str,
    grid: Grid,
    tokens: Grid,
    cells: list[tuple[int, int]],
    there: NDArray[np.int64],
    near: NDArray[np.bool_],
) -> str:
    first = int(np.argmin(near))
    row, column = cells[first]
    moved = "nothing moves"
    if there[first, 0] >= 0:
        moved = (
            f"it moves most at {tokens.latitude[there[first, 0]]:g} N "
            f"{tokens.longitude[there[first, 1]]:g} E"
        )
    return (
        f"layer {layer!r} does not lie where its geometry says: when the input at "
        f"{grid.latitude[row]:g} N {grid.longitude[column]:g} E is changed, {moved}"
    )


def _diagnosis(
    here: NDArray[np.int64], there: NDArray[np.int64], tokens: Grid, tolerance: int
) -> str:
    """Name the mistake under which the answers lie where they should."""
    n_rows, n_columns = tokens.shape
    flat = there[:, 0] * n_columns + there[:, 1]
    transposed = there[:, 1] * n_rows + there[:, 0]
    half = (there[:, 1] + n_columns // 2) % n_columns
    readings: dict[str, Callable[[], tuple[NDArray[np.int64], NDArray[np.int64]]]] = {
        "its latitudes seem to run from south to north: set south_first=True": (
            lambda: (n_rows - 1 - there[:, 0], there[:, 1])
        ),
        "its longitudes seem to start half a circle away: set first_longitude=": (
            lambda: (there[:, 0], half)
        ),
        "its longitudes seem to run from east to west": (
            lambda: (there[:, 0], n_columns - 1 - there[:, 1])
        ),
        "latitude and longitude seem to be exchanged in the layout": (
            lambda: (flat % n_rows, flat // n_rows)
        ),
        "longitude and latitude seem to be exchanged in the layout": (
            lambda: (transposed // n_columns, transposed % n_columns)
        ),
    }
    for text, reading in readings.items():
        if _near(here, np.stack(reading(), axis=1), tokens, tolerance).mean() >= _ENOUGH:
            return f"Likely cause: {text}"
    return "Check the layout, the patch, and what prepare= does with the inputs"
