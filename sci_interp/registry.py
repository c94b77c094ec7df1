"""Adapters by name: found by entry point, imported only when asked for."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from .adapter import Adapter, AdapterInfo
from .errors import InputError, MissingExtraError, SciInterpError, UnknownNameError

__all__ = ["ENTRY_POINT_GROUP", "adapters", "find_autoencoder", "load_adapter"]

ENTRY_POINT_GROUP = "sci_interp.adapters"


def adapters() -> list[AdapterInfo]:
    """Return every installed adapter, by name and then distribution; imports none of them."""
    found = [
        AdapterInfo(
            name=entry.name,
            distribution=_distribution(entry),
            target=entry.value,
            summary=_summary(entry),
        )
        for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)
    ]
    return sorted(found, key=lambda info: (info.name, info.distribution, info.target))


def load_adapter(name: str, model: str | None = None, **options: Any) -> Adapter:
    """Load an adapter with one model.

    Parameters
    ----------
    name
        Name of the entry point, e.g. ``"protein"``.
    model
        Hub id or local folder of a model; without one, the adapter's embedded default.
    options
        Passed on to the adapter, which documents them.

    Raises
    ------
    UnknownNameError
        If no installed distribution provides the adapter.
    InputError
        If two distributions provide it: neither is chosen.
    MissingExtraError
        If a package that the adapter imports is not installed.
    """
    entry = _find(name)
    adapter = _import(entry)(model=model, **options)
    if not isinstance(adapter, Adapter):
        raise SciInterpError(
            f"{entry.value} of {_distribution(entry)} is not an adapter",
            allowed="an object with every member of sci_interp.adapter.Adapter",
            todo="Run sci_interp.testing.check_adapter on it",
        )
    return adapter


def find_autoencoder(name: str) -> Path:
    """Return the folder of the autoencoder that comes with an adapter's embedded default.

    Raises
    ------
    UnknownNameError
        If no installed distribution provides the adapter.
    InputError
        If the adapter comes with no autoencoder.
    """
    folder = getattr(_import(_find(name)), "autoencoder_folder", None)
    if folder is None:
        raise InputError(
            f"the adapter {name!r} comes with no autoencoder",
            todo="Train one with sci-interp train, and name its folder",
        )
    return Path(folder())


def _find(name: str) -> metadata.EntryPoint:
    entries = metadata.entry_points(group=ENTRY_POINT_GROUP)
    matches = [entry for entry in entries if entry.name == name]
    if not matches:
        raise UnknownNameError("adapter", name, sorted({entry.name for entry in entries}))
    if len(matches) > 1:
        owners = sorted(f"{_distribution(entry)} ({entry.value})" for entry in matches)
        raise InputError(
            f"the adapter {name!r} is provided more than once: {', '.join(owners)}",
            todo="Uninstall all of these distributions but one",
        )
    return matches[0]


def _import(entry: metadata.EntryPoint) -> Any:
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        missing, own = (error.name or "").partition(".")[0], entry.module.partition(".")[0]
        if _distribution(entry) == "sci-interp" and missing != own:
            raise MissingExtraError(missing, entry.name) from None
        raise InputError(
            f"the adapter {entry.name!r} cannot be imported: {error}",
            todo=f"Install what the distribution {_distribution(entry)} needs, or reinstall it",
        ) from None
    except AttributeError as error:
        raise InputError(
            f"the adapter {entry.name!r} names {entry.value!r}, which does not exist: {error}",
            todo=f"Reinstall the distribution {_distribution(entry)}",
        ) from None


def _distribution(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown distribution"


def _summary(entry: metadata.EntryPoint) -> str:
    return (entry.dist.metadata["Summary"] or "") if entry.dist is not None else ""
