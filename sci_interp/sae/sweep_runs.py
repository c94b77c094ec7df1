"""The runs of a sweep: settings from a list or a grid, and a name for each."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from sci_interp.errors import InputError, UnknownNameError
from sci_interp.source import ActivationSource, StackedSource

from .settings import TrainingSettings, resolve_settings
from .training import train

__all__ = ["ALWAYS", "resolve_runs"]

#: Settings that name and table always tell where they differ; others where they are unusual.
ALWAYS = ("architecture", "features", "k", "seed")

#: Arguments of ``train`` that are the sweep's own.
_NOT_OF_A_RUN = ("source", "out", "checkpoint_every", "progress", "block_seed")
#: Arguments of ``train`` that a sweep has not: it runs in one process, on the processor.
_NOT_OF_A_SWEEP = ("device", "parallel")


def resolve_runs(
    source: ActivationSource,
    runs: Sequence[Mapping[str, Any]] | None,
    grid: Mapping[str, Sequence[Any]] | None,
    *,
    common: Mapping[str, Any],
    shared: Mapping[str, Any],
    block_seed: int | None,
) -> dict[str, TrainingSettings]:
    """Return checked settings by the run's name, in the order given.

    A name tells what differs between the runs: ``"batch_topk-k16-seed1"``.

    Parameters
    ----------
    source
        Activations.
    runs, grid
        One of them.
    common
        Settings that all runs share where a run does not say otherwise.
    shared
        Settings that no run may change.
    block_seed
        As of the sweep.

    Raises
    ------
    InputError
        If there is no run, both or none of ``runs`` and ``grid`` are given, two runs are the same,
        or a setting is out of range or the sweep's own.
    UnknownNameError
        If ``train`` has no such setting.
    """
    given = [{**common, **run} for run in _list_runs(runs, grid)]
    defaults = _defaults()
    for name in sorted({name for run in given for name in run}):
        if name in _NOT_OF_A_SWEEP:
            raise InputError(f"a sweep has no {name}", todo=f"Call train with {name} for each run")
        if name in shared or name in _NOT_OF_A_RUN:
            raise InputError(
                f"{name} is one for all runs of a sweep", todo=f"Give {name} to sweep itself"
            )
        if name not in defaults:
            raise UnknownNameError("setting of train", name, sorted({*defaults} - {*shared}))
    widths = source.widths if isinstance(source, StackedSource) else ()
    full = [{**defaults, **run, **shared, "widths": widths} for run in given]
    order = full[0]["seed"] if block_seed is None else block_seed
    named = [{name: run.get(name, defaults[name]) for name in defaults} for run in given]
    names = _names(named, defaults)
    found = {
        name: resolve_settings(**{**run, "block_seed": order})
        for name, run in zip(names, full, strict=True)
    }
    if len(found) < len(full):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise InputError(f"the run {twice!r} is given twice", todo="Give every run once")
    return found


def _list_runs(
    runs: Sequence[Mapping[str, Any]] | None, grid: Mapping[str, Sequence[Any]] | None
) -> list[dict[str, Any]]:
    if (runs is None) == (grid is None):
        raise InputError("a sweep needs either runs or a grid", todo="Give one of them")
    if runs is not None:
        found = [dict(run) for run in runs]
    else:
        assert grid is not None
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise InputError(
                    f"{name}={values!r} of the grid is no list", allowed="a list of values"
                )
        names = list(grid)
        found = [dict(zip(names, each, strict=True)) for each in itertools.product(*grid.values())]
    if not found:
        raise InputError("the sweep has no run", allowed="at least one")
    return found


def _defaults() -> dict[str, Any]:
    """Return what ``train`` takes where a run says nothing."""
    parameters = inspect.signature(train).parameters.values()
    others = {*_NOT_OF_A_RUN, *_NOT_OF_A_SWEEP}
    return {each.name: each.default for each in parameters if each.name not in others}


def _names(runs: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any]) -> list[str]:
    varied = [name for name in runs[0] if any(run[name] != runs[0][name] for run in runs)]
    # The architecture is a word that needs no other before it.
    varied.sort(key=lambda name: name != "architecture")
    return [
        "-".join(
            _word(name, run[name])
            for name in varied
            if name in ALWAYS or run[name] != defaults[name]
        )
        or str(run["architecture"])
        for run in runs
    ]


def _word(name: str, value: Any) -> str:
    if name == "architecture":
        return str(value)
    return name if value is True else f"{name}{value}"
