"""An adapter for words: the network mixes each letter with its neighbours."""

from __future__ import annotations

from .adapter import AlphabetAdapter

__all__ = ["AlphabetAdapter"]
