"""match: SparseAutoencoder x SparseAutoencoder x ActivationSource -> FeatureMatch."""

from .pairing import match
from .result import FeatureMatch

__all__ = ["FeatureMatch", "match"]
