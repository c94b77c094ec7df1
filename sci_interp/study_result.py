"""What a study found: its tables, its candidates and its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from .candidates import Candidates
    from .enrichment import EnrichmentResult
    from .sae import Fidelity

__all__ = ["StudyResult"]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study found.

    Attributes
    ----------
    out : Path
        Folder of all artefacts.
    enrichment : EnrichmentResult
        Features linked to labels, with baselines.
    sparse_probes : DataFrame
        How well few features together tell each label, by source and number of features.
    matched : DataFrame or None
        Features against each label's best covariate; None without the baseline ``covariates``.
    candidates : Candidates
        The two queues.
    fidelity : Fidelity
        What the first autoencoder keeps of the activations and of the network's task.
    report : Path
        The page.
    """

    out: Path
    enrichment: EnrichmentResult
    sparse_probes: pd.DataFrame
    matched: pd.DataFrame | None
    candidates: Candidates
    fidelity: Fidelity
    report: Path

    def format(self) -> str:
        """Return the tables as text."""
        from .enrichment.matched import format_matched
        from .enrichment.sparse_probes import format_sparse_probes

        parts = [self.fidelity.format(), self.enrichment.format()]
        parts.append(format_sparse_probes(self.sparse_probes))
        if self.matched is not None:
            parts.append(format_matched(self.matched))
        return "\n\n".join([*parts, self.candidates.format(), f"Report: {self.report}"])
