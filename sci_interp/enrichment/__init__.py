"""enrich: FeatureStore x AnnotationStore -> EnrichmentResult."""

from .calibration import Calibration, calibrate, load_calibration
from .protocol import enrich
from .result import EnrichmentResult, load_enrichment
from .table import format_table

__all__ = [
    "Calibration",
    "EnrichmentResult",
    "calibrate",
    "enrich",
    "format_table",
    "load_calibration",
    "load_enrichment",
]
