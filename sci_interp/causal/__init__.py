"""intervene: Adapter x Dataset x SparseAutoencoder x feature -> InterventionResult."""

from .intervention import intervene
from .result import InterventionResult

__all__ = ["InterventionResult", "intervene"]
