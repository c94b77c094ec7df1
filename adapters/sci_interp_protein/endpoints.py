"""What an intervention can change in a protein language model's answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sci_interp.adapter import TokenLoss

from .losses import HIDDEN_SHARE

__all__ = ["ENDPOINTS", "ENDPOINT_SEED", "mean_losses"]

MASKED_LOSS: Final = "masked_loss"
ENDPOINTS: Final[Mapping[str, str]] = {
    MASKED_LOSS: f"mean cross-entropy of the {HIDDEN_SHARE:.0%} of a protein's residues that are "
    "hidden, nats per hidden residue"
}
#: Chooses the hidden residues, the same ones in every arm.
ENDPOINT_SEED: Final = 0


def mean_losses(
    records: Sequence[str], losses: Mapping[str, TokenLoss]
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield the endpoints of every record; NaN where no residue could be hidden."""
    for record in records:
        loss = losses[record]
        mean = loss.total / loss.n_tokens if loss.n_tokens else float("nan")
        yield record, {MASKED_LOSS: mean}
