"""surface: FeatureStore x EnrichmentResult x AnnotationStore -> Candidates.

Two queues. *Unexplained features* pass gates: reproducible over seeds, coherent beyond position,
not explained by the known labels, and rarer in a control network. *Missing annotations* are
firings of a label's detector in records where the label was assessed and is absent, judged against
decoy inputs. Nothing here is called a discovery.
"""

from .detectors import choose_detectors
from .recovery import recover_hidden
from .result import Candidates
from .surfacing import surface
from .unexplained import Gates

__all__ = ["Candidates", "Gates", "choose_detectors", "recover_hidden", "surface"]
