"""Errors that say what was wrong, what is allowed and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .texts import clean

__all__ = [
    "InputError",
    "LockedError",
    "MissingExtraError",
    "NotFiniteError",
    "SciInterpError",
    "StoreError",
    "UnknownNameError",
]


class SciInterpError(ValueError):
    """A mistake that a user can mend; the command line prints it and exits with status 2.

    Parameters
    ----------
    what
        What was wrong: file, record and value.
    allowed
        What would have been accepted.
    todo
        What to do next.
    """

    def __init__(self, what: str, *, allowed: str = "", todo: str = "") -> None:
        self.what = what
        self.allowed = allowed
        self.todo = todo
        parts = [what.rstrip(".") + "."]
        if allowed:
            parts.append(f"Allowed: {allowed.rstrip('.')}.")
        if todo:
            parts.append(todo if todo.endswith("?") else todo.rstrip(".") + ".")
        # Names and values of files stand in messages, which are read in terminals and logs.
        super().__init__(clean(" ".join(" ".join(parts).splitlines()), keep=""))


class InputError(SciInterpError):
    """A user's file or argument cannot be used."""


class StoreError(SciInterpError):
    """An artefact is damaged, unfinished, or belongs to something else."""


class LockedError(StoreError):
    """An artefact is being written by another process."""


class NotFiniteError(SciInterpError):
    """Activations or fields hold NaN or infinity, or overflow the chosen dtype.

    Parameters
    ----------
    what, allowed, todo
        As for every error.
    layer
        The layer whose activations are meant, where it is known.
    token
        First bad token of the record, where it is known.
    """

    layer: str = ""
    token: int | None = None

    def __init__(
        self,
        what: str,
        *,
        allowed: str = "",
        todo: str = "",
        layer: str = "",
        token: int | None = None,
    ) -> None:
        super().__init__(what, allowed=allowed, todo=todo)
        self.layer, self.token = layer, token


class UnknownNameError(SciInterpError):
    """A name is not among the known ones; the message lists those and the nearest.

    Parameters
    ----------
    kind
        What is named: ``"layer"``, ``"adapter"``, ``"label"``.
    name
        The name that was asked for.
    known
        The names that exist.
    where
        File and place of the name, if it stands in a file.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        names = list(known)
        near = difflib.get_close_matches(name, names, n=1)
        shown = ", ".join(names[:60]) + (f" and {len(names) - 60} more" if len(names) > 60 else "")
        super().__init__(
            f"{where}: there is no {kind} {name!r}" if where else f"there is no {kind} {name!r}",
            allowed=shown or f"no {kind} is available",
            todo=f"Did you mean {near[0]!r}?" if near else "Use one of these" if names else "",
        )


class MissingExtraError(SciInterpError):
    """A feature needs an optional package.

    Parameters
    ----------
    package
        The package that could not be imported.
    extra
        The extra of this distribution that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed",
            todo=f"Install it with: pip install 'sci-interp[{extra}]'",
        )
