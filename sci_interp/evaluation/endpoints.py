"""What the network's answer loses when the layer passes on its reconstruction only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.adapter import Dataset, Measurable, Replacement
from sci_interp.errors import SciInterpError

if TYPE_CHECKING:
    from sci_interp.sae import SparseAutoencoder

__all__ = ["measure_endpoints"]


def measure_endpoints(
    adapter: Measurable,
    dataset: Dataset,
    sae: SparseAutoencoder,
    *,
    records: Sequence[str],
    layer: str,
) -> pd.DataFrame:
    """Measure every endpoint with the layer as it is, and with it replaced.

    Returns
    -------
    DataFrame
        ``endpoint, definition``; ``n_records``: records that have it in all runs, ``n_missing``:
        the others; ``untouched, deviation``: mean and standard deviation over records of the
        network as it is; ``change``: mean absolute change with the reconstruction in the layer's
        place, ``change_mean`` and ``change_zero``: with the training mean, and with zeros there.

    Raises
    ------
    SciInterpError
        If the adapter measures other records or endpoints than it was asked for.
    """
    definitions = dict(adapter.endpoints(dataset))
    mean = sae.normalisation.mean
    arms: dict[str, Replacement | None] = {
        "untouched": None,
        "change": sae.reconstruct,
        "change_mean": lambda values: mean.to(values).expand_as(values),
        "change_zero": lambda values: values * 0,
    }
    found = {
        name: _measure(adapter, dataset, records, layer, instead, definitions)
        for name, instead in arms.items()
    }
    there = np.all([np.isfinite(values) for values in found.values()], axis=0)
    rows = []
    for column, (name, definition) in enumerate(definitions.items()):
        kept = there[:, column]
        plain = found["untouched"][kept, column]
        changes = {arm: _mean(np.abs(found[arm][kept, column] - plain)) for arm in list(arms)[1:]}
        rows.append(
            {
                "endpoint": name,
                "definition": definition,
                "n_records": int(kept.sum()),
                "n_missing": int((~kept).sum()),
                "untouched": _mean(plain),
                "deviation": float(plain.std()) if len(plain) else np.nan,
                **changes,
            }
        )
    return pd.DataFrame(rows)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _measure(
    adapter: Measurable,
    dataset: Dataset,
    records: Sequence[str],
    layer: str,
    instead: Replacement | None,
    definitions: Mapping[str, str],
) -> NDArray[np.float64]:
    """Return the endpoints of every record ``(n_records, n_endpoints)``."""
    found = list(adapter.measure(dataset, records, layer, instead))
    names = [record for record, _ in found]
    if names != list(records) or any(set(values) != set(definitions) for _, values in found):
        raise SciInterpError(
            "the adapter measured other records or endpoints than it was asked for",
            allowed="every record in the order given, with every endpoint",
        )
    rows = [[values[name] for name in definitions] for _, values in found]
    return np.array(rows, np.float64).reshape(len(found), len(definitions))
