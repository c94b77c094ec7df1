"""fidelity: SparseAutoencoder x ActivationSource -> Fidelity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.adapter import Adapter, Dataset, Replacement, TokenLoss
from sci_interp.errors import InputError, SciInterpError
from sci_interp.manifest import write_atomically
from sci_interp.schema import RECORD, Split
from sci_interp.source import ActivationSource, StackedSource

from .model import SparseAutoencoder
from .statistics import UNMEASURED, token_ranges

__all__ = ["Fidelity", "fidelities", "fidelity", "require_tokens"]

#: Records whose loss is measured where none are given.
LOSS_RECORDS = 64


@dataclass(frozen=True)
class Fidelity:
    """How much of the activations, and of the network's own task, survives.

    Attributes
    ----------
    fvu : float
        Fraction of variance unexplained: squared error over squared distance to the mean of
        these tokens.
    l0 : float
        Mean number of active features per token.
    dead_fraction : float
        Share of the features that fire on none of these tokens.
    n_tokens : int
        Tokens measured.
    n_loss_tokens : int
        Tokens whose loss was measured; 0 without an adapter.
    loss_original, loss_reconstructed, loss_mean, loss_zero : float or None
        The network's loss per token as it is, with the reconstruction in the layer's place, with
        the training mean there, and with zeros there.
    loss_recovered : float or None
        ``(loss_mean - loss_reconstructed) / (loss_mean - loss_original)``, not clipped; None where
        the mean costs nothing.
    """

    fvu: float
    l0: float
    dead_fraction: float
    n_tokens: int
    n_loss_tokens: int = 0
    loss_original: float | None = None
    loss_reconstructed: float | None = None
    loss_mean: float | None = None
    loss_zero: float | None = None
    loss_recovered: float | None = None

    def format(self) -> str:
        """Return the main figures in one line."""
        text = (
            f"SAE on test blocks: FVU {self.fvu:.3f}, L0 {self.l0:.1f}, "
            f"dead features {self.dead_fraction:.1%}"
        )
        if self.loss_recovered is not None:
            text += (
                f", loss recovered {self.loss_recovered:.1%} "
                f"({self.loss_original:.3f} alone, {self.loss_reconstructed:.3f} spliced, "
                f"{self.loss_mean:.3f} with the mean)"
            )
        return text


def fidelity(
    sae: SparseAutoencoder,
    source: ActivationSource,
    *,
    splits: Sequence[Split] = ("test",),
    adapter: Adapter | None = None,
    dataset: Dataset | None = None,
    records: Sequence[str] | None = None,
    n_tokens: int = 500_000,
    seed: int = 0,
    out: Path | str | None = None,
) -> Fidelity:
    """Measure an autoencoder on tokens that it was not trained on.

    Parameters
    ----------
    sae
        The autoencoder.
    source
        Activations of its layer; of a transcoder, both layers as a ``StackedSource``.
    splits
        Neighbouring splits to measure on.
    adapter, dataset
        The network and its data; with both, the loss recovered is measured as well.
    records
        Records for the loss; by default 64, evenly spread over the splits.
    n_tokens
        About how many tokens to reconstruct at most.
    seed
        Chooses the tokens that the network's loss hides.
    out
        A JSON file to write the result to.

    Raises
    ------
    InputError
        If the splits hold no token or only equal ones, or only one of adapter and dataset is given,
        or both with an autoencoder of several layers.
    """
    if adapter is not None and isinstance(source, StackedSource):
        raise InputError(
            f"the network's loss is measured at one layer, and {source.layer!r} is several",
            todo="Leave adapter and dataset out for a transcoder or crosscoder",
        )
    if (adapter is None) != (dataset is None):
        raise InputError(
            "the loss needs both an adapter and a dataset", todo="Give both or neither"
        )
    if adapter is not None and "mean" in sae.training.get(UNMEASURED, ()):
        raise InputError(
            "the loss is compared with that of the mean, which the file of this autoencoder lacks",
            todo="Measure it first: sae = sae.measured(activations)",
        )
    result = fidelities([sae], source, splits=splits, n_tokens=n_tokens)[0]
    if adapter is not None and dataset is not None:
        chosen = list(records) if records is not None else _spread_records(source, splits)
        losses = _losses(sae, adapter, dataset, records=chosen, layer=source.layer, seed=seed)
        result = _with_losses(result, losses)
    if out is not None:
        text = json.dumps(asdict(result), indent=1, sort_keys=True) + "\n"
        write_atomically(Path(out), text)
    return result


def fidelities(
    saes: Sequence[SparseAutoencoder],
    source: ActivationSource,
    *,
    splits: Sequence[Split] = ("test",),
    n_tokens: int = 500_000,
) -> list[Fidelity]:
    """Do as :func:`fidelity`, without the loss, for several autoencoders in one pass.

    Raises
    ------
    InputError
        If the splits hold no token or only equal ones.
    """
    require_tokens(source, splits)
    sums = [_Sums(sae) for sae in saes]
    for first, last in token_ranges(*source.axis.token_range(list(splits)), n_tokens):
        values = source.read(first, last)
        for each in sums:
            each.add(values)
    return [each.result() for each in sums]


def require_tokens(source: ActivationSource, splits: Sequence[Split]) -> None:
    """Refuse splits without a token."""
    start, stop = source.axis.token_range(list(splits))
    if start == stop:
        raise InputError(f"the splits {', '.join(splits)} hold no token")


class _Sums:
    """What the fidelity of one autoencoder is computed from."""

    def __init__(self, sae: SparseAutoencoder) -> None:
        self._sae = sae
        self._centre = sae.written.mean.numpy().astype(np.float64)
        self._error = self._squares = 0.0
        self._total = np.zeros(len(self._centre))
        self._fired = np.zeros(sae.n_features, np.int64)
        self._seen = 0

    def add(self, values: NDArray[np.float32]) -> None:
        """Add the activations of some tokens."""
        read, wanted = self._sae.pairs(values)
        codes, rebuilt = self._sae.encode_and_reconstruct(read)
        shifted = wanted.astype(np.float64) - self._centre
        self._error += float(np.square(wanted.astype(np.float64) - rebuilt).sum())
        self._squares += float(np.square(shifted).sum())
        self._total += shifted.sum(0)
        self._fired += np.bincount(codes.feature, minlength=self._sae.n_features)
        self._seen += len(values)

    def result(self) -> Fidelity:
        """Return the fidelity on all tokens added."""
        variance = self._squares - float(self._total @ self._total) / self._seen
        if variance <= 1e-12 * self._squares:
            raise InputError(
                "all tokens have the same activations, so that no variance is explained"
            )
        return Fidelity(
            fvu=self._error / variance,
            l0=float(self._fired.sum() / self._seen),
            dead_fraction=float((self._fired == 0).mean()),
            n_tokens=self._seen,
        )


def _spread_records(source: ActivationSource, splits: Sequence[Split]) -> list[str]:
    first, last = source.axis.record_range(list(splits))
    chosen = np.unique(np.linspace(first, last - 1, LOSS_RECORDS).round().astype(np.int64))
    return [str(name) for name in source.axis.records[RECORD].iloc[chosen]]


def _losses(
    sae: SparseAutoencoder,
    adapter: Adapter,
    dataset: Dataset,
    *,
    records: Sequence[str],
    layer: str,
    seed: int,
) -> dict[str, TokenLoss]:
    mean = sae.normalisation.mean
    spliced: dict[str, Replacement | None] = {
        "original": None,
        "reconstructed": sae.reconstruct,
        "mean": lambda values: mean.to(values).expand_as(values),
        "zero": torch.zeros_like,
    }
    found = {
        name: adapter.loss(dataset, records, layer, instead, seed=seed)
        for name, instead in spliced.items()
    }
    sizes = {loss.n_tokens for loss in found.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise SciInterpError(
            f"adapter {adapter.name!r} scored {sorted(sizes)} tokens in runs of the same records",
            allowed="the same tokens with and without a replacement, at least one",
        )
    return found


def _with_losses(result: Fidelity, losses: dict[str, TokenLoss]) -> Fidelity:
    each = {name: loss.total / loss.n_tokens for name, loss in losses.items()}
    reach = each["mean"] - each["original"]
    return Fidelity(
        fvu=result.fvu,
        l0=result.l0,
        dead_fraction=result.dead_fraction,
        n_tokens=result.n_tokens,
        n_loss_tokens=losses["original"].n_tokens,
        loss_original=each["original"],
        loss_reconstructed=each["reconstructed"],
        loss_mean=each["mean"],
        loss_zero=each["zero"],
        loss_recovered=(each["mean"] - each["reconstructed"]) / reach if reach else None,
    )
