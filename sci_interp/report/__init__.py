"""report: EnrichmentResult x Candidates -> one HTML page that opens offline."""

from .page import write_report

__all__ = ["write_report"]
