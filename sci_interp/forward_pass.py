"""Forward passes: units of records through the network, into buffers of whole shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .adapter import Adapter, Dataset, RecordActivations
from .allocator import release_free_memory
from .axis import TokenAxis
from .errors import NotFiniteError, SciInterpError
from .progress import track
from .screening import Screening, UnitRun
from .token_layout import TokenLayout, to_stored, work_units
from .token_writer import ShardBuffer

__all__ = ["ForwardPass"]

#: Records after which free memory is given back to the system.
RELEASE_EVERY = 32


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One pass of a network over records, which feeds the buffers of several layers.

    Attributes
    ----------
    adapter, dataset
        Model and data.
    axis : TokenAxis
        The records.
    unit_tokens : int
        Tokens that the network is asked for at once.
    screening : Screening
        What becomes of records that cannot be used: zeros stand in their place.
    """

    adapter: Adapter
    dataset: Dataset
    axis: TokenAxis
    unit_tokens: int
    screening: Screening

    def fill(
        self,
        buffers: Mapping[str, ShardBuffer],
        layouts: Mapping[str, TokenLayout],
        *,
        stop: int,
        progress: bool,
    ) -> None:
        """Run the units from the first token that a buffer wants up to ``stop``.

        Parameters
        ----------
        buffers
            What takes the rows, by layer.
        layouts
            Shape of the layers' stores; of more layers than have buffers where all count.
        stop
            Token at which to end.
        progress
            Show progress.
        """
        starts = self.axis.record_starts
        first = min(buffer.position for buffer in buffers.values())
        units = work_units(self.axis, self.unit_tokens)
        units = units[(starts[units[:, 1]] > first) & (starts[units[:, 0]] < stop)]

        def records() -> Iterator[int]:
            for begin, end in units.tolist():
                rows = _Rows(self.adapter, self.dataset, self.axis, (begin, end), layouts)
                widths = {layer: layout.width for layer, layout in layouts.items()}
                unit = (self.adapter, self.dataset, self.axis, widths, rows.take, self.screening)
                yield from UnitRun(*unit).run((begin, end))
                rows.clear(self.screening)
                for layer, buffer in buffers.items():
                    buffer.write(int(starts[begin]), rows.values.pop(layer), rows.coordinates)

        n_records = int((units[:, 1] - units[:, 0]).sum())
        for _ in track(records(), "extract", total=n_records, show=progress):
            pass


class _Rows:
    """The stored rows and the coordinates of a unit's tokens, filled record by record."""

    def __init__(
        self,
        adapter: Adapter,
        dataset: Dataset,
        axis: TokenAxis,
        unit: tuple[int, int],
        layouts: Mapping[str, TokenLayout],
    ) -> None:
        self._adapter = adapter
        self._dataset = dataset
        self._starts = axis.record_starts
        self._layouts = layouts
        self._begin, self._end = (int(self._starts[index]) for index in unit)
        self._n_taken = 0
        n = self._end - self._begin
        self.values = {
            layer: np.empty((n, layout.width), layout.numpy_dtype)
            for layer, layout in layouts.items()
        }
        self.coordinates = {name: np.empty(n, np.float64) for name in adapter.coordinates}

    def take(self, index: int, found: RecordActivations) -> None:
        """Put a record in its place."""
        if self._n_taken % RELEASE_EVERY == 0:
            release_free_memory()
        self._n_taken += 1
        start, stop = (int(each) - self._begin for each in self._starts[index : index + 2])
        for layer, layout in self._layouts.items():
            values = np.ascontiguousarray(found.values[layer])
            try:
                self.values[layer][start:stop] = to_stored(values, layout.dtype)
            except NotFiniteError as error:
                raise NotFiniteError(
                    f"record {found.record!r}, layer {layer!r}: {error.what}",
                    todo=error.todo,
                    layer=layer,
                    token=error.token,
                ) from error
        self._take_coordinates(found.record, start, stop)

    def clear(self, screening: Screening) -> None:
        """Put zeros in the place of records that cannot be used, whatever came of them."""
        for at, bad in screening.beginning_in(self._begin, self._end).items():
            place = slice(at - self._begin, at - self._begin + bad.n_tokens)
            for array in (*self.values.values(), *self.coordinates.values()):
                array[place] = 0

    def _take_coordinates(self, record: str, start: int, stop: int) -> None:
        if not self.coordinates:
            return
        found = self._adapter.token_coordinates(self._dataset, record)
        for name, values in self.coordinates.items():
            if name not in found or np.shape(found[name]) != (stop - start,):
                raise SciInterpError(
                    f"adapter {self._adapter.name!r} gave no usable coordinate {name!r} of "
                    f"record {record!r}",
                    allowed=f"an array of the shape ({stop - start},)",
                )
            values[start:stop] = found[name]
