"""Climatology: what a place is like on a day of the year, and how far it strays from that.

Per cell the mean and three harmonics of the year are fitted by least squares over all times, in
one pass; the standard deviation is that of the departures. Three harmonics follow the year without
following single years (Epstein 1988, A spectral climatology, uses the same family).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sci_interp.errors import InputError

from .fields import Fields
from .times import Times, day_of_year, hour_of, hours_since

__all__ = ["Climatology", "VariableClimatology", "fit_climatology"]

_N_HARMONICS: Final = 3
_DAYS: Final = 365.25
#: Shorter records cannot tell the year's course from the weather of one year.
_LEAST_YEARS: Final = 2.0
#: Numbers that are held at once while fields are read.
_CHUNK: Final = 8_000_000


@dataclass(frozen=True, eq=False)
class VariableClimatology:
    """One variable.

    Attributes
    ----------
    coefficients : (n_terms, n_rows, n_columns) float64
        The mean, then cosine and sine of every harmonic; the mean alone where years are few.
    deviation : (n_rows, n_columns) float32
        Standard deviation of the departures, at least a thousandth of the field's largest, so that
        it can be divided by.
    """

    coefficients: NDArray[np.float64]
    deviation: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Climatology:
    """All variables of a dataset.

    Attributes
    ----------
    variables : mapping of str to VariableClimatology
        By canonical name, in the variables' own units.
    note : str
        What was fitted.
    """

    variables: Mapping[str, VariableClimatology]
    note: str

    def normal(self, name: str, times: Times) -> NDArray[np.float32]:
        """Return what is normal at these times ``(n_times, n_rows, n_columns)``."""
        coefficients = self.variables[name].coefficients
        terms = _terms(times, len(coefficients))
        return np.tensordot(terms, coefficients, axes=1).astype(np.float32)

    def standardise(
        self, name: str, values: NDArray[np.float32], times: Times
    ) -> NDArray[np.float32]:
        """Return departures in standard deviations; shapes as in :meth:`normal`."""
        return (values - self.normal(name, times)) / self.variables[name].deviation

    def restore(
        self, name: str, anomalies: NDArray[np.float32], times: Times
    ) -> NDArray[np.float32]:
        """Return the fields of standardised departures: undoes :meth:`standardise`."""
        return self.normal(name, times) + anomalies * self.variables[name].deviation


def fit_climatology(fields: Fields, variables: Sequence[str]) -> Climatology:
    """Fit the climatology of some variables over all times, reading a part at a time.

    Times at which a variable has missing or infinite values have no part in its fit, unless missing
    values are meant.

    Parameters
    ----------
    fields
        The fields.
    variables
        Canonical names.

    Raises
    ------
    InputError
        If a variable has such values at every time.
    """
    hours = hours_since(fields.times)
    years = (hours[-1] - hours[0]) / 24.0 / _DAYS
    n_terms = 1 + 2 * _N_HARMONICS if years >= _LEAST_YEARS else 1
    found = {name: _fit(fields, name, n_terms) for name in variables}
    note = f"Climatology: mean and {_N_HARMONICS} harmonics of the year per cell"
    if n_terms == 1:
        note = f"Climatology: the plain mean per cell, for {years:.2f} years hold no year's course"
    return Climatology(found, f"{note}, over {len(hours)} times.")


def _fit(fields: Fields, name: str, n_terms: int) -> VariableClimatology:
    n_times, (n_rows, n_columns) = len(fields.times), fields.grid.shape
    # Departures from the first field keep the sums of squares small.
    first = fields.read(name, slice(0, 1), allow_missing=True)[0].astype(np.float64)
    if not fields.allows_missing:
        first = np.where(np.isfinite(first), first, 0.0)
    gram = np.zeros((n_terms, n_terms))
    moments = np.zeros((n_terms, n_rows * n_columns))
    squares = np.zeros(n_rows * n_columns)
    step, n_whole = max(1, _CHUNK // first.size), 0
    for start in range(0, n_times, step):
        part = slice(start, min(start + step, n_times))
        read = fields.read(name, part, allow_missing=True)
        whole = np.isfinite(read).all(axis=(1, 2)) | fields.allows_missing
        n_whole += int(whole.sum())
        values = (read[whole] - first).reshape(-1, first.size)
        terms = _terms(fields.times[part], n_terms)[whole]
        gram += terms.T @ terms
        moments += terms.T @ values
        squares += (values**2).sum(axis=0)
    coefficients = np.asarray(np.linalg.lstsq(gram, moments, rcond=None)[0], np.float64)
    rest = np.clip(squares - (coefficients * moments).sum(axis=0), 0.0, None)
    if n_whole == 0:
        raise InputError(f"{name!r} has missing or infinite values at every time")
    deviation = np.sqrt(rest / n_whole).reshape(first.shape)
    # A single time has no spread: departures from it are zero whatever they are divided by.
    least = float(deviation.max()) / 1000.0 or 1.0
    coefficients = coefficients.reshape(n_terms, *first.shape)
    coefficients[0] += first
    return VariableClimatology(coefficients, np.maximum(deviation, least).astype(np.float32))


def _terms(times: Times, n_terms: int) -> NDArray[np.float64]:
    """Return one, then cosine and sine of every harmonic at each time ``(n_times, n_terms)``."""
    day = np.asarray(day_of_year(times), np.float64) - 1.0
    angle = 2.0 * np.pi * (day + np.asarray(hour_of(times), np.float64) / 24.0) / _DAYS
    columns = [np.ones_like(angle)]
    for harmonic in range(1, (n_terms - 1) // 2 + 1):
        columns += [np.cos(harmonic * angle), np.sin(harmonic * angle)]
    return np.column_stack(columns)
