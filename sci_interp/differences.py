"""What differs between two requests for an artefact, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["first_difference"]

_DIGEST_LETTERS = 64
_SHORT_DIGEST = 12


def first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say how the request in a folder differs from the one that is made.

    Parameters
    ----------
    found, wanted
        ``kind``, ``inputs`` and ``settings`` of both; they are not equal.
    """
    if found.get("kind") != wanted["kind"]:
        return f"it is {found.get('kind')}, not {wanted['kind']}"
    for part in ("inputs", "settings"):
        old, new = found.get(part), wanted[part]
        if not isinstance(old, dict):
            return f"it has no {part}"
        names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        if names:
            # The axis follows from the dataset, which says more.
            name = next((name for name in names if name != "axis"), "axis")
            return f"{name} {_change(found, wanted, name, part)}"
    return "its request differs"


def _change(found: Mapping[str, Any], wanted: Mapping[str, Any], name: str, part: str) -> str:
    """Return the old and the new value; the name of an input where the settings tell it."""
    settings = found.get("settings")
    old, new = found[part].get(name), wanted[part].get(name)
    if isinstance(settings, dict) and settings.get(name) != wanted["settings"].get(name):
        old, new = settings.get(name), wanted["settings"].get(name)
    return f"was {_shorten(old)} there and is {_shorten(new)} now"


def _shorten(value: object) -> str:
    if isinstance(value, str) and len(value) == _DIGEST_LETTERS:
        return repr(value[:_SHORT_DIGEST] + "...")
    return repr(value)
