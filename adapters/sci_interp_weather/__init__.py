"""Weather for sci_interp: forecast networks, their cells, and the systems of the atmosphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapter import WeatherAdapter

__all__ = ["WeatherAdapter"]


def __getattr__(name: str) -> Any:
    """Import the adapter, and with it torch, when it is first asked for."""
    if name in __all__:
        from .adapter import WeatherAdapter

        return WeatherAdapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
