"""Activations on demand: the network runs when a token range is read, and nothing is stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, Dataset, RecordActivations
from .axis import TokenAxis
from .errors import InputError, NotFiniteError, SciInterpError, UnknownNameError
from .manifest import digest_json
from .schema import RECORD, SPLITS, Split
from .token_layout import work_units

__all__ = ["STREAM_TOKENS", "ActivationStream", "NetworkPass", "require_layer", "run_unit"]

#: Tokens that a stream asks the network for at once: one block of shuffled training.
STREAM_TOKENS: Final = 16_384


def require_layer(adapter: Adapter, layer: str) -> int:
    """Return the width of a layer.

    Raises
    ------
    UnknownNameError
        If the adapter has no such layer; the message lists those it has.
    """
    widths = adapter.layers()
    if layer not in widths:
        raise UnknownNameError("layer", layer, widths)
    return int(widths[layer])


def run_unit(
    adapter: Adapter,
    dataset: Dataset,
    axis: TokenAxis,
    *,
    unit: tuple[int, int],
    widths: Mapping[str, int],
) -> Iterator[tuple[str, int, RecordActivations]]:
    """Run the network on consecutive records and check what it yields.

    Parameters
    ----------
    adapter, dataset
        Model and data.
    axis
        The records.
    unit
        Half-open range of records.
    widths
        Channels of the wanted layers.

    Yields
    ------
    record : str
        The record, in the order of the adapter.
    start : int
        Its first token on the axis.
    activations : RecordActivations
        Finite, of the right shape, for every wanted layer.

    Raises
    ------
    SciInterpError
        If the adapter yields another record, one twice or not at all, or a wrong shape or dtype.
    NotFiniteError
        If activations hold NaN or infinity.
    """
    names = axis.records[RECORD].iloc[unit[0] : unit[1]].tolist()
    starts = axis.record_starts
    waiting = {name: unit[0] + index for index, name in enumerate(names)}
    for found in adapter.activations(dataset, names, list(widths)):
        index = waiting.pop(found.record, None)
        if index is None:
            how = "twice" if found.record in names else "without being asked for it"
            raise SciInterpError(f"adapter {adapter.name!r} yielded record {found.record!r} {how}")
        _check_values(found, int(starts[index + 1] - starts[index]), widths)
        yield found.record, int(starts[index]), found
    if waiting:
        raise SciInterpError(
            f"adapter {adapter.name!r} did not yield record {next(iter(waiting))!r}",
            allowed="every record that was asked for, once",
        )


def _check_values(found: RecordActivations, n_tokens: int, widths: Mapping[str, int]) -> None:
    for layer, width in widths.items():
        values = found.values.get(layer)
        if values is None:
            raise SciInterpError(f"record {found.record!r} came without layer {layer!r}")
        if values.shape != (n_tokens, width) or values.dtype != np.float32:
            raise SciInterpError(
                f"the activations of record {found.record!r}, layer {layer!r}, have the shape "
                f"{tuple(values.shape)} and the dtype {values.dtype}",
                allowed=f"({n_tokens}, {width}), a row for every token, and float32",
            )
        if not np.isfinite(values).all():
            raise NotFiniteError(
                f"the activations of record {found.record!r}, layer {layer!r}, hold NaN or "
                "infinity",
                todo="Leave the record out, run the network in float32, or look at its weights",
            )


class NetworkPass:
    """The network, run over units of records when they are read, for one or several layers.

    Parameters
    ----------
    adapter, dataset
        Model and data.
    layers
        The layers; one forward pass gives all of them.
    fractions
        Shares of the splits; None takes the default.
    unit_tokens
        Tokens that the network is asked for at once.
    cached_units
        Units that are kept in memory after they were read; of several layers at least those of the
        last range.

    Attributes
    ----------
    adapter, dataset, fractions, unit_tokens
        As given.
    axis : TokenAxis
        The records.
    widths : mapping of str to int
        Channels by layer.
    n_run : int
        Units that the network was run on so far.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    InputError
        If a size is not positive, a layer repeats, or the dataset has no record.
    """

    def __init__(
        self,
        adapter: Adapter,
        dataset: Dataset,
        layers: Sequence[str],
        *,
        fractions: Mapping[Split, float] | None = None,
        unit_tokens: int = STREAM_TOKENS,
        cached_units: int = 2,
    ) -> None:
        if min(unit_tokens, cached_units) < 1:
            raise InputError(
                f"unit_tokens={unit_tokens}, cached_units={cached_units} are not usable",
                allowed="positive numbers",
            )
        if not layers or len(set(layers)) < len(layers):
            raise InputError(f"the layers {list(layers)} are not usable", allowed="different names")
        self.adapter = adapter
        self.dataset = dataset
        self.fractions = fractions
        self.unit_tokens = unit_tokens
        self.widths = {layer: require_layer(adapter, layer) for layer in layers}
        self.axis = TokenAxis.of(dataset, fractions)
        self.n_run = 0
        self._units = work_units(self.axis, unit_tokens)
        self._first_tokens = self.axis.record_starts[self._units[:, 0]]
        self._cached_units = cached_units
        self._cache: OrderedDict[int, dict[str, NDArray[np.float32]]] = OrderedDict()

    def read(self, layer: str, start: int, stop: int) -> NDArray[np.float32]:
        """Return a layer's activations ``(stop - start, width)`` of a token range."""
        if not 0 <= start <= stop <= self.axis.n_tokens:
            raise InputError(
                f"the token range {start}:{stop} is not in the stream",
                allowed=f"ranges within 0:{self.axis.n_tokens}",
            )
        values = np.empty((stop - start, self.widths[layer]), np.float32)
        units = self._overlapping(start, stop)
        # The other layers are asked for the same range next.
        n_kept = max(self._cached_units, len(units) if len(self.widths) > 1 else 0)
        for index in units:
            rows = self._unit(index, n_kept)[layer]
            first = int(self._first_tokens[index])
            low, high = max(start, first), min(stop, first + len(rows))
            values[low - start : high - start] = rows[low - first : high - first]
        return values

    def _overlapping(self, start: int, stop: int) -> Sequence[int]:
        first = int(np.searchsorted(self._first_tokens, start, side="right")) - 1
        return range(first, int(np.searchsorted(self._first_tokens, stop, side="left")))

    def _unit(self, index: int, n_kept: int) -> dict[str, NDArray[np.float32]]:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        while len(self._cache) >= n_kept:
            self._cache.popitem(last=False)
        first, last = self._units[index].tolist()
        starts = self.axis.record_starts
        n_tokens = int(starts[last] - starts[first])
        values = {
            layer: np.empty((n_tokens, width), np.float32) for layer, width in self.widths.items()
        }
        for _, at, found in run_unit(
            self.adapter, self.dataset, self.axis, unit=(first, last), widths=self.widths
        ):
            offset = at - int(starts[first])
            for layer, rows in found.values.items():
                values[layer][offset : offset + len(rows)] = rows
        self.n_run += 1
        self._cache[index] = values
        return values


class ActivationStream:
    """Activations of one layer, computed when they are read; an ``ActivationSource``.

    Parameters
    ----------
    adapter, dataset
        Model and data.
    layer
        The layer.
    options
        ``fractions``, ``unit_tokens`` and ``cached_units`` of :class:`NetworkPass`.

    Attributes
    ----------
    network : NetworkPass
        The pass, which streams of other layers may share.
    """

    def __init__(self, adapter: Adapter, dataset: Dataset, layer: str, **options: Any) -> None:
        self._attach(NetworkPass(adapter, dataset, [layer], **options), layer)

    @classmethod
    def of_pass(cls, network: NetworkPass, layer: str) -> ActivationStream:
        """Return the stream of one layer of a pass."""
        made = cls.__new__(cls)
        made._attach(network, layer)
        return made

    def _attach(self, network: NetworkPass, layer: str) -> None:
        self.network = network
        self._layer = layer
        self._width = network.widths[layer]

    @property
    def axis(self) -> TokenAxis:
        """The records."""
        return self.network.axis

    @property
    def layer(self) -> str:
        """Name of the hooked layer."""
        return self._layer

    @property
    def width(self) -> int:
        """Number of channels."""
        return self._width

    @property
    def model(self) -> Mapping[str, str]:
        """``name``, ``digest`` and ``dtype`` of the network."""
        return asdict(self.network.adapter.model)

    @property
    def digest(self) -> str:
        """Identity of model, data, splits, layer and units."""
        return digest_json(
            {
                "model": dict(self.model),
                "dataset": self.network.dataset.digest,
                "axis": self.axis.digest,
                "splits": {split: self.axis.token_range([split]) for split in SPLITS},
                "layer": self._layer,
                "unit_tokens": self.network.unit_tokens,
            }
        )

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the activations ``(stop - start, width)`` of a token range.

        Raises
        ------
        InputError
            If the range leaves the axis.
        SciInterpError
            If the adapter yields something other than it was asked for.
        """
        return self.network.read(self._layer, start, stop)
