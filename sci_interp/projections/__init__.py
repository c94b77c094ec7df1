"""Linear baselines that are encoders like an SAE: channels, PCA, ICA, probes."""

from .channels import ChannelProjection
from .ica import IcaProjection
from .linear import LinearProjection, load_projection
from .pca import PcaProjection
from .probes import ProbeProjection

__all__ = [
    "ChannelProjection",
    "IcaProjection",
    "LinearProjection",
    "PcaProjection",
    "ProbeProjection",
    "load_projection",
]
