"""evaluate: SparseAutoencoder x ActivationSource -> Evaluation."""

from .evaluating import evaluate
from .result import Evaluation

__all__ = ["Evaluation", "evaluate"]
