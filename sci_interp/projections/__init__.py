"""Linear baselines that are encoders like an SAE: channels, PCA, ICA, probes."""

from .channels import ChannelProjection
from .covariates import encode_covariates
from .fitting import fit_projection
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
    "encode_covariates",
    "fit_projection",
    "load_projection",
]
