"""Layers of protein language models, from the number of a hidden state to the adapter's name.

Hidden state 0 is the embedding, and hidden state N what block N - 1 gives.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["esm2_layer", "esmc_layer"]

#: Blocks by width; the last hidden state stands behind the final LayerNorm.
ESM2_BLOCKS = {320: 6, 480: 12, 640: 30, 1280: 33, 2560: 36, 5120: 48}
ESMC_BLOCKS = {960: 30, 1152: 36, 2560: 80}


def esm2_layer(width: int) -> Callable[[int], str]:
    """Return the naming of ESM-2 of a width."""

    def name(number: int) -> str:
        if number == 0:
            return "embeddings"
        last = ESM2_BLOCKS.get(width)
        return "encoder.emb_layer_norm_after" if number == last else f"encoder.layer.{number - 1}"

    return name


def esmc_layer(width: int) -> Callable[[int], str | None]:
    """Return the naming of ESM C of a width; the last state is not named.

    Whether it is taken before or after the final norm differs between programs.
    """

    def name(number: int) -> str | None:
        if number == 0:
            return "embed_tokens"
        return None if number == ESMC_BLOCKS.get(width) else f"layers.{number - 1}"

    return name
