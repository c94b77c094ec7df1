"""Forward passes over proteins: windows, batches, captured layers, assembled per record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.adapter import RecordActivations
from sci_interp.errors import InputError
from sci_interp.hooks import capture

from .batches import Batch, Window, build_batch, plan_batches, plan_windows
from .network import Network
from .records import ProteinDataset

__all__ = ["PassSettings", "Precision", "plan_passes", "run_layers"]

Precision = Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class PassSettings:
    """How proteins are fed to a network.

    Attributes
    ----------
    precision : str
        ``"bfloat16"`` (autocast) or ``"float32"``.
    tokens_per_batch : int
        Most tokens, padding included, in one forward pass.
    window : int
        Most residues the network sees at once.
    overlap : int
        Least residues that neighbouring windows of a long protein share.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    precision: Precision
    tokens_per_batch: int
    window: int
    overlap: int

    def __post_init__(self) -> None:
        if self.precision not in ("bfloat16", "float32"):
            raise InputError(f"unknown precision {self.precision!r}", allowed="bfloat16, float32")
        if self.tokens_per_batch < 1:
            raise InputError(f"tokens_per_batch is {self.tokens_per_batch}", allowed="at least 1")
        if not 0 <= self.overlap < self.window:
            raise InputError(
                f"windows of {self.window} residues cannot overlap by {self.overlap}",
                allowed="an overlap of at least 0 and below the window",
            )

    def check_network(self, network: Network) -> None:
        """Refuse a network that these settings do not fit.

        Raises
        ------
        InputError
            If a window exceeds the network's positions, or it cannot run in bfloat16.
        """
        if network.max_residues is not None and self.window > network.max_residues:
            raise InputError(
                f"{network.name} has no positions for windows of {self.window} residues",
                allowed=f"window={network.max_residues} or less, and an overlap below it",
            )
        if self.precision == "bfloat16" and not network.autocasts:
            raise InputError(
                f"{network.name} cannot run under bfloat16 autocast", allowed="precision='float32'"
            )


def plan_passes(
    network: Network, data: ProteinDataset, records: Sequence[str], *, settings: PassSettings
) -> Iterator[Batch]:
    """Yield the batches of windows that cover every record once, longest windows first.

    Raises
    ------
    UnknownNameError
        If the dataset has no such record.
    """
    windows: list[Window] = []
    for record in dict.fromkeys(records):
        n_residues = len(data.sequence_of(record))
        windows += plan_windows(
            record, n_residues, window=settings.window, overlap=settings.overlap
        )
    for group in plan_batches(windows, settings.tokens_per_batch):
        yield build_batch(group, data.sequences, network.vocabulary)


def run_layers(
    network: Network,
    data: ProteinDataset,
    records: Sequence[str],
    *,
    widths: Mapping[str, int],
    settings: PassSettings,
) -> Iterator[RecordActivations]:
    """Run the network and yield every record once, as soon as its last window is through.

    Parameters
    ----------
    network, data, records
        What is run on what.
    widths
        Layers to capture, and their numbers of channels.
    settings
        Precision, batches and windows.
    """
    pending: dict[str, _Assembly] = {}
    for batch in plan_passes(network, data, records, settings=settings):
        outputs = _capture_layers(network, batch, widths, settings.precision)
        for row, window in enumerate(batch.windows):
            if window.record not in pending:
                pending[window.record] = _Assembly(window.n_residues, widths)
            kept = {layer: values[row, batch.kept(row)] for layer, values in outputs.items()}
            if pending[window.record].add(window, kept):
                yield RecordActivations(window.record, pending.pop(window.record).values)


class _Assembly:
    """The activations of one record, filled window by window."""

    def __init__(self, n_residues: int, widths: Mapping[str, int]) -> None:
        self._n_missing = n_residues
        self.values = {
            layer: np.empty((n_residues, width), dtype=np.float32)
            for layer, width in widths.items()
        }

    def add(self, window: Window, kept: Mapping[str, NDArray[np.float32]]) -> bool:
        """Place a window's kept residues, and return whether the record is complete."""
        for layer, values in kept.items():
            self.values[layer][window.keep_start : window.keep_stop] = values
        self._n_missing -= window.keep_stop - window.keep_start
        return self._n_missing == 0


def _capture_layers(
    network: Network, batch: Batch, widths: Mapping[str, int], precision: Precision
) -> dict[str, NDArray[np.float32]]:
    """Return the outputs ``(B, L, D)`` of layers for one batch."""
    tokens = batch.tokens.to(network.device)
    arithmetic = _arithmetic(precision, network.device)
    with capture(network.root, widths) as found, torch.inference_mode(), arithmetic:
        network.run(tokens)
    for layer, width in widths.items():
        if tuple(found[layer].shape) != (*tokens.shape, width):
            raise InputError(
                f"layer {layer!r} gives {tuple(found[layer].shape)} for {tuple(tokens.shape)}",
                allowed=f"one vector of {width} channels per token, padding included",
                todo="Load the model without flash attention, or choose another layer",
            )
    return {layer: found[layer].float().cpu().numpy() for layer in widths}


def _arithmetic(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
