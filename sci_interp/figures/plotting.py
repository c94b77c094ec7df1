"""The verb: which figures a result has, and where they are written."""

from __future__ import annotations

from pathlib import Path

from sci_interp.enrichment import Calibration, EnrichmentResult
from sci_interp.enrichment.references import CEILING
from sci_interp.enrichment.result import MAIN
from sci_interp.errors import InputError

from .calibration_qq import draw_calibration
from .precision_recall import draw_curves
from .sources import draw_sources
from .style import save
from .volcano import draw_volcano

__all__ = ["plot"]


def plot(
    result: EnrichmentResult,
    *,
    calibration: Calibration | None = None,
    out: Path | str | None = None,
    n_labels: int = 12,
) -> tuple[Path, ...]:
    """Draw what a result says, as PNG files.

    ``sources.png``: labels linked, by source and rule. ``volcano.png``: log odds against q of every
    tested pair, by class. ``precision_recall.png``: each label's printed feature, and the best
    feature of every baseline. ``calibration.png``: p of labels that were exchanged and shifted,
    against uniform p.

    Parameters
    ----------
    result
        What ``enrich`` returned or ``load_enrichment`` read.
    calibration
        What ``calibrate`` found for the same features and annotations; adds the last figure.
    out
        Folder of the figures; beside the result where omitted: ``enrichment-figures``.
    n_labels
        Labels of the third figure at most: those with the best printed rows.

    Returns
    -------
    tuple of Path
        The files written. InterPLM's protocol tests nothing, so that it has no volcano.

    Raises
    ------
    InputError
        If there is no place to write to, or the result was made by a version that kept too little.
    MissingExtraError
        If matplotlib is not installed.
    """
    if n_labels < 1:
        raise InputError(f"n_labels is {n_labels}", allowed="1 or more")
    folder = _choose_folder(result, out)
    if result.tested is None or result.curves is None:
        raise InputError(
            f"{result.path or 'the result'} was made by a version that kept no pairs to draw",
            todo="Run enrich again, with another --out",
        )
    drawn = {"sources": draw_sources(result.summary)}
    if len(result.tested):
        drawn["volcano"] = draw_volcano(result.tested, float(result.settings["q"]))
    if len(result.curves):
        drawn["precision_recall"] = draw_curves(
            result.curves, result.table, main=MAIN, ceiling=CEILING, n_labels=n_labels
        )
    if calibration is not None:
        drawn["calibration"] = draw_calibration(
            calibration.p_values, calibration.null, calibration.format()
        )
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(save(figure, folder / f"{name}.png") for name, figure in drawn.items())


def _choose_folder(result: EnrichmentResult, out: Path | str | None) -> Path:
    if out is not None:
        return Path(out)
    if result.path is None:
        raise InputError("the result was not written to a folder", todo="Give out, a folder")
    return result.path.with_name(f"{result.path.name}-figures")
