"""Which formats there are, and which one a checkpoint has."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from sci_interp.errors import InputError, UnknownNameError

from .parts import Facts, Parts
from .reading import Source

__all__ = ["FORMATS", "Reader", "find_format", "reader_of"]

#: Every format has a module of its name.
FORMATS = (
    "bionemo",
    "dictionary_learning",
    "esmc",
    "evo2",
    "graphcast",
    "interplm",
    "interprot",
    "llamascopium",
    "openai",
    "reticular",
    "saelens",
    "saev",
    "sparsify",
)


class Reader(Protocol):
    """A format: a module with these three functions."""

    def by_settings(self, source: Source) -> bool:
        """Return whether files beside the weights, or before them, tell this format."""

    def by_tensors(self, names: frozenset[str]) -> bool:
        """Return whether tensors of these names tell this format, where no settings do."""

    def read(self, source: Source, facts: Facts) -> Parts:
        """Return what it holds."""


def reader_of(name: str) -> Reader:
    """Return the module of a format.

    Raises
    ------
    UnknownNameError
        If there is no such format.
    """
    if name not in FORMATS:
        raise UnknownNameError("format", name, ("auto", "sci-interp", *FORMATS))
    return cast(Reader, import_module(f".{name}", __package__))


def find_format(source: Source) -> str:
    """Return the one format that a checkpoint has.

    Raises
    ------
    InputError
        If it has none, or could have several.
    """
    found = [name for name in FORMATS if reader_of(name).by_settings(source)]
    if not found:
        held = frozenset(map(str, source.state))
        found = [name for name in FORMATS if reader_of(name).by_tensors(held)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{source.path} could be of the formats {' and '.join(found)}",
            todo=f"Give one: load_sae(..., format={found[0]!r})",
        )
    names = ", ".join(sorted(held)[:12])
    raise InputError(
        f"{source.path} is of no known format: {source.weights.name} holds {names or 'nothing'}",
        allowed=", ".join(FORMATS),
        todo="Name the file of the autoencoder, or its format",
    )
