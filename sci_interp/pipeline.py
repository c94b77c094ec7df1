"""run: study file -> all artefacts, the tables and the report.

Every verb skips what is finished and continues what was interrupted; so does the whole.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .activations import extract, stream
from .adapter import Adapter, Dataset, WithCovariates
from .annotations import AnnotationStore, annotate
from .disk import read_json, reading
from .feature_subsets import FeatureSubset, split_families
from .features import FeatureStore, encode, encode_nuisances
from .manifest import begin_artefact, clear_on_mistake, finish_artefact
from .recipes import Recipe
from .registry import load_adapter
from .schema import Split
from .source import ActivationSource
from .streams import require_layer
from .study import Study, read_study
from .study_result import StudyResult
from .study_shares import SHUFFLED, recipe_of

if TYPE_CHECKING:
    import pandas as pd

    from .candidates import Candidates
    from .enrichment import EnrichmentResult
    from .sae import Fidelity, SparseAutoencoder

__all__ = ["StudyResult", "run"]

#: The linear projection that is fitted to the labels.
PROBE = "probe"
CHANNELS = "channels"
NUISANCES = "nuisances"
COVARIATES = "covariates"
#: What every method that uses no label is fitted on: the autoencoders and the projections alike.
UNLABELLED: tuple[Split, ...] = ("train", "discovery")
FIDELITY_FILE = "fidelity.json"
REPORT_FILE = "report.html"


def run(
    study: Study | Path | str,
    *,
    progress: bool = True,
    workers: int | None = None,
    executor: Executor | None = None,
) -> StudyResult:
    """Run a study: all verbs, the baselines and controls, the tables and the report.

    Parameters
    ----------
    study
        A study file, or one that was read.
    progress
        Tell on standard error which step runs, and how far it is.
    workers
        Processes that share the shards of the verbs; every artefact has the same bytes with any
        number. None takes this process with all its threads, where a network may round otherwise.
    executor
        In place of ``workers``: whose workers share them, for example those of Dask.

    Raises
    ------
    SciInterpError
        If the study or its data cannot be used, or the folder holds another study's work.
    """
    study = study if isinstance(study, Study) else read_study(study)
    work = _Work(study, progress, {"workers": workers, "executor": executor})
    steps = list(work.steps())
    for number, (label, step) in enumerate(steps, 1):
        started = time.monotonic()
        _tell(progress, f"== {number}/{len(steps)} {label}")
        step()
        _tell(progress, f"   {time.monotonic() - started:.1f} s")
    found = (work.enrichment, work.sparse_probes, work.matched, work.candidates, work.fidelity)
    return StudyResult(study.out, *found, work.report)


def _tell(progress: bool, text: str) -> None:
    if progress:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@dataclass(eq=False)
class _Work:
    """The steps of one study and what they made so far."""

    study: Study
    progress: bool
    #: ``workers`` or ``executor`` of the verbs.
    makers: dict[str, Any]
    adapter: Adapter = field(init=False)
    dataset: Dataset = field(init=False)
    known: AnnotationStore = field(init=False)
    source: ActivationSource = field(init=False)
    #: Whose records in quarantine are left out; None before anything is extracted.
    like: ActivationSource | None = None
    saes: list[SparseAutoencoder] = field(default_factory=list)
    features: list[FeatureStore] = field(default_factory=list)
    baselines: dict[str, FeatureStore | FeatureSubset] = field(default_factory=dict)
    shuffled: list[FeatureStore] = field(default_factory=list)
    decoys: list[FeatureStore] = field(default_factory=list)
    fidelity: Fidelity = field(init=False)
    enrichment: EnrichmentResult = field(init=False)
    sparse_probes: pd.DataFrame = field(init=False)
    matched: pd.DataFrame | None = None
    candidates: Candidates = field(init=False)
    report: Path = field(init=False)

    @property
    def recipe(self) -> Recipe:
        return recipe_of(self.study)

    @property
    def layer(self) -> str:
        return self.study.study.layer or self.adapter.default_layer

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield every step with its label, in order."""
        study = self.study
        yield f"open the data with the adapter {study.study.adapter!r}", self.open_data
        first = [("annotate: what is known of every token", self.annotate_tokens)]
        first.append(("extract: activations of the network", self.extract_activations))
        # What extract leaves out is not annotated either.
        yield from reversed(first) if study.extract.on_error == "quarantine" else first
        for index in range(study.sae.n_seeds):
            seed = study.study.seed + index
            yield f"train: {study.sae.features} features, seed {seed}", self.train_step(seed)
            yield f"encode: seed {seed}", self.encode_step(index)
        yield "fidelity of the first autoencoder", self.measure_fidelity
        for name in study.baselines.use:
            yield f"baseline: {name}", self.baseline_step(name)
        yield "decoys: inputs without labels", self.encode_decoys
        yield "enrich: features and labels", self.enrich_features
        yield "sparse probes: few features together", self.probe_features
        if COVARIATES in study.baselines.use:
            yield "matched: features against the best covariate", self.compare_covariates
        yield "surface: candidates", self.surface_candidates
        yield "report", self.write_page

    def open_data(self) -> None:
        chosen = self.study.study
        options = self.study.model_options
        self.adapter = load_adapter(chosen.adapter, model=chosen.model or None, **options)
        self.dataset = self.adapter.open(**self.study.data)
        require_layer(self.adapter, self.layer)

    def annotate_tokens(self) -> None:
        out = self.study.out / "annotations"
        self.known = annotate(
            self.adapter,
            self.dataset,
            out=out,
            fractions=self.study.splits,
            progress=self.progress,
            recipe=self.recipe,
            like=self.like,
            **self.makers,
        )

    def extract_activations(self) -> None:
        given = self.adapter, self.recipe, self.study.out / "activations"
        self.like = self.source = self.extract_from(*given, **vars(self.study.extract))

    def extract_from(
        self, adapter: Adapter, recipe: Recipe, out: Path, **quarantine: Any
    ) -> ActivationSource:
        return extract(
            adapter,
            self.dataset,
            layer=self.layer,
            out=out,
            fractions=self.study.splits,
            progress=self.progress,
            recipe=recipe,
            **quarantine,
            **self.makers,
        )

    def train_step(self, seed: int) -> Callable[[], None]:
        def step() -> None:
            out = self.study.out / f"sae-{seed}"
            self.saes.append(self.train_on(self.source, out, seed))

        return step

    def train_on(self, source: ActivationSource, out: Path, seed: int) -> SparseAutoencoder:
        from .sae import train

        chosen = self.study.sae
        return train(
            source,
            out=out,
            features=chosen.features,
            k=chosen.k,
            seed=seed,
            architecture=chosen.architecture,
            n_tokens=chosen.n_tokens,
            batch_size=chosen.batch_size,
            learning_rate=chosen.learning_rate or None,
            penalty=chosen.penalty or None,
            whitening=chosen.whitening,
            precision=chosen.precision,
            splits=UNLABELLED,
            progress=self.progress,
        )

    def encode_step(self, index: int) -> Callable[[], None]:
        def step() -> None:
            out = self.study.out / f"features-{self.study.study.seed + index}"
            self.features.append(self.encode_with(self.saes[index], self.source, out))

        return step

    def encode_with(
        self, encoder: Any, source: ActivationSource, out: Path, recipe: Recipe | None = None
    ) -> FeatureStore:
        return encode(
            encoder, source, out=out, progress=self.progress, recipe=recipe, **self.makers
        )

    def measure_fidelity(self) -> None:
        from .sae import Fidelity, fidelity

        folder, sae, seed = self.study.out / "fidelity", self.saes[0], self.study.study.seed
        inputs = {
            "sae": sae.digest,
            "activations": self.source.digest,
            "dataset": self.dataset.digest,
        }
        if begin_artefact(folder, "fidelity", inputs=inputs, settings={"seed": seed}):
            with reading(folder / FIDELITY_FILE):
                self.fidelity = Fidelity(**read_json(folder / FIDELITY_FILE))
            return
        with clear_on_mistake(folder):
            work: dict[str, Any] = {"adapter": self.adapter, "dataset": self.dataset, "seed": seed}
            self.fidelity = fidelity(sae, self.source, out=folder / FIDELITY_FILE, **work)
            finish_artefact(folder)

    def baseline_step(self, name: str) -> Callable[[], None]:
        def step() -> None:
            if name == SHUFFLED:
                self.baselines[name] = self.encode_shuffled()
            elif name == COVARIATES:
                if isinstance(self.adapter, WithCovariates):
                    self.baselines[name] = self.encode_covariates()
            elif name == NUISANCES:
                self.baselines |= split_families(self.encode_cheap())
            else:
                self.baselines[name] = self.project(name)

        return step

    def project(self, name: str) -> FeatureStore:
        from .projections import fit_projection

        folder, seed = self.study.out / "baselines" / name, self.study.study.seed
        projection = fit_projection(
            name, self.source, self.known, out=folder / "projection", splits=UNLABELLED, seed=seed
        )
        return self.encode_with(projection, self.source, folder / "features")

    def encode_shuffled(self) -> FeatureStore:
        """Train on the weight-shuffled network as on the network: as many seeds, one source."""
        first, folder = self.study.study.seed, self.study.out / "baselines" / SHUFFLED
        recipe = replace(self.recipe, control="weights", seed=first)
        shuffled = self.adapter.shuffle_weights(first)
        # A record that is bad in this network alone stops the study.
        source = self.extract_from(shuffled, recipe, folder / "activations", like=self.like)
        for index in range(self.study.sae.n_seeds):
            end = "" if index == 0 else f"-{first + index}"
            sae = self.train_on(source, folder / f"sae{end}", first + index)
            self.shuffled.append(self.encode_with(sae, source, folder / f"features{end}"))
        return self.shuffled[0]

    def encode_cheap(self) -> FeatureStore:
        return encode_nuisances(
            self.adapter,
            self.dataset,
            out=self.study.out / "baselines" / "nuisances",
            fractions=self.study.splits,
            progress=self.progress,
            like=self.like,
        )

    def encode_covariates(self) -> FeatureStore:
        from .projections import encode_covariates

        return encode_covariates(
            self.adapter,
            self.dataset,
            out=self.study.out / "baselines" / COVARIATES,
            fractions=self.study.splits,
            fit_on=UNLABELLED,
            progress=self.progress,
            like=self.like,
        )

    def encode_decoys(self) -> None:
        first = self.study.study.seed
        for seed in range(first, first + self.study.surface.n_decoys):
            decoys = self.adapter.decoy(self.dataset, seed)
            splits, like = self.study.splits, self.like
            source = stream(self.adapter, decoys, self.layer, fractions=splits, like=like)
            out = self.study.out / f"decoys-{seed}"
            recipe = replace(self.recipe, control="inputs", seed=seed)
            self.decoys.append(self.encode_with(self.saes[0], source, out, recipe))

    def enrich_features(self) -> None:
        from .enrichment import enrich

        # A probe has seen the labels: it bounds what the activations hold, and is no baseline.
        baselines = {name: store for name, store in self.baselines.items() if name != PROBE}
        self.enrichment = enrich(
            self.features[0],
            self.known,
            out=self.study.out / "enrichment",
            baselines=baselines,
            ceiling=self.baselines.get(PROBE),
            seed=self.study.study.seed,
            progress=self.progress,
            **vars(self.study.enrich),
            **self.makers,
        )

    def probe_features(self) -> None:
        from .enrichment.sparse_probes import probe_sources

        channels = {name: store for name, store in self.baselines.items() if name == CHANNELS}
        self.sparse_probes = probe_sources(
            {"features": self.features[0], **channels},
            self.known,
            out=self.study.out / "sparse-probes",
            progress=self.progress,
        )

    def compare_covariates(self) -> None:
        from .enrichment.matched import compare_matched

        if COVARIATES not in self.baselines:  # The adapter knows none.
            return
        self.matched = compare_matched(
            self.features[0],
            self.known,
            self.baselines[COVARIATES],
            out=self.study.out / "matched",
            seed=self.study.study.seed,
            progress=self.progress,
        )

    def surface_candidates(self) -> None:
        from .candidates import surface

        self.candidates = surface(
            self.features[0],
            self.enrichment,
            known=self.known,
            adapter=self.adapter,
            dataset=self.dataset,
            seeds=self.features[1:],
            control=self.shuffled[0] if self.shuffled else None,
            control_seeds=self.shuffled[1:],
            decoys=self.decoys,
            q_missing=self.study.surface.q_missing,
            q_control=self.study.surface.q_control,
            out=self.study.out / "candidates",
            seed=self.study.study.seed,
            progress=self.progress,
        )

    def write_page(self) -> None:
        from .report import write_report

        chosen = self.study.report
        self.report = write_report(
            self.study.out / REPORT_FILE,
            result=self.enrichment,
            sparse_probes=self.sparse_probes,
            matched=self.matched,
            candidates=self.candidates,
            features=self.features[0],
            known=self.known,
            adapter=self.adapter,
            dataset=self.dataset,
            fidelity=self.fidelity,
            title=chosen.title,
            n_top=chosen.n_features,
        )
