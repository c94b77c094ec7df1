"""Effects of an intervention: means over blocks, intervals, and p-values beside controls.

The effect on a record is the endpoint with the change minus the endpoint without it. Records of a
block are alike, so that their mean is one observation. Two questions are asked of the blocks'
means, and both must be answered: whether they differ from zero (signs of whole blocks are flipped
at random, exact up to 13 blocks), and whether their mean is larger than that of controls of the
same size at the same tokens, p = (1 + b) / (1 + n). p is the larger of the two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sci_interp.enrichment.significance import adjust_p

from .arms import Arm

__all__ = ["EFFECT_COLUMNS", "MIN_BLOCKS", "sign_flip_p", "summarise_effects"]

Floats = NDArray[np.float64]

EFFECT_COLUMNS = (
    "endpoint",
    "coefficient",
    "effect",
    "low",
    "high",
    "control_median",
    "control_largest",
    "floor",
    "p_sign",
    "p_control",
    "p",
    "q",
    "verdict",
    "n_records",
    "n_missing",
    "n_blocks",
)
#: Fewer independent blocks identify no effect.
MIN_BLOCKS = 8
#: Blocks up to which all sign patterns are enumerated.
EXACT_BLOCKS = 13
N_FLIPS = 9_999
#: Numbers of one temporary array.
MAX_NUMBERS = 2**20
#: Sums of the same numbers in another order may differ by this share.
ROUNDING = 1e-9


def summarise_effects(
    values: Floats,
    arms: Sequence[Arm],
    blocks: Sequence[str],
    *,
    endpoints: Sequence[str],
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Return one row per endpoint and coefficient.

    Parameters
    ----------
    values : (n_records, n_arms, n_endpoints) float64
        What was measured; NaN where an endpoint does not exist.
    arms
        The arms, untouched first.
    blocks
        Block of every record.
    endpoints
        Names of the endpoints.
    n_bootstrap
        Resamples of blocks for the 95 % interval.
    seed
        Seed of resamples and sign flips.

    Returns
    -------
    DataFrame
        :data:`EFFECT_COLUMNS`. ``effect`` is the mean of the blocks' means with its interval;
        ``control_median`` and ``control_largest`` are of the controls' absolute effects;
        ``floor`` is the largest absolute effect of the no-op arm on a record, and what does not
        exceed it is no effect (p = 1). ``n_missing`` counts records without the endpoint, with
        or without the change. Below 8 blocks there is no p, and the verdict says so; ``q`` is
        Benjamini-Hochberg over the rows that have one.
    """
    names, owner = np.unique(np.asarray(blocks, dtype=str), return_inverse=True)
    effects = values - values[:, :1]
    means = _block_means(effects, owner, len(names))
    kinds = [arm.kind for arm in arms]
    rows = []
    for column, endpoint in enumerate(endpoints):
        floor = _largest(effects[:, kinds.index("no-op"), column])
        for at, arm in enumerate(arms):
            if arm.kind != "feature":
                continue
            controls = [
                index
                for index, other in enumerate(arms)
                if other.kind == "control" and other.coefficient == arm.coefficient
            ]
            there = np.isfinite(effects[:, at, column])
            own = means[:, at, column]
            row = {
                "endpoint": endpoint,
                "coefficient": arm.coefficient,
                "floor": floor,
                "n_records": int(there.sum()),
                "n_missing": int((~there).sum()),
            }
            row |= _interval(own[np.isfinite(own)], n_bootstrap, seed)
            row |= _judge(own, means[:, controls, column], floor, seed)
            rows.append(row)
    table = pd.DataFrame(rows)
    table["q"] = adjust_p(table["p"].to_numpy(np.float64))
    return table[list(EFFECT_COLUMNS)]


def sign_flip_p(means: Floats, seed: int) -> float:
    """Return the two-sided p of the mean of ``(n_blocks,)`` under flips of their signs.

    All ``2 ** n`` patterns up to 13 blocks, else 9,999 random ones and the observed (Fisher 1935,
    The Design of Experiments, section 21).
    """
    n = len(means)
    least = abs(means.sum()) * (1 - ROUNDING)
    if n <= EXACT_BLOCKS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
        return float((np.abs(signs @ means) >= least).mean())
    random = np.random.default_rng([seed, n])
    reached, size = 1, max(1, MAX_NUMBERS // n)
    for start in range(0, N_FLIPS, size):
        shape = (min(size, N_FLIPS - start), n)
        signs = np.where(random.random(shape) < 0.5, 1.0, -1.0)
        reached += int((np.abs(signs @ means) >= least).sum())
    return reached / (1 + N_FLIPS)


def _block_means(effects: Floats, owner: NDArray[np.int64], n_blocks: int) -> Floats:
    """Return the mean effect of every block, NaN where none of its records has one."""
    there = np.isfinite(effects)
    total = np.zeros((n_blocks, *effects.shape[1:]))
    count = np.zeros_like(total)
    np.add.at(total, owner, np.where(there, effects, 0.0))
    np.add.at(count, owner, there)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _interval(means: Floats, n_bootstrap: int, seed: int) -> dict[str, float]:
    """Return the mean of blocks and the percentiles of its resamples; none of a single block."""
    effect = float(means.mean()) if len(means) else float("nan")
    if len(means) < 2 or n_bootstrap == 0:
        return {"effect": effect, "low": float("nan"), "high": float("nan")}
    random = np.random.default_rng([seed, len(means)])
    size = max(1, MAX_NUMBERS // len(means))
    drawn = [
        means[random.integers(0, len(means), (min(size, n_bootstrap - start), len(means)))].mean(1)
        for start in range(0, n_bootstrap, size)
    ]
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return {"effect": effect, "low": float(low), "high": float(high)}


def _judge(own: Floats, controls: Floats, floor: float, seed: int) -> dict[str, object]:
    """Return p and what it rests on; a control that could not be measured counts against."""
    mean = own[np.isfinite(own)]
    sizes = np.abs([_mean(column) for column in controls.T])
    known = sizes[np.isfinite(sizes)]
    found: dict[str, object] = {
        "n_blocks": len(mean),
        "control_median": float(np.median(known)) if len(known) else float("nan"),
        "control_largest": _largest(known),
    }
    if len(mean) < MIN_BLOCKS:
        nothing = dict.fromkeys(("p_sign", "p_control", "p"), float("nan"))
        return found | nothing | {"verdict": "not identifiable"}
    size = abs(float(mean.mean()))
    if size <= floor:
        p_sign = p_control = 1.0
    else:
        reached = ~(sizes < size * (1 - ROUNDING))
        p_sign = sign_flip_p(mean, seed)
        p_control = (1 + int(reached.sum())) / (1 + len(sizes))
    p = max(p_sign, p_control)
    return found | {"p_sign": p_sign, "p_control": p_control, "p": p, "verdict": "tested"}


def _mean(values: Floats) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _largest(values: Floats) -> float:
    values = np.abs(values[np.isfinite(values)])
    return float(values.max()) if len(values) else float("nan")
