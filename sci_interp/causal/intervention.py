"""intervene: Adapter x Dataset x SparseAutoencoder x feature -> InterventionResult."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from sci_interp.adapter import Adapter, Dataset
from sci_interp.axis import DEFAULT_FRACTIONS, TokenAxis
from sci_interp.codes import Codes
from sci_interp.errors import InputError, StoreError
from sci_interp.feature_store import FeatureStore
from sci_interp.manifest import begin_artefact, clear_on_mistake, finish_artefact
from sci_interp.sae import SparseAutoencoder
from sci_interp.schema import BLOCK, RECORD, Split
from sci_interp.streams import ActivationStream, require_layer
from sci_interp.tables import read_table, write_table

from .arms import Bench, choose_endpoints, plan_arms, require_endpoints
from .choice import choose_strongest, find_records
from .directions import CONTROL_KINDS, ControlKind, FeatureShare, control_directions
from .effects import summarise_effects
from .result import CHOSEN, EFFECTS, KIND, InterventionResult
from .units import long_table, measure_units

__all__ = ["intervene"]

ReadCodes: TypeAlias = Callable[[int, int], Codes]

MIN_CONTROLS = 20


def intervene(
    adapter: Adapter,
    dataset: Dataset,
    sae: SparseAutoencoder,
    *,
    feature: int,
    layer: str | None = None,
    coefficients: Sequence[float] = (-1.0, 1.0),
    endpoints: Sequence[str] | None = None,
    records: Sequence[str] | None = None,
    codes: FeatureStore | None = None,
    fractions: Mapping[Split, float] | None = None,
    n_records: int = 64,
    n_per_block: int = 4,
    controls: ControlKind = "directions",
    n_controls: int = 20,
    n_bootstrap: int = 2_000,
    seed: int = 0,
    out: Path | str | None = None,
    progress: bool = True,
) -> InterventionResult:
    """Scale one feature inside the network and measure what becomes of its answer.

    At every token where the feature fires, ``coefficient * f * W`` is added to the untouched
    activation, with the feature's activation ``f`` and its decoder row ``W`` in the units of the
    activations; the network's own forward pass goes on from there.

    Parameters
    ----------
    adapter, dataset
        The network and its data; the adapter is :class:`~sci_interp.adapter.Measurable`.
    sae
        The autoencoder of the layer.
    feature
        The feature.
    layer
        Where to intervene; by default the layer that the autoencoder was trained on.
    coefficients
        -1 ablates, 1 doubles. 0 is always run, as the no-op arm.
    endpoints
        Names of what to measure, chosen beforehand: q is adjusted for these alone. By default all
        that the adapter measures.
    records
        Records to run; by default those of the test blocks on which the feature fires most.
    codes
        Features of the dataset by this autoencoder: the strongest records are read from them, with
        their splits. Without, the network runs over all test blocks first.
    fractions
        Shares of the splits, as given to ``extract``; for use without ``codes``.
    n_records, n_per_block
        Most records of the default choice, and most of one block.
    controls
        ``"directions"`` at random, or those of other ``"features"`` with like firing rates; of
        the same length at the same tokens.
    n_controls
        Number of controls, at least 20: p is 1 / (1 + n_controls) at the least, and for one of
        ``n`` endpoints and coefficients to reach q it takes ``n / q - 1``.
    n_bootstrap
        Resamples of blocks for the intervals.
    seed
        Seed of random directions, resamples and sign flips.
    out
        Folder of the artefact; an interrupted run continues there. Without, nothing is written.
    progress
        Tell on standard error how far the work is.

    Raises
    ------
    InputError
        If the adapter measures nothing, a setting is out of range, or the feature fires nowhere.
    UnknownNameError
        If there is no such endpoint, layer or record.
    StoreError
        If autoencoder, codes and network do not belong together, or ``out`` holds other work.
    """
    measurable, offered = require_endpoints(adapter, dataset)
    definitions = choose_endpoints(offered, endpoints)
    layer = layer or str(sae.parent.get("layer", adapter.default_layer))
    request = _Request(
        feature, tuple(map(float, coefficients)), n_records, n_per_block, controls, n_controls
    )
    request.check(sae)
    _require_fit(adapter, sae, layer)
    share = FeatureShare(sae, feature)
    directions = control_directions(sae, feature, n_controls, kind=controls, seed=seed)
    bench = Bench(measurable, dataset, layer, share, directions, tuple(definitions), tuple(offered))
    named = None if records is None else find_records(dataset, records)
    splits = dict(fractions or DEFAULT_FRACTIONS)
    settings = {
        **asdict(request),
        "adapter": adapter.name,
        "layer": layer,
        "endpoints": definitions,
        "records": None if named is None else named[RECORD].tolist(),
        "fractions": splits if codes is None and named is None else None,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    folder = None if out is None else Path(out)
    claimed = [] if folder is None else [folder]
    if folder is not None:
        inputs = {"model": adapter.model.digest, "dataset": dataset.digest, "sae": sae.digest}
        inputs |= {"codes": codes.digest} if codes is not None and named is None else {}
        if begin_artefact(folder, KIND, inputs=inputs, settings=settings):
            return InterventionResult.open(folder)
    with clear_on_mistake(*claimed):
        chosen = named
        if chosen is None:
            axis, read = _codes_of(adapter, dataset, sae, layer=layer, codes=codes, splits=splits)
            chosen = _choose(folder, axis, read, sae, request, progress=progress)
        arms = plan_arms(request.coefficients, n_controls)
        values = measure_units(folder, bench, chosen, arms, progress=progress)
    effects = summarise_effects(
        values,
        arms,
        chosen[BLOCK].tolist(),
        endpoints=bench.endpoints,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    if folder is not None:
        write_table(folder, EFFECTS, effects)
        finish_artefact(folder)
        return InterventionResult.open(folder)
    measured = long_table(chosen, arms, bench.endpoints, values)
    return InterventionResult(effects, measured, definitions, settings)


@dataclass(frozen=True)
class _Request:
    """What the user chose; see :func:`intervene`."""

    feature: int
    coefficients: tuple[float, ...]
    n_records: int
    n_per_block: int
    controls: ControlKind
    n_controls: int

    def check(self, sae: SparseAutoencoder) -> None:
        """Refuse settings that are out of range."""
        if not 0 <= self.feature < sae.n_features:
            raise InputError(
                f"there is no feature {self.feature}", allowed=f"0 to {sae.n_features - 1}"
            )
        given = self.coefficients
        if (
            not np.isfinite(given).all()
            or len(set(given)) < len(given)
            or not any(value != 0 for value in given)
        ):
            raise InputError(
                f"the coefficients {', '.join(f'{value:g}' for value in given)} are not usable",
                allowed="finite numbers that differ, at least one other than 0",
            )
        if self.controls not in CONTROL_KINDS:
            raise InputError(
                f"the controls {self.controls!r} are unknown", allowed=", ".join(CONTROL_KINDS)
            )
        if self.n_controls < MIN_CONTROLS:
            raise InputError(f"n_controls is {self.n_controls}", allowed=f"at least {MIN_CONTROLS}")
        if min(self.n_records, self.n_per_block) < 1:
            raise InputError(
                f"n_records={self.n_records}, n_per_block={self.n_per_block} are not usable",
                allowed="positive numbers",
            )


def _require_fit(adapter: Adapter, sae: SparseAutoencoder, layer: str) -> None:
    """Refuse an autoencoder of another layer or network."""
    width = require_layer(adapter, layer)
    if sae.output is not None:
        raise StoreError(
            f"the transcoder writes another layer than it reads: {sae.parent.get('writes', '')!r}",
            todo="Intervene with an autoencoder of one layer",
        )
    if width != sae.width or sae.parent.get("layer", layer) != layer:
        raise StoreError(
            f"the autoencoder reads {sae.width} channels of layer "
            f"{sae.parent.get('layer', 'unknown')!r}, and layer {layer!r} has {width}",
            todo="Intervene at the layer that the autoencoder was trained on",
        )
    if sae.parent.get("model_digest", adapter.model.digest) != adapter.model.digest:
        raise StoreError(
            f"the autoencoder was trained on another network: {sae.parent.get('model', '')} "
            f"{sae.parent['model_digest'][:12]}, not {adapter.model.name} "
            f"{adapter.model.digest[:12]}",
            todo="Give the network that it was trained on, or train an autoencoder on this one",
        )


def _codes_of(
    adapter: Adapter,
    dataset: Dataset,
    sae: SparseAutoencoder,
    *,
    layer: str,
    codes: FeatureStore | None,
    splits: Mapping[Split, float],
) -> tuple[TokenAxis, ReadCodes]:
    """Return the axis and a reader of its codes: stored, or of the network run on demand."""
    if codes is None:
        source = ActivationStream(adapter, dataset, layer, fractions=splits)
        return source.axis, lambda start, stop: sae.encode(source.read(start, stop))
    if codes.manifest.inputs.get("encoder") != sae.digest:
        raise StoreError(
            f"{codes.path} was encoded by another autoencoder than the one given",
            todo="Give the features that this autoencoder encoded, or leave them out",
        )
    axis = TokenAxis.of(dataset, left_out=codes.axis.quarantine)
    codes.axis.require_same(axis, f"the features in {codes.path}", "the dataset")
    return codes.axis, codes.read


def _choose(
    folder: Path | None,
    axis: TokenAxis,
    read: ReadCodes,
    sae: SparseAutoencoder,
    request: _Request,
    *,
    progress: bool,
) -> pd.DataFrame:
    """Return the strongest records; an artefact that was begun remembers them."""
    if folder is not None and (folder / f"{CHOSEN}.csv").is_file():
        return read_table(folder, CHOSEN)
    found = choose_strongest(
        axis,
        read,
        request.feature,
        parent=sae.parent,
        n_records=request.n_records,
        n_per_block=request.n_per_block,
        progress=progress,
    )
    if folder is not None:
        write_table(folder, CHOSEN, found)
    return found
