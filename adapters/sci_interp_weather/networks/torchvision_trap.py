"""Import ``aurora`` where the torchvision that came with it was built for another torch."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from sci_interp.errors import InputError, MissingExtraError

__all__ = ["import_aurora"]

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_SYMPTOM = "torchvision::nms"
#: The declarations live as long as this.
_declared: list[Any] = []


def import_aurora() -> Any:
    """Return the package ``aurora`` (microsoft-aurora).

    It imports torchvision through timm, and uses nothing of it. A torchvision for CUDA beside a
    torch for the CPU cannot load its operators, and its import fails for want of the schemas of
    two of them; these are declared, only where the import would fail.

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
        _declare_where_needed()
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


def _declare_where_needed() -> None:
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
    else:
        return
    # What the failed import left behind is half made.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torch

    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _OPERATORS:
        library.define(schema)
    _declared.append(library)
