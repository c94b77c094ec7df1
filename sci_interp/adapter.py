"""The adapter protocol: all that the core asks of a domain.

An adapter owns a model and knows a kind of data. The core calls it with record ids and receives
plain arrays; it never learns what a record is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .refusals import Refusal

if TYPE_CHECKING:
    import torch

__all__ = [
    "Adapter",
    "Covariate",
    "Dataset",
    "Label",
    "Measurable",
    "ModelIdentity",
    "Nuisances",
    "Plane",
    "Polyline",
    "RecordActivations",
    "RecordAnnotations",
    "RecordView",
    "Refusal",
    "Replacement",
    "TokenLoss",
    "WithCovariates",
]

#: Maps the activations of real tokens ``(n, width)`` to what the network shall see instead.
Replacement: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"


@dataclass(frozen=True)
class ModelIdentity:
    """Which network produced the activations.

    Attributes
    ----------
    name : str
        Hub id, ``"bundled:..."`` or the folder's name.
    digest : str
        SHA-256 over the weights (of the weights in use: a shuffled network has another).
    dtype : str
        Arithmetic of the forward pass: ``"bfloat16"`` (autocast) or ``"float32"``.
    """

    name: str
    digest: str
    dtype: str


@dataclass(frozen=True)
class Label:
    """A known annotation.

    Attributes
    ----------
    name : str
        ``"HELIX"``, ``"BINDING:ATP"``, ``"low_center"``.
    group : str
        Labels that are assessed together share a group and its known-mask.
    definition : str
        What it means and where it comes from.
    nuisance : bool
        True for token identity, position and the like: it can explain a feature, and is not
        reported as a finding.
    extent : {"tokens", "records"}
        ``"records"`` where every run covers a whole record (a weather regime, a GO term): such a
        label is not moved inside its record, but from record to record inside its block where
        records consist of steps, and else only between blocks. Labels of a group have one extent.
    """

    name: str
    group: str
    definition: str
    nuisance: bool = False
    extent: Literal["tokens", "records"] = "tokens"


@dataclass(frozen=True, eq=False)
class RecordActivations:
    """Activations of one record: per layer ``(n_tokens, width)`` float32."""

    record: str
    values: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class RecordAnnotations:
    """What is known of one record, in token positions local to it, half-open.

    Attributes
    ----------
    record : str
        The record.
    runs : sequence of (label name, instance key, start, stop)
        Runs with the same label and key belong to one instance (a disulfide bond has two).
    known : sequence of (group, start, stop)
        Where each label group was assessed; elsewhere it is unknown.
    events : mapping of (label name, instance key) to event id
        Instances of several records that are one event: a storm followed through time. An
        instance that is not listed is an event of its own.
    """

    record: str
    runs: Sequence[tuple[str, str, int, int]]
    known: Sequence[tuple[str, int, int]]
    events: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Nuisances:
    """Cheap explanations as features: identity, position, climatology.

    Attributes
    ----------
    names : tuple of str
        Feature names, e.g. ``"amino_acid=L"``, ``"kmer=GK"``, ``"position:first 10"``.
    families : tuple of str
        Baseline that each feature belongs to: ``"token identity"``, ``"position"``.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Covariate:
    """A number that is known at every token and may explain a feature: a physical field, latitude.

    Attributes
    ----------
    name : str
        ``"pressure anomaly"``.
    unit : str
        ``"Pa"``; empty for pure numbers.
    definition : str
        What it is and where it comes from.
    """

    name: str
    unit: str
    definition: str


@dataclass(frozen=True, eq=False)
class Polyline:
    """A line in the coordinates of a plane, such as a coast.

    Attributes
    ----------
    x, y : (n_points,) float64
        Its points.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """A regular grid on which the tokens of a record lie, and a field to draw contours of.

    Attributes
    ----------
    x_name, y_name : str
        ``"longitude"``, ``"latitude"``.
    x, y : (n_x,), (n_y,) float64
        Centres of the token cells, x ascending, y in either order.
    cell : (n_tokens,) int64
        ``row * n_x + column`` of every token; several tokens may share a cell (levels).
    period : float
        Length after which x repeats (360); 0 where it does not.
    field_x, field_y : (n_field_x,), (n_field_y,) float64
        Grid of the field, in the same coordinates.
    field : (n_field_y, n_field_x) float32
        What contours are drawn of; NaN where unknown.
    field_name, field_unit : str
        ``"sea-level pressure"``, ``"hPa"``.
    contour_step : float
        Distance of the contours in the field's unit.
    outlines : tuple of Polyline
        Coastlines.
    """

    x_name: str
    y_name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    cell: NDArray[np.int64]
    period: float
    field_x: NDArray[np.float64]
    field_y: NDArray[np.float64]
    field: NDArray[np.float32]
    field_name: str
    field_unit: str
    contour_step: float
    outlines: tuple[Polyline, ...] = ()


@dataclass(frozen=True, eq=False)
class RecordView:
    """What a report draws of one record.

    Attributes
    ----------
    title : str
        One line that names the record.
    symbols : tuple of str
        One short symbol per token (a residue letter); empty for gridded records.
    link : str
        Where a reader finds the record; empty where there is no such place.
    plane : Plane or None
        The map of a gridded record; None for chains of symbols.
    """

    title: str
    symbols: tuple[str, ...]
    link: str = ""
    plane: Plane | None = None


@dataclass(frozen=True, eq=False)
class TokenLoss:
    """Additive loss of the network on chosen tokens.

    Attributes
    ----------
    total : float
        Sum over the scored tokens, in nats or in the adapter's own unit.
    n_tokens : int
        Number of scored tokens.
    """

    total: float
    n_tokens: int

    def __add__(self, other: TokenLoss) -> TokenLoss:
        return TokenLoss(self.total + other.total, self.n_tokens + other.n_tokens)


@runtime_checkable
class Dataset(Protocol):
    """Records opened by an adapter.

    A dataset of gridded records also has the attribute ``step_weights``, a tuple of positive
    integers: the tokens of every record then lie in steps of that many (a column of cells from
    pole to pole), token ``i`` weighs ``step_weights[i % len(step_weights)]`` (its area), and tracks
    are shifted by whole steps, so that every token keeps its row (its latitude).

    A dataset of whose records some cannot be used has the attribute ``refused``, a tuple of
    :class:`Refusal`. They are in neither table nor digest, and stop every verb, unless
    ``on_error="quarantine"``, or a store that is given as ``like``, leaves them out.
    """

    @property
    def digest(self) -> str:
        """SHA-256 of the content that reaches the network, and of the blocks."""

    @property
    def table(self) -> pd.DataFrame:
        """Columns ``record, block, n_tokens``, and optionally ``stratum`` and ``exchange``.

        Whole tracks are exchanged between blocks of similar ``stratum`` (a number, by default
        ``n_tokens``) or, where the column is there, of the same ``exchange`` (a text: the season).
        """


@runtime_checkable
class Adapter(Protocol):
    """A domain's model and data, found by the entry-point group ``sci_interp.adapters``."""

    name: str
    model: ModelIdentity
    #: Names of the numeric coordinates of a token, e.g. ``("residue",)``.
    coordinates: tuple[str, ...]
    #: A layer to start with.
    default_layer: str

    def layers(self) -> Mapping[str, int]:
        """Return the hookable layers and their widths."""

    def open(self, path: Path | str | None = None, **options: Any) -> Dataset:
        """Open data; without a path, the reference set that comes with the adapter."""

    def activations(
        self, dataset: Dataset, records: Sequence[str], layers: Sequence[str]
    ) -> Iterator[RecordActivations]:
        """Run the network and yield every record once, in any order.

        The result may depend on which records are given together, never on earlier calls.
        """

    def token_coordinates(self, dataset: Dataset, record: str) -> Mapping[str, NDArray[np.float64]]:
        """Return every coordinate of one record's tokens ``(n_tokens,)``."""

    def labels(self, dataset: Dataset) -> Sequence[Label]:
        """Return the labels that ``annotate`` may use, in a fixed order."""

    def annotate(self, dataset: Dataset, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        """Yield what is known of every record, in the order given."""

    def nuisances(self) -> Nuisances:
        """Return the features of :meth:`nuisance_codes`."""

    def nuisance_codes(
        self, dataset: Dataset, record: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (token, feature) pairs, sorted by token then feature; every value is 1."""

    def describe_windows(
        self, dataset: Dataset, record: str, tokens: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return model-free descriptors ``(n, n_numbers)`` of the input around tokens.

        Their cosine similarity says how much two windows resemble each other; 0 is what chance
        gives.
        """

    def shuffle_weights(self, seed: int) -> Adapter:
        """Return this adapter with every weight tensor permuted within itself."""

    def decoy(self, dataset: Dataset, seed: int) -> Dataset:
        """Return records with the same ids, lengths and composition and none of the labels."""

    def loss(
        self,
        dataset: Dataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
        *,
        seed: int = 0,
    ) -> TokenLoss:
        """Return the network's own loss, with ``layer``'s output replaced where asked.

        Which tokens are hidden or scored follows from ``seed`` and the record alone.
        """

    def view(self, dataset: Dataset, record: str) -> RecordView:
        """Return what a report shows of one record."""


@runtime_checkable
class WithCovariates(Protocol):
    """An adapter that knows numbers at every token; they become a baseline."""

    def covariates(self, dataset: Dataset) -> Sequence[Covariate]:
        """Return the covariates of a dataset, in a fixed order."""

    def covariate_values(self, dataset: Dataset, record: str) -> NDArray[np.float32]:
        """Return finite values ``(n_tokens, n_covariates)`` of one record."""


@runtime_checkable
class Measurable(Protocol):
    """An adapter whose network's answer can be measured, so that interventions have an effect."""

    def endpoints(self, dataset: Dataset) -> Mapping[str, str]:
        """Return the name and definition, with unit, of what :meth:`measure` measures."""

    def measure(
        self,
        dataset: Dataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
    ) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yield every record, in the order given, with the value of every endpoint.

        ``layer``'s output is replaced during the network's own forward pass. NaN stands for an
        endpoint that does not exist in a record.
        """


@dataclass(frozen=True)
class AdapterInfo:
    """One line of ``sci-interp adapters``."""

    name: str
    distribution: str
    target: str
    summary: str = field(default="")
