# The whole public API: seven artefacts, made by verbs. Each verb's module says the rest.

__version__: str

# Adapters: the model and the data of a domain.
from .registry import adapters as adapters  # () -> [AdapterInfo], imports none of them
from .registry import load_adapter as load_adapter  # (name, model) -> Adapter
from .recipes import Recipe as Recipe  # both, opened alike by every worker

# Verbs. Every one continues what was interrupted and opens what is finished.
from .activations import extract as extract  # Adapter x Dataset -> ActivationStore
from .activations import stream as stream  # Adapter x Dataset -> activations, stored nowhere
from .source import StackedSource as StackedSource  # several layers side by side, for train
from .sae import train as train  # activations -> SparseAutoencoder
from .sae import sweep as sweep  # activations -> Sweep: many, in one pass
from .sae import fidelity as fidelity  # SparseAutoencoder x activations -> Fidelity
from .evaluation import evaluate as evaluate  # ... x network x seeds x links -> Evaluation
from .matching import match as match  # two SparseAutoencoders x activations -> FeatureMatch
from .features import encode as encode  # SparseAutoencoder x activations -> FeatureStore
from .features import encode_nuisances as encode_nuisances  # Adapter x Dataset -> FeatureStore
from .annotations import annotate as annotate  # Adapter x Dataset -> AnnotationStore
from .enrichment import enrich as enrich  # FeatureStore x AnnotationStore -> EnrichmentResult
from .enrichment import calibrate as calibrate  # ... with labels shifted -> Calibration
from .figures import plot as plot  # EnrichmentResult x Calibration -> PNG files
from .candidates import surface as surface  # FeatureStore x EnrichmentResult -> Candidates
from .causal import intervene as intervene  # ... x feature -> InterventionResult
from .report import write_report as write_report  # EnrichmentResult x Candidates -> a page
from .pipeline import run as run  # study file -> all of these
from .planning import plan as plan  # study file -> Plan: bytes, hours, shards, before it runs
from .inspection import show as show  # folder -> what it is, from what, by which version
from .run_status import status as status  # folder -> RunStatus: done, running, failed; time left
from .mirrors import publish as publish  # folder -> s3://..., where open reads it again
from .verification import verify as verify  # folder -> Verification: every file hashed again

# Artefacts, and how they are opened again: ActivationStore.open(path), load_sae(path) ...
from .tokens import ActivationStore as ActivationStore
from .sae import SparseAutoencoder as SparseAutoencoder
from .sae import load_sae as load_sae  # also of other programs: docs/checkpoints.md
from .sae import Sweep as Sweep
from .evaluation import Evaluation as Evaluation
from .matching import FeatureMatch as FeatureMatch
from .features import FeatureStore as FeatureStore
from .annotations import AnnotationStore as AnnotationStore
from .enrichment import EnrichmentResult as EnrichmentResult
from .enrichment import load_enrichment as load_enrichment
from .enrichment import Calibration as Calibration
from .enrichment import load_calibration as load_calibration
from .candidates import Candidates as Candidates
from .causal import InterventionResult as InterventionResult
from .pipeline import StudyResult as StudyResult
from .planning import Plan as Plan
from .run_status import RunStatus as RunStatus
from .verification import Verification as Verification

# What every error of this library is.
from .errors import SciInterpError as SciInterpError
