"""ProteinAdapter: FASTA x protein language model -> residue activations, labels, loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.adapter import (
    Dataset,
    Label,
    ModelIdentity,
    Nuisances,
    RecordActivations,
    RecordAnnotations,
    RecordView,
    Replacement,
    TokenLoss,
)
from sci_interp.errors import InputError, UnknownNameError

from .bundled import find_bundled
from .datasets import open_dataset
from .decoys import shuffle_dataset
from .endpoints import ENDPOINT_SEED, ENDPOINTS, mean_losses
from .losses import hidden_positions, masked_losses
from .models import load_network
from .nuisances import NUISANCES, nuisance_codes
from .passes import PassSettings, Precision, plan_passes, run_layers
from .records import UNIPROT_ACCESSION, ProteinDataset
from .windows import describe_residue_windows

__all__ = ["ProteinAdapter"]


class ProteinAdapter:
    """Protein language models on proteins; a token is a residue, a record a protein.

    Parameters
    ----------
    model
        None: the network that comes with the package. Otherwise a hub id or a local directory of
        an ESM-2 or ESM C checkpoint, ``"bundled:NAME"``, or ``"esm:NAME"`` for the ``esm``
        package; see :func:`sci_interp_protein.models.load_network`.
    device
        Where the network runs; by default a CUDA device where there is one, else the CPU.
    precision
        ``"bfloat16"`` (autocast, about twice as fast, error below 1 %) or ``"float32"``.
    tokens_per_batch
        Most tokens, padding included, in one forward pass.
    window
        Most residues the network sees at once; longer proteins are cut into windows.
    overlap
        Residues that neighbouring windows share at least. Every residue is taken from the window
        where it lies farthest from a cut.

    Raises
    ------
    InputError
        If the model cannot be loaded or a setting is out of range.
    MissingExtraError
        If an optional package is needed.
    """

    name = "protein"
    coordinates = ("residue",)

    def __init__(
        self,
        model: str | None = None,
        *,
        device: str | torch.device | None = None,
        precision: Precision = "bfloat16",
        tokens_per_batch: int = 8192,
        window: int = 1022,
        overlap: int = 300,
    ) -> None:
        settings = PassSettings(precision, tokens_per_batch, window, overlap)
        network = load_network(model)
        settings.check_network(network)
        default = "cuda" if torch.cuda.is_available() else "cpu"
        network.to(_parse_device(device or default))
        self._network = network
        self._settings = settings

    @staticmethod
    def autoencoder_folder() -> Path:
        """Return the autoencoder of the bundled network, ``load_sae("bundled:protein")``."""
        return find_bundled("bytenet") / "autoencoder"

    @property
    def model(self) -> ModelIdentity:
        """Name, weight digest and arithmetic of the network."""
        return ModelIdentity(self._network.name, self._network.digest, self._settings.precision)

    @property
    def default_layer(self) -> str:
        """The block at two thirds of the depth."""
        return self._network.default_layer

    def layers(self) -> Mapping[str, int]:
        """Return the hookable layers and their widths, the blocks first."""
        return dict(self._network.layers)

    def open(self, path: Path | str | None = None, **options: Any) -> ProteinDataset:
        """Open proteins, or without a path the reference set that comes with the package.

        Parameters
        ----------
        path
            FASTA, plain or gzipped.
        **options
            ``features``, ``structures``, ``residue_strings``, ``terms``: files or folders of
            annotations.
            ``clusters``: a table of homology clusters. ``limit``: bytes that a file may take.

        Raises
        ------
        InputError
            If a file cannot be used; the message names the file, the record and the place.
        """
        return open_dataset(None if path is None else Path(path), **options)

    def activations(
        self, dataset: Dataset, records: Sequence[str], layers: Sequence[str]
    ) -> Iterator[RecordActivations]:
        """Run the network and yield every record once, longest first, float32 rows per residue.

        Raises
        ------
        UnknownNameError
            If there is no such layer or record.
        """
        data = _proteins(dataset)
        widths = {layer: self._width(layer) for layer in dict.fromkeys(layers)}
        yield from run_layers(self._network, data, records, widths=widths, settings=self._settings)

    def token_coordinates(self, dataset: Dataset, record: str) -> Mapping[str, NDArray[np.float64]]:
        """Return ``residue``, the position in the chain from 1."""
        n_residues = len(_proteins(dataset).sequence_of(record))
        return {"residue": np.arange(1, n_residues + 1, dtype=np.float64)}

    def labels(self, dataset: Dataset) -> Sequence[Label]:
        """Return the labels of the dataset's annotations; decoys have none."""
        annotations = _proteins(dataset).annotations
        return () if annotations is None else tuple(annotations.labels)

    def annotate(self, dataset: Dataset, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        """Yield what is known of every record, in the order given.

        Groups that were assessed and of which the dataset has no label are left out.
        """
        data = _proteins(dataset)
        groups = {label.group for label in self.labels(dataset)}
        for record in records:
            data.sequence_of(record)
            if data.annotations is None:
                yield RecordAnnotations(record, (), ())
            else:
                found = data.annotations.of(record)
                known = [span for span in found.known if span[0] in groups]
                yield RecordAnnotations(record, found.runs, known)

    def nuisances(self) -> Nuisances:
        """Return amino acids, dipeptides, residue classes, and places in the chain."""
        return NUISANCES

    def nuisance_codes(
        self, dataset: Dataset, record: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (token, feature) pairs of one protein, sorted by token then feature."""
        return nuisance_codes(_proteins(dataset).sequence_of(record))

    def describe_windows(
        self, dataset: Dataset, record: str, tokens: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Describe the residues around tokens by their letters: unit rows ``(n, 220)``."""
        return describe_residue_windows(_proteins(dataset).sequence_of(record), tokens)

    def shuffle_weights(self, seed: int) -> ProteinAdapter:
        """Return this adapter with every weight tensor permuted within itself."""
        other = copy.copy(self)
        other._network = self._network.shuffled(seed)
        return other

    def decoy(self, dataset: Dataset, seed: int) -> ProteinDataset:
        """Return the proteins with their residues shuffled, the first in place, unannotated."""
        return shuffle_dataset(_proteins(dataset), seed)

    def loss(
        self,
        dataset: Dataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
        *,
        seed: int = 0,
    ) -> TokenLoss:
        """Return the masked-language-model loss in nats at 15 % hidden residues, in float32.

        Raises
        ------
        InputError
            If the checkpoint came without a language-model head.
        UnknownNameError
            If there is no such layer or record.
        """
        losses = self._losses(dataset, records, layer, replacement, seed=seed)
        return sum(losses.values(), TokenLoss(0.0, 0))

    def endpoints(self, dataset: Dataset) -> Mapping[str, str]:
        """Return ``masked_loss``, or nothing for a checkpoint without a language-model head."""
        _proteins(dataset)
        return ENDPOINTS if self._network.has_head else {}

    def measure(
        self,
        dataset: Dataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yield the masked loss of every record, in the order given.

        Raises
        ------
        InputError
            If the checkpoint came without a language-model head.
        UnknownNameError
            If there is no such layer or record.
        """
        losses = self._losses(dataset, records, layer, replacement, seed=ENDPOINT_SEED)
        yield from mean_losses(records, losses)

    def view(self, dataset: Dataset, record: str) -> RecordView:
        """Return a protein's name, its letters, and its page at UniProt where it has one."""
        data = _proteins(dataset)
        sequence = data.sequence_of(record)
        name = data.names.get(record, "")
        known = UNIPROT_ACCESSION.fullmatch(record) is not None
        return RecordView(
            title=f"{record} · {name}" if name else record,
            symbols=tuple(sequence),
            link=f"https://www.uniprot.org/uniprotkb/{record}" if known else "",
        )

    def _losses(
        self,
        dataset: Dataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
        *,
        seed: int,
    ) -> dict[str, TokenLoss]:
        data = _proteins(dataset)
        self._width(layer)
        if not self._network.has_head:
            raise InputError(
                f"{self._network.name} was saved without its language-model head",
                todo="Use a masked-language-model checkpoint, or leave out what needs the loss",
            )
        hidden = {r: hidden_positions(r, data.sequence_of(r), seed) for r in records}
        losses = {record: TokenLoss(0.0, 0) for record in records}
        for batch in plan_passes(self._network, data, records, settings=self._settings):
            for record, part in masked_losses(
                self._network, batch, hidden, layer=layer, replacement=replacement
            ).items():
                losses[record] += part
        return losses

    def _width(self, layer: str) -> int:
        layers = self._network.layers
        if layer not in layers:
            raise UnknownNameError("layer", layer, layers)
        return layers[layer]


def _proteins(dataset: Dataset) -> ProteinDataset:
    if not isinstance(dataset, ProteinDataset):
        raise InputError(
            f"the protein adapter cannot read a {type(dataset).__name__}",
            allowed="datasets that this adapter opened",
        )
    return dataset


def _parse_device(device: str | torch.device) -> torch.device:
    try:
        return torch.device(device)
    except RuntimeError as error:
        first = str(error).splitlines()[0][:200]
        raise InputError(
            f"unknown device {device!r}: {first}", allowed="cpu, cuda, cuda:N"
        ) from None
