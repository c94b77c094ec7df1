"""Activations on demand: the network runs when a token range is read, and nothing is stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, Dataset
from .axis import TokenAxis
from .errors import InputError, UnknownNameError
from .manifest import digest_json
from .progress import track
from .quarantine import Quarantined, Tolerance
from .schema import SPLITS, Split
from .screening import Screening, UnitRun, run_unit
from .token_layout import work_units

__all__ = ["STREAM_TOKENS", "ActivationStream", "NetworkPass", "require_layer"]

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
    tolerance
        What becomes of records that cannot be used. Where they are left out, the network is run
        over all records once before anything is read: the order of the records follows from which
        there are.
    left_out
        Records that are left out beforehand.
    progress
        Show how far that first run is.

    Attributes
    ----------
    adapter, dataset, fractions, unit_tokens
        As given.
    axis : TokenAxis
        The records that are used.
    widths : mapping of str to int
        Channels by layer.
    n_run : int
        Units that the network was run on so far.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    InputError
        If a size is not positive, a layer repeats, the dataset has no record, or too many of its
        records cannot be used.
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
        tolerance: Tolerance | None = None,
        left_out: Sequence[Quarantined] = (),
        progress: bool = True,
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
        self.axis = TokenAxis.of(dataset, fractions, left_out=left_out, tolerance=tolerance)
        self.n_run = 0
        if tolerance is not None and tolerance.quarantines:
            self.axis = self._screen(tolerance, progress=progress)
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

    def _screen(self, tolerance: Tolerance, *, progress: bool) -> TokenAxis:
        """Run the network over all records, and return the axis of those that can be used."""
        screening = Screening(self.axis, tolerance)
        run = UnitRun(
            self.adapter, self.dataset, self.axis, self.widths, lambda _, __: None, screening
        )
        units = work_units(self.axis, self.unit_tokens).tolist()
        records = (index for first, last in units for index in run.run((first, last)))
        for _ in track(records, "screen", total=self.axis.n_records, show=progress):
            pass
        self.n_run += len(units)
        return self.axis.without(list(screening.found.values()))

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
        Further ones of :class:`NetworkPass`.

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
