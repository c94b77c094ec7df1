"""Forward passes: units of records through the network, into buffers of whole shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, Dataset
from .allocator import release_free_memory
from .axis import TokenAxis
from .errors import NotFiniteError, SciInterpError
from .progress import track
from .schema import RECORD
from .streams import run_unit
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
    """

    adapter: Adapter
    dataset: Dataset
    axis: TokenAxis
    unit_tokens: int

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
            Shape of the layers' stores.
        stop
            Token at which to end.
        progress
            Show progress.
        """
        starts = self.axis.record_starts
        first = min(buffer.position for buffer in buffers.values())
        units = work_units(self.axis, self.unit_tokens)
        units = units[(starts[units[:, 1]] > first) & (starts[units[:, 0]] < stop)]

        def records() -> Iterator[str]:
            for begin, end in units.tolist():
                rows = _empty_rows(int(starts[end] - starts[begin]), layouts)
                yield from self._run_network((begin, end), layouts, rows)
                coordinates = self._read_coordinates((begin, end))
                for layer, buffer in buffers.items():
                    buffer.write(int(starts[begin]), rows.pop(layer), coordinates)

        n_records = int((units[:, 1] - units[:, 0]).sum())
        for _ in track(records(), "extract", total=n_records, show=progress):
            pass

    def _run_network(
        self,
        unit: tuple[int, int],
        layouts: Mapping[str, TokenLayout],
        rows: Mapping[str, NDArray[Any]],
    ) -> Iterator[str]:
        """Put a unit's stored activations into ``rows``; yield each record when done."""
        begin = int(self.axis.record_starts[unit[0]])
        widths = {layer: layout.width for layer, layout in layouts.items()}
        found_records = run_unit(self.adapter, self.dataset, self.axis, unit=unit, widths=widths)
        for index, (record, at, found) in enumerate(found_records):
            if index % RELEASE_EVERY == 0:
                release_free_memory()
            for layer, layout in layouts.items():
                values = np.ascontiguousarray(found.values[layer])
                place = slice(at - begin, at - begin + len(values))
                try:
                    rows[layer][place] = to_stored(values, layout.dtype)
                except NotFiniteError as error:
                    raise NotFiniteError(
                        f"record {record!r}, layer {layer!r}: {error.what}", todo=error.todo
                    ) from error
            yield record

    def _read_coordinates(self, unit: tuple[int, int]) -> dict[str, NDArray[np.float64]]:
        """Return every coordinate ``(n,)`` of a unit's tokens."""
        names = self.adapter.coordinates
        if not names:
            return {}
        starts = self.axis.record_starts
        begin = int(starts[unit[0]])
        values = {name: np.empty(int(starts[unit[1]]) - begin, np.float64) for name in names}
        for index in range(*unit):
            record = self.axis.records[RECORD].iloc[index]
            found = self.adapter.token_coordinates(self.dataset, record)
            start, stop = int(starts[index]), int(starts[index + 1])
            for name in names:
                if name not in found or np.shape(found[name]) != (stop - start,):
                    raise SciInterpError(
                        f"adapter {self.adapter.name!r} gave no usable coordinate {name!r} of "
                        f"record {record!r}",
                        allowed=f"an array of the shape ({stop - start},)",
                    )
                values[name][start - begin : stop - begin] = found[name]
        return values


def _empty_rows(n: int, layouts: Mapping[str, TokenLayout]) -> dict[str, NDArray[Any]]:
    return {
        layer: np.empty((n, layout.width), layout.numpy_dtype) for layer, layout in layouts.items()
    }
