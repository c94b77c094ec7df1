"""Find what scientific foundation models know. ``__init__.pyi`` is the whole public API.

Names are imported when they are first used: ``import sci_interp`` loads nothing heavy.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "ActivationStore": "tokens",
    "AnnotationStore": "annotations",
    "Calibration": "enrichment",
    "Candidates": "candidates",
    "EnrichmentResult": "enrichment",
    "Evaluation": "evaluation",
    "FeatureMatch": "matching",
    "FeatureStore": "features",
    "InterventionResult": "causal",
    "RunStatus": "run_status",
    "Plan": "planning",
    "Recipe": "recipes",
    "SciInterpError": "errors",
    "SparseAutoencoder": "sae",
    "StackedSource": "source",
    "StudyResult": "pipeline",
    "Sweep": "sae",
    "Verification": "verification",
    "adapters": "registry",
    "annotate": "annotations",
    "calibrate": "enrichment",
    "encode": "features",
    "encode_nuisances": "features",
    "enrich": "enrichment",
    "evaluate": "evaluation",
    "extract": "activations",
    "fidelity": "sae",
    "intervene": "causal",
    "load_adapter": "registry",
    "load_calibration": "enrichment",
    "load_enrichment": "enrichment",
    "load_sae": "sae",
    "match": "matching",
    "plan": "planning",
    "plot": "figures",
    "publish": "mirrors",
    "run": "pipeline",
    "show": "inspection",
    "status": "run_status",
    "stream": "activations",
    "surface": "candidates",
    "sweep": "sae",
    "train": "sae",
    "verify": "verification",
    "write_report": "report",
}

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604 - the table above is the list


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
