"""Import ``aurora`` where the torchvision that came with it was built for another torch."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from sci_interp.errors import InputError, MissingExtraError
from sci_interp.hooks import declare_torchvision_operators

__all__ = ["import_aurora"]


def import_aurora() -> Any:
    """Return the package ``aurora`` (microsoft-aurora).

    It imports torchvision through timm, and uses nothing of it.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    InputError
        If it cannot be imported for another reason.
    """
    if importlib.util.find_spec("aurora") is None:
        raise MissingExtraError("microsoft-aurora", "aurora")
    try:
        declare_torchvision_operators()
        aurora = importlib.import_module("aurora")
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"the package microsoft-aurora cannot be imported: {reason}",
            todo="Install a torchvision that was built for your torch, from the same index",
        ) from None
    if not hasattr(aurora, "Aurora") or not hasattr(aurora, "Batch"):
        raise InputError(
            "the package 'aurora' that is installed is another one than microsoft-aurora",
            todo="pip uninstall aurora, then pip install 'sci-interp[aurora]'",
        )
    return aurora
