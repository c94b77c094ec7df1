"""Linear projections by name: fitted once, kept in a folder, and loaded from there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sci_interp.annotations import AnnotationStore
from sci_interp.errors import UnknownNameError
from sci_interp.manifest import is_finished
from sci_interp.schema import Split
from sci_interp.source import ActivationSource

from .channels import ChannelProjection
from .ica import IcaProjection
from .linear import LinearProjection, load_projection
from .pca import PcaProjection
from .probes import ProbeProjection

__all__ = ["fit_projection"]

PROJECTIONS = ("channels", "pca", "ica", "probe")


def fit_projection(
    name: str,
    source: ActivationSource,
    known: AnnotationStore,
    *,
    out: Path,
    splits: Sequence[Split],
    seed: int = 0,
) -> LinearProjection:
    """Return the projection of these activations that ``out`` holds, or fit and keep one.

    Parameters
    ----------
    name
        ``"channels"``, ``"pca"``, ``"ica"`` or ``"probe"``.
    source
        The activations.
    known
        Labels of the probe, which is fitted on training blocks; the others use none.
    out
        Folder of the projection.
    splits
        What projections without labels are fitted on.
    seed
        Seed of ICA.

    Raises
    ------
    UnknownNameError
        If there is no projection of the name.
    StoreError
        If ``out`` holds the projection of other activations or labels.
    """
    if name not in PROJECTIONS:
        raise UnknownNameError("projection", name, PROJECTIONS)
    if is_finished(out):
        found = load_projection(out)
        annotations = found.details.get("annotations", known.digest)
        if found.parent.get("activations") == source.digest and annotations == known.digest:
            return found
    fitted: LinearProjection
    if name == "channels":
        fitted = ChannelProjection.fit(source, splits)
    elif name == "pca":
        fitted = PcaProjection.fit(source, splits)
    elif name == "ica":
        fitted = IcaProjection.fit(source, splits, seed=seed)
    else:
        # Labels are used: nothing that is linked later may be seen.
        fitted = ProbeProjection.fit(source, known)
    fitted.save(out)
    return fitted
