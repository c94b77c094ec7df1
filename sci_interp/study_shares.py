"""Shares of a study: what an array of tasks makes of it before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from .activations import extract_share
from .annotations import annotate_share
from .executors import Shard
from .manifest import is_finished
from .recipes import Recipe
from .study import Study, read_study
from .tokens import ActivationStore

__all__ = ["SHUFFLED", "recipe_of", "run_share"]

#: Baseline and folder of the weight-shuffled network.
SHUFFLED: Final = "shuffled"


def run_share(study: Study | Path | str, *, shard: Shard, progress: bool = True) -> int:
    """Make one task's shards of what needs no training: annotations and activations.

    :func:`~sci_interp.pipeline.run` of the same study takes them in and does the rest. Where bad
    records are left out, all else waits for the activations of the network, which tell which.

    Parameters
    ----------
    study, progress
        As for :func:`~sci_interp.pipeline.run`.
    shard
        ``(i, n)``: which task of an array of how many.

    Returns
    -------
    int
        Number of shards that are this task's.

    Raises
    ------
    SciInterpError
        If the study or its data cannot be used, or a folder holds another study's work.
    """
    study = study if isinstance(study, Study) else read_study(study)
    recipe = recipe_of(study)
    given: dict[str, Any] = {"shard": shard, "fractions": study.splits, "progress": progress}
    out = study.out / "activations"

    def extract_own(opened: Recipe, folder: Path, **quarantine: Any) -> int:
        layer = study.study.layer or opened.open_once()[0].default_layer
        return extract_share(opened, layer=layer, out=folder, **given, **quarantine)

    n_shards = extract_own(recipe, out, **vars(study.extract))
    like = None
    if study.extract.on_error == "quarantine":
        if not is_finished(out):
            return n_shards
        like = ActivationStore.open(out)
    n_shards += annotate_share(recipe, out=study.out / "annotations", like=like, **given)
    if SHUFFLED in study.baselines.use:
        shuffled = replace(recipe, control="weights", seed=study.study.seed)
        folder = study.out / "baselines" / SHUFFLED / "activations"
        n_shards += extract_own(shuffled, folder, like=like)
    return n_shards


def recipe_of(study: Study) -> Recipe:
    """Return how workers open a study's model and data."""
    chosen = study.study
    return Recipe(
        chosen.adapter,
        model=chosen.model or None,
        data=study.data.get("path"),
        options={name: value for name, value in study.data.items() if name != "path"},
        model_options=study.model_options,
    )
