"""Raw channels as features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from sci_interp.schema import Split
from sci_interp.source import ActivationSource

from .linear import LinearProjection, describe_parent, two_sided_names, with_scale
from .moments import fit_ranges, measure_moments

__all__ = ["ChannelProjection"]


class ChannelProjection(LinearProjection):
    """Channels in standard deviations from their mean; both signs, ``"channel 12 +"``."""

    kind: ClassVar[str] = "channel"

    @classmethod
    def fit(
        cls, source: ActivationSource, splits: Sequence[Split] = ("train",)
    ) -> ChannelProjection:
        """Measure mean and standard deviation of every channel on the tokens of splits.

        A channel that never varies gives features that are never active.
        """
        ranges = fit_ranges(source.axis, splits)
        moments = measure_moments(source, ranges)
        variance = np.maximum(np.diag(moments.covariance), 0.0)
        # What is left of a constant channel is the rounding of its square.
        varies = variance > 1e-12 * np.diag(moments.second) / moments.weight
        deviation = np.sqrt(np.where(varies, variance, 1.0))
        found = cls(
            mean=moments.mean.astype(np.float32),
            weight=np.where(varies, 1.0 / deviation, 0.0).astype(np.float32),
            cut=np.zeros(source.width, np.float32),
            names=two_sided_names("channel", source.width),
            parent=describe_parent(source, splits),
            scale=np.zeros(2 * source.width, np.float32),
            details={"splits": list(splits)},
        )
        return with_scale(found, source, ranges)
