"""plot: EnrichmentResult x Calibration -> figures."""

from .plotting import plot

__all__ = ["plot"]
