"""ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity").

``penalty_by_length`` prices an activation times the length of its decoder row, which is then free
(Anthropic, "Circuits Updates - April 2024").
"""

from __future__ import annotations

from typing import ClassVar

from .penalised import Penalised

__all__ = ["ARCHITECTURE", "ReLU"]


class ReLU(Penalised):
    """Every positive entry is active."""

    name: ClassVar[str] = "relu"


ARCHITECTURE = ReLU
