"""open: fields x files of what is known x network -> WeatherDataset."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from sci_interp.errors import InputError

from .annotations import WeatherAnnotations
from .blocks import BlockRule
from .datasets import Needs, WeatherDataset, build_dataset
from .fields import DEFAULT_LIMIT, Fields
from .indices import load_indices
from .lexicon import canonical_name, parse_name
from .networks.base import Network
from .opening import open_fields
from .options import OpenOptions, parse_options
from .reference import INDICES_FOLDER, SAMPLE_FOLDER, read_sample
from .rivers import MaskReader
from .times import hours_since
from .track_files import load_tracks

__all__ = ["open_dataset"]

#: Fields that labels are found in; they are opened where the data hold them.
_LABEL_VARIABLES: Final = (
    *("msl", "z500", "t850", "ivt", "ivt_u", "ivt_v"),
    *(f"{wind}{level}" for level in (250, 300, 200, 225) for wind in "uv"),
)
_MASK: Final = "ar_mask"


def open_dataset(
    path: str | Path | Sequence[str | Path] | None,
    network: Network,
    layer: str,
    options: Mapping[str, Any],
) -> WeatherDataset:
    """Open fields, what is known of them, and their blocks, on the tokens of a layer.

    Parameters
    ----------
    path
        Files of fields; None for the sample that comes with the package.
    network
        The network, not bound to a grid yet.
    layer
        The layer whose tokens the records have.
    options
        As :class:`sci_interp_weather.options.OpenOptions`.

    Raises
    ------
    InputError
        If a file cannot be used, or the fields are not what the network reads.
    UnknownNameError
        If there is no option of that name.
    """
    chosen = parse_options(options)
    rule = BlockRule.parse(chosen.block, chosen.gap_days, chosen.every)
    needs = Needs(
        tuple(network.variables), tuple(network.offsets), network.lead, tuple(network.targets)
    )
    fields = _open_sample(chosen) if path is None else _open_files(path, needs, chosen)
    bound = network.bind(fields.grid)
    grid, n_levels = bound.token_grid(layer), bound.n_levels(layer)
    names = dict.fromkeys((*needs.variables, *fields.variables))
    units = {name: parse_name(name)[0].unit for name in names if fields.has(name)}
    dataset = build_dataset(fields, needs, grid, n_levels, rule=rule, units=units)
    indices = chosen.indices
    if indices is None and path is None:
        indices = (SAMPLE_FOLDER / INDICES_FOLDER,)
    annotations = WeatherAnnotations(
        fields,
        grid,
        n_levels,
        tracks=None if chosen.tracks is None else load_tracks(chosen.tracks),
        indices=() if indices is None else load_indices(indices),
        masks=None if chosen.ar_mask is None else {"atmospheric_river": _mask(chosen, fields)},
    )
    return replace(dataset, annotations=annotations)


def _open_sample(chosen: OpenOptions) -> Fields:
    given = [name for name in OpenOptions.ABOUT_FILES if getattr(chosen, name)]
    if given:
        raise InputError(
            f"{given[0]} was given without fields",
            todo="Name a file of fields; the sample has its own",
        )
    return read_sample()


def _open_files(
    path: str | Path | Sequence[str | Path], needs: Needs, chosen: OpenOptions
) -> Fields:
    paths = [path] if isinstance(path, str | Path) else list(path)
    paths += [] if chosen.orography is None else [chosen.orography]
    settings: dict[str, Any] = {
        "period": chosen.period,
        "select": chosen.select,
        "engine": chosen.engine,
        "time_units": chosen.time_units,
        "limit": chosen.limit or DEFAULT_LIMIT,
    }
    if isinstance(chosen.variables, Mapping):
        own = {name: name for name in _further_targets(paths, needs, chosen.variables, settings)}
        return open_fields(paths, variables={**chosen.variables, **own}, **settings)
    if chosen.variables:
        further = chosen.variables
        named = (*needs.variables, *further)
        further = (*further, *_further_targets(paths, needs, named, settings))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            held = open_fields(paths, **settings).variables
        further = tuple(name for name in (*needs.targets, *_LABEL_VARIABLES) if name in held)
    further = (*further, *(() if chosen.orography is None else ("orography",)))
    return open_fields(paths, variables=(*needs.variables, *further), **settings)


def _further_targets(
    paths: Sequence[str | Path],
    needs: Needs,
    chosen: Sequence[str] | Mapping[str, str],
    settings: Mapping[str, Any],
) -> tuple[str, ...]:
    """Return what is forecast and was not chosen, as far as the files hold it.

    Beside names in the file it is looked for under its own: the user said what others are called.
    """
    known = {canonical_name(*parse_name(name)) for name in chosen}
    found = []
    for name in needs.targets:
        if name in known:
            continue
        # What cannot be opened is missed where something asks for it, not here.
        with warnings.catch_warnings(), suppress(InputError):
            warnings.simplefilter("ignore", UserWarning)
            asked = {name: name} if isinstance(chosen, Mapping) else (name,)
            open_fields(paths, variables=asked, **settings)
            found.append(name)
    return tuple(found)


def _mask(chosen: OpenOptions, fields: Fields) -> MaskReader:
    """Return what reads the user's mask, on grid and times of the fields.

    Raises
    ------
    InputError
        If the mask lies on another grid or lacks a time.
    """
    path = chosen.ar_mask
    assert path is not None
    limit = chosen.limit or DEFAULT_LIMIT
    mask = open_fields(path, variables=(_MASK,), time_units=chosen.time_units, limit=limit)
    if mask.grid.digest != fields.grid.digest:
        raise InputError(
            f"{path} lies on a grid of {mask.grid.shape} cells, the fields on one of "
            f"{fields.grid.shape}",
            allowed="a mask on the grid of the fields",
        )
    held = hours_since(mask.times)
    place = np.minimum(np.searchsorted(held, hours_since(fields.times)), len(held) - 1)
    absent = held[place] != hours_since(fields.times)
    if absent.any():
        raise InputError(
            f"{path} has no mask at {fields.time_labels[int(absent.argmax())]}",
            allowed="a mask at every time of the fields",
            todo="Choose times with period=, or complete the mask",
        )
    return MaskReader.of_fields(mask, _MASK, place)
