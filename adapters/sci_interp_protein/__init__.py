"""Proteins for sci_interp: protein language models, their residues, and what UniProt knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapter import ProteinAdapter

__all__ = ["ProteinAdapter"]


def __getattr__(name: str) -> Any:
    """Import the adapter, and with it torch, when it is first asked for."""
    if name in __all__:
        from .adapter import ProteinAdapter

        return ProteinAdapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
