"""Screening: the network over a unit of records, and which of them cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .adapter import Adapter, Dataset, RecordActivations
from .axis import TokenAxis
from .errors import NotFiniteError, SciInterpError
from .quarantine import UNUSABLE, Quarantined, Tolerance
from .schema import RECORD

__all__ = ["Screening", "UnitRun", "run_unit"]


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
    for index, found in _run_records(adapter, dataset, axis, range(*unit), widths):
        _require_finite(found, widths)
        yield found.record, int(axis.record_starts[index]), found


class Screening:
    """The records that a run found unusable, and how many there may be.

    Parameters
    ----------
    axis
        The records that are read.
    tolerance
        What becomes of bad records.

    Attributes
    ----------
    found : dict of int to Quarantined
        Bad records by their first token.
    """

    def __init__(self, axis: TokenAxis, tolerance: Tolerance) -> None:
        self._axis = axis
        self.tolerance = tolerance
        self.found: dict[int, Quarantined] = {}

    def note(self, index: int, bad: Quarantined) -> None:
        """Note a bad record.

        Raises
        ------
        InputError
            If there are more than the largest share by now.
        """
        self.found[int(self._axis.record_starts[index])] = bad
        everyone = (*self._axis.quarantine, *self.found.values())
        self.tolerance.require_few(everyone, self._axis.n_read)

    def beginning_in(self, start: int, stop: int) -> dict[int, Quarantined]:
        """Return the bad records that begin in a token range."""
        return {at: bad for at, bad in self.found.items() if start <= at < stop}


@dataclass(frozen=True, eq=False)
class UnitRun:
    """Runs a network on units of records, and hands each record on that can be used.

    A record is bad where it cannot be used alone: one that another of its unit spoils is not.

    Attributes
    ----------
    adapter, dataset
        Model and data.
    axis : TokenAxis
        The records.
    widths : mapping of str to int
        Channels of the wanted layers.
    take : callable
        Is given the place of a record and its finite activations, in the order of the adapter;
        where a unit holds a bad record, more than once. Raises one of
        :data:`~sci_interp.quarantine.UNUSABLE` where it cannot use them.
    screening : Screening
        Where bad records are noted, or whether they stop the run.
    """

    adapter: Adapter
    dataset: Dataset
    axis: TokenAxis
    widths: Mapping[str, int]
    take: Callable[[int, RecordActivations], None]
    screening: Screening

    def run(self, unit: tuple[int, int]) -> Iterator[int]:
        """Run one unit, and yield the place of every record when it is done.

        Raises
        ------
        SciInterpError
            If the adapter yields something else than it was asked for; or what is wrong with a
            record, where the run shall stop at it.
        """
        everyone = range(*unit)
        if not self.screening.tolerance.quarantines:
            for index, found in self._run(everyone):
                self._use(index, found)
                yield index
            return
        suspects: dict[int, SciInterpError] = {}
        done = set()
        for index in self._try(everyone, suspects):
            done.add(index)
            yield index
        if not suspects:
            return
        bad = set()
        for index in sorted(suspects):
            alone: dict[int, SciInterpError] = {}
            for _ in self._try([index], alone):
                pass
            if alone:
                bad.add(index)
                self.screening.note(index, self._describe(index, alone[index]))
        if not bad:
            raise next(iter(suspects.values()))
        self._run_rest([index for index in everyone if index not in bad])
        yield from (index for index in everyone if index not in done)

    def _run_rest(self, rest: Sequence[int]) -> None:
        """Run what is left of a unit without its bad records: they have no part in the others."""
        faults: dict[int, SciInterpError] = {}
        for _ in self._try(rest, faults) if rest else ():
            pass
        if faults:
            raise next(iter(faults.values()))

    def _try(self, indices: Sequence[int], faults: dict[int, SciInterpError]) -> Iterator[int]:
        """Run records, yield the place of each that was taken, and collect what others lack."""
        try:
            for index, found in self._run(indices):
                try:
                    self._use(index, found)
                except UNUSABLE as error:
                    faults[index] = error
                else:
                    yield index
        except UNUSABLE as error:
            for index in indices:
                faults.setdefault(index, error)

    def _run(self, indices: Sequence[int]) -> Iterator[tuple[int, RecordActivations]]:
        return _run_records(self.adapter, self.dataset, self.axis, indices, self.widths)

    def _use(self, index: int, found: RecordActivations) -> None:
        _require_finite(found, self.widths)
        self.take(index, found)

    def _describe(self, index: int, error: SciInterpError) -> Quarantined:
        n_tokens = int(np.diff(self.axis.record_starts[index : index + 2])[0])
        return Quarantined.of(str(self.axis.records[RECORD].iloc[index]), n_tokens, error)


def _run_records(
    adapter: Adapter,
    dataset: Dataset,
    axis: TokenAxis,
    indices: Sequence[int],
    widths: Mapping[str, int],
) -> Iterator[tuple[int, RecordActivations]]:
    """Run the network on records, given by their places, and check what it yields but numbers."""
    names = axis.records[RECORD].iloc[list(indices)].tolist()
    starts = axis.record_starts
    waiting = dict(zip(names, indices, strict=True))
    for found in adapter.activations(dataset, names, list(widths)):
        index = waiting.pop(found.record, None)
        if index is None:
            how = "twice" if found.record in names else "without being asked for it"
            raise SciInterpError(f"adapter {adapter.name!r} yielded record {found.record!r} {how}")
        _require_shape(found, int(starts[index + 1] - starts[index]), widths)
        yield index, found
    if waiting:
        raise SciInterpError(
            f"adapter {adapter.name!r} did not yield record {next(iter(waiting))!r}",
            allowed="every record that was asked for, once",
        )


def _require_shape(found: RecordActivations, n_tokens: int, widths: Mapping[str, int]) -> None:
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


def _require_finite(found: RecordActivations, widths: Mapping[str, int]) -> None:
    for layer in widths:
        is_finite = np.isfinite(found.values[layer])
        if not is_finite.all():
            raise NotFiniteError(
                f"the activations of record {found.record!r}, layer {layer!r}, hold NaN or "
                "infinity",
                todo='Leave the record out (on_error="quarantine", or --on-error quarantine), run '
                "the network in float32, or look at its weights",
                layer=layer,
                token=int(np.argmin(is_finite.all(axis=1))),
            )
