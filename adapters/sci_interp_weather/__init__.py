"""The weather adapter of sci_interp."""

from __future__ import annotations

__all__: list[str] = []
