"""Unrelated labels for which a feature passes the enrichment test, and for which a channel does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.annotations import AnnotationStore
from sci_interp.enrichment import EnrichmentResult
from sci_interp.errors import InputError, StoreError
from sci_interp.manifest import read_manifest

from .relatedness import count_unrelated, related_labels

__all__ = ["Polysemanticity", "measure_polysemanticity", "require_enrichment"]

CHANNELS, HALVES, FEATURES = "channels", "one side of a channel", "features"
#: Counts that are shown; the last is this many or more.
SHOWN = 6


@dataclass(frozen=True, eq=False)
class Polysemanticity:
    """Unrelated labels of features and channels.

    Attributes
    ----------
    table : DataFrame
        ``source, unit, n_labels, n_unrelated``: one row per unit with a site-level link. Sources
        are ``features``; ``channels``, the labels of both signs together; ``one side of a
        channel``, each sign by itself, as a feature is.
    distribution : DataFrame
        ``n_unrelated``: 0 to 5, and 6 for that or more; then the number of units of each source.
    """

    table: pd.DataFrame
    distribution: pd.DataFrame

    def of_features(self) -> pd.DataFrame:
        """Return ``feature, n_labels, n_unrelated`` of the features that have any."""
        mine = self.table[self.table["source"] == FEATURES]
        return mine.assign(feature=mine["unit"].astype(np.int64)).drop(columns=["source", "unit"])


def require_enrichment(
    enrichment: EnrichmentResult,
    known: AnnotationStore | None,
    channels: EnrichmentResult | None,
    n_features: int,
) -> AnnotationStore:
    """Refuse an enrichment without its annotations, of other annotations, or of other features.

    Raises
    ------
    InputError, StoreError
        Naming what is missing or differs.
    """
    if known is None:
        raise InputError(
            "which labels are unrelated is read from the annotations",
            todo="Give known=, the annotations that the enrichment was made with",
        )
    if enrichment.settings.get("protocol") == "interplm":
        raise InputError(
            "the enrichment was made by InterPLM's rule, which tests nothing",
            allowed="an enrichment of the protocol 'two-stage'",
        )
    for result in (enrichment, channels):
        made_with = None if result is None or result.path is None else _inputs(result)
        if made_with is not None and made_with.get("annotations") != known.digest:
            raise StoreError(
                f"{result.path if result else ''} was made with other annotations",
                todo="Give the annotations that it was made with",
            )
    sizes = enrichment.summary.set_index("source")["n_features"]
    if int(sizes["features"]) != n_features:
        raise StoreError(
            f"the enrichment is of {int(sizes['features'])} features and the autoencoder has "
            f"{n_features}",
            todo="Give the enrichment of this autoencoder's features",
        )
    return known


def _inputs(result: EnrichmentResult) -> Mapping[str, str]:
    assert result.path is not None
    return read_manifest(result.path).inputs


def measure_polysemanticity(
    enrichment: EnrichmentResult,
    known: AnnotationStore,
    channels: EnrichmentResult | None,
    *,
    n_features: int,
    width: int,
) -> Polysemanticity:
    """Count the unrelated labels that features and raw channels are linked with.

    Parameters
    ----------
    enrichment
        Of the features; its baseline ``channels`` serves where ``channels`` is not given.
    known
        The annotations.
    channels
        An enrichment of the raw channels, both signs as features.
    n_features, width
        Number of features and of channels.
    """
    related = related_labels(known)
    number = {label.name: at for at, label in enumerate(known.labels)}
    of_channels = enrichment.baselines.get(CHANNELS) if channels is None else channels.table
    parts = [_count(FEATURES, _passing(enrichment.table, number), related)]
    totals = {FEATURES: n_features}
    if of_channels is not None:
        passing = _passing(of_channels, number)
        both = passing.assign(unit=passing["unit"] % width)
        parts += [_count(CHANNELS, both, related), _count(HALVES, passing, related)]
        totals |= {CHANNELS: width, HALVES: 2 * width}
    table = pd.concat(parts, ignore_index=True)
    return Polysemanticity(table, _distribution(table, totals))


def _passing(table: pd.DataFrame, number: Mapping[str, int]) -> pd.DataFrame:
    """Return unit and label of the site-level links that are no nuisance, each once."""
    site = table[(table["class"] == "site") & ~table["nuisance"].astype(bool)]
    pairs = pd.DataFrame(
        {
            "unit": site["feature"].to_numpy(np.int64),
            "label": site["label"].map(number).to_numpy(np.int64),
        }
    )
    return pairs.drop_duplicates()


def _count(source: str, pairs: pd.DataFrame, related: NDArray[np.bool_]) -> pd.DataFrame:
    rows = [
        (source, int(unit), len(set(labels)), count_unrelated(labels.to_numpy(), related))
        for unit, labels in pairs.groupby("unit")["label"]
    ]
    columns = ["source", "unit", "n_labels", "n_unrelated"]
    kinds = dict.fromkeys(columns[1:], np.int64)
    return pd.DataFrame(rows, columns=columns).astype(kinds)


def _distribution(table: pd.DataFrame, totals: Mapping[str, int]) -> pd.DataFrame:
    found = pd.DataFrame({"n_unrelated": np.arange(SHOWN + 1)})
    for source, total in totals.items():
        counts = table.loc[table["source"] == source, "n_unrelated"].clip(upper=SHOWN)
        of_each = np.bincount(counts, minlength=SHOWN + 1)
        of_each[0] = total - of_each[1:].sum()
        found[source] = of_each
    return found
