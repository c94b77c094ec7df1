"""The verb: checks, the artefact, and the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sci_interp.codes import Encoder
from sci_interp.enrichment.kernel import default_threads
from sci_interp.errors import InputError
from sci_interp.manifest import begin_artefact, clear_on_mistake
from sci_interp.schema import SPLITS, Split
from sci_interp.source import ActivationSource

from .coding import require_fit
from .comparison import Comparison, compare
from .result import KIND, FeatureMatch
from .shared import SharedTokens

__all__ = ["match"]


def match(
    sae_a: Encoder,
    sae_b: Encoder,
    acts_a: ActivationSource,
    *,
    acts_b: ActivationSource | None = None,
    splits: Sequence[Split] = ("test",),
    n_tokens: int = 100_000,
    n_permutations: int = 100,
    seed: int = 0,
    n_threads: int | None = None,
    out: Path | str | None = None,
    progress: bool = True,
) -> FeatureMatch:
    """Match the features of two dictionaries by their activations on shared tokens.

    The dictionaries may be of other seeds, other layers, or other networks that read the same
    records. Every feature of A gets the feature of B that correlates with it best, and the partner
    under the best one-to-one assignment; beside both stands what the same search finds when B's
    records are exchanged between blocks, and among random directions of B's activations.

    Parameters
    ----------
    sae_a, sae_b
        Autoencoders, or other encoders.
    acts_a
        Activations that A reads.
    acts_b
        Activations that B reads, of the same records; those of A by default.
    splits
        Neighbouring splits to compare on; the autoencoders should not have seen them.
    n_tokens
        About how many tokens to compare: records evenly spaced over the splits.
    n_permutations
        Draws of the null; p is 1 / (1 + n_permutations) at the least.
    seed
        Seed of exchanges and random directions.
    n_threads
        Threads; all processors by default. Without influence on the result.
    out
        Folder of the artefact; a finished one is opened. Without, nothing is written.
    progress
        Tell on standard error how far the work is.

    Raises
    ------
    InputError
        If a setting is out of range, the splits hold no two blocks to exchange, or the codes are
        more than is held in memory.
    StoreError
        If the two sources are of different records, an encoder does not fit its source, or ``out``
        holds other work.
    """
    theirs = acts_a if acts_b is None else acts_b
    _check_settings(splits, n_tokens, n_permutations)
    acts_a.axis.require_same(theirs.axis, "the activations of A", "those of B")
    require_fit(sae_a, acts_a, "autoencoder A")
    require_fit(sae_b, theirs, "autoencoder B")
    settings = {
        "a": _describe(acts_a),
        "b": _describe(theirs),
        "splits": ", ".join(splits),
        "n_tokens": n_tokens,
        "n_permutations": n_permutations,
        "seed": seed,
    }
    inputs = {
        "sae_a": sae_a.digest,
        "sae_b": sae_b.digest,
        "activations_a": acts_a.digest,
        "activations_b": theirs.digest,
    }
    folder = None if out is None else Path(out)
    if folder is not None and begin_artefact(folder, KIND, inputs=inputs, settings=settings):
        return FeatureMatch.open(folder)
    with clear_on_mistake(*([] if folder is None else [folder])):
        given = Comparison(
            sae_a,
            sae_b,
            acts_a,
            theirs,
            SharedTokens.choose(acts_a.axis, splits, n_tokens),
            n_permutations,
            seed,
            n_threads or default_threads(),
            progress,
        )
        found = FeatureMatch(*compare(given), settings)
    return found if folder is None else found.write(folder)


def _check_settings(splits: Sequence[Split], n_tokens: int, n_permutations: int) -> None:
    if not splits or not set(splits) <= set(SPLITS):
        raise InputError(f"the splits {list(splits)} are not usable", allowed=", ".join(SPLITS))
    if n_tokens < 1 or n_permutations < 1:
        raise InputError(
            f"n_tokens={n_tokens}, n_permutations={n_permutations} are not usable",
            allowed="positive numbers",
        )


def _describe(source: ActivationSource) -> dict[str, str]:
    return {"layer": source.layer, "model": str(source.model["name"])}
