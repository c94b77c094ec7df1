"""What a training run can be told, checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from sci_interp.errors import InputError, UnknownNameError
from sci_interp.schema import SPLITS, Split
from sci_interp.study import PENALISED_ARCHITECTURES

from .normalisation import CENTRES, NORMALISATIONS, CentreKind, NormalisationKind
from .preactivation import Arithmetic, fast_arithmetic
from .sparsity import ARCHITECTURES

__all__ = ["Precision", "Revival", "TrainingSettings"]

Precision: TypeAlias = Literal["auto", "int8", "bfloat16", "float32"]
Revival: TypeAlias = Literal["auxiliary", "resampling"]

#: Architectures that price activity instead of counting it.
PENALISED = (*PENALISED_ARCHITECTURES, "crosscoder")


@dataclass(frozen=True)
class TrainingSettings:
    """Everything besides the activations that determines the trained weights.

    Attributes
    ----------
    features : int
        Number of features.
    k : int
        Active features per token, or their mean; what a penalty is steered to where none is given.
    seed : int
        Of initialisation and of the order of the tokens.
    architecture : str
        A name in :data:`sci_interp.sae.sparsity.ARCHITECTURES`.
    n_tokens : int
        Tokens to learn from, counted as often as they are seen.
    batch_size : int
        Tokens of a step.
    learning_rate : float
        Highest rate of Adam; by default it falls with the square root of ``features``.
    splits : tuple of str
        Neighbouring splits to learn from.
    normalisation, centre : str
        See :meth:`sci_interp.sae.normalisation.Normalisation.fit`.
    whitening : bool
        Whether training sees tokens whose channels are uncorrelated; see
        :mod:`sci_interp.sae.whitening`.
    penalty : float or None
        Fixed weight of the sparsity loss of relu, gated, jumprelu and crosscoder, in place of
        ``k``; see :mod:`sci_interp.sae.penalised`.
    plain_penalty : bool
        Whether relu holds decoder rows at unit length, in place of a price times their length.
    warm_up, decay : float
        Shares of the steps in which the rate rises from 0, and falls to 0 at the end.
    auxiliary : float
        Weight of the loss by which dead features learn the residual; 0 leaves them dead.
    revival : str
        ``"auxiliary"``: dead features learn by that loss; ``"resampling"``: every ``dead_after``
        tokens, until the rate falls, they start anew at badly reconstructed tokens.
    dead_after : int
        Tokens without firing after which a feature is dead; by default a tenth of ``n_tokens``,
        and at least 100,000.
    widths : tuple of int
        Channels of each layer where several lie side by side.
    block_seed : int or None
        Of the order in which blocks of tokens are read; None takes ``seed``. What ``seed`` then
        orders is the tokens inside the shuffle buffer.
    accumulate : int
        Micro-batches of a step, one after another, whose gradients add up. The memory of a step
        falls; the result is that of the whole batch but for rounding, except with architectures
        that choose among all tokens of a batch or price its mean activity (batch_topk, matryoshka,
        jumprelu): they do so in every micro-batch.
    patience : int or None
        Tokens without progress after which training ends early: the rate falls as it would at the
        end of all ``n_tokens``, and then training stops. Progress is a running mean of the training
        batches' FVU, over about 50 steps, that is a thousandth below its lowest.
    blend : float
        Share of a data point in a decoder row's start; the rest is a random direction.
    precision : str
        Arithmetic in which active features are chosen, ``"int8"``, ``"bfloat16"`` or
        ``"float32"``; by default the first that the processor has, and that suits the architecture:
        8-bit numbers where features are ranked, not where they pass a floor. Activations
        themselves are always float32.
    """

    features: int
    k: int
    seed: int
    architecture: str
    n_tokens: int
    batch_size: int
    learning_rate: float
    splits: tuple[Split, ...]
    normalisation: NormalisationKind
    warm_up: float
    decay: float
    auxiliary: float
    dead_after: int
    blend: float
    precision: Arithmetic
    penalty: float | None = None
    plain_penalty: bool = False
    revival: Revival = "auxiliary"
    centre: CentreKind = "mean"
    whitening: bool = False
    widths: tuple[int, ...] = ()
    block_seed: int | None = None
    accumulate: int = 1
    patience: int | None = None

    @property
    def n_steps(self) -> int:
        """Number of optimiser steps."""
        return math.ceil(self.n_tokens / self.batch_size)

    @property
    def n_read(self) -> int | None:
        """Channels that the encoder reads where the others are only written; None: all."""
        return self.widths[0] if self.architecture == "transcoder" else None

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON values; options that are not used are left out."""
        used = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.default is MISSING or getattr(self, item.name) != item.default
        }
        return {
            name: list(held) if isinstance(held, tuple) else held for name, held in used.items()
        }

    def resamples_at(self, step: int) -> bool:
        """Return whether dead features start anew after a step."""
        period = max(1, self.dead_after // self.batch_size)
        early = step < (1.0 - self.decay) * self.n_steps
        return self.revival == "resampling" and early and (step + 1) % period == 0

    def rate_at(self, step: int, end: int | None = None) -> float:
        """Return the learning rate of a step: linear rise, constant, linear fall to ``end``."""
        rise = (step + 1) / max(1.0, self.warm_up * self.n_steps)
        fall = ((self.n_steps if end is None else end) - step) / max(1.0, self.decay * self.n_steps)
        return self.learning_rate * min(1.0, rise, fall)


def default_learning_rate(features: int) -> float:
    """Return a rate that falls with the square root of the number of features."""
    return 4e-3 / math.sqrt(features / 2048)


def resolve_settings(
    *,
    splits: Sequence[Split],
    learning_rate: float | None,
    dead_after: int | None,
    precision: Precision,
    **given: Any,
) -> TrainingSettings:
    """Fill in defaults and refuse what cannot work.

    Raises
    ------
    InputError
        If a value is out of its range.
    UnknownNameError
        If there is no such architecture.
    """
    if given["architecture"] not in ARCHITECTURES:
        raise UnknownNameError("architecture", given["architecture"], ARCHITECTURES)
    _require_ranges(given, splits)
    rate = default_learning_rate(given["features"]) if learning_rate is None else learning_rate
    dead = max(100_000, given["n_tokens"] // 10) if dead_after is None else dead_after
    if not 0 < rate < math.inf:
        raise InputError(f"learning_rate={rate} is not usable", allowed="a positive number")
    if dead < 1:
        raise InputError(f"dead_after={dead} is not usable", allowed="a positive number of tokens")
    if given.get("block_seed") == given["seed"]:
        given["block_seed"] = None
    return TrainingSettings(
        splits=tuple(splits),
        learning_rate=rate,
        dead_after=dead,
        precision=_arithmetic(precision, given["architecture"], given["features"]),
        **given,
    )


def _arithmetic(precision: Precision, architecture: str, features: int) -> Arithmetic:
    """Return the arithmetic that a precision means on this processor."""
    if precision not in get_args(Precision):
        raise InputError(
            f"the precision {precision!r} is unknown", allowed=", ".join(get_args(Precision))
        )
    if precision == "int8" and fast_arithmetic(features, ranked=True) != "int8":
        raise InputError(
            f"this processor cannot choose among {features} features in 8-bit numbers",
            allowed="x86 with AVX-512 VNNI, and at least 64 features",
            todo='Leave precision at "auto"',
        )
    if precision != "auto":
        return precision
    return fast_arithmetic(features, ranked=architecture not in PENALISED)


def _require_ranges(given: dict[str, Any], splits: Sequence[Split]) -> None:
    lowest = {"features": 2, "k": 1, "seed": 0, "n_tokens": 1, "batch_size": 1}
    for name, least in lowest.items():
        value = given[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(
                f"{name}={value!r} is not usable", allowed=f"a whole number >= {least}"
            )
    if given["k"] > given["features"]:
        raise InputError(
            f"k={given['k']} is more than the {given['features']} features",
            allowed="k between 1 and the number of features",
        )
    for name in ("warm_up", "decay", "auxiliary", "blend"):
        if not 0 <= given[name] <= 1:
            raise InputError(f"{name}={given[name]!r} is not usable", allowed="0 to 1")
    choices = {"normalisation": NORMALISATIONS, "centre": CENTRES, "revival": get_args(Revival)}
    for name, known in choices.items():
        if given.get(name, known[0]) not in known:
            raise InputError(
                f"the {name} {given[name]!r} is unknown",
                allowed=", ".join(known),
            )
    block_seed = given.get("block_seed")
    if block_seed is not None and (not isinstance(block_seed, int) or block_seed < 0):
        raise InputError(f"block_seed={block_seed!r} is not usable", allowed="a whole number >= 0")
    parts = given.get("accumulate", 1)
    if not isinstance(parts, int) or parts < 1 or given["batch_size"] % parts:
        raise InputError(
            f"accumulate={parts!r} is not usable", allowed="a whole number that divides batch_size"
        )
    patience = given.get("patience")
    if patience is not None and (not isinstance(patience, int) or patience < 1):
        raise InputError(
            f"patience={patience!r} is not usable", allowed="a positive number of tokens"
        )
    _require_penalty(given["architecture"], given)
    _require_layers(given)
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits:
        raise InputError(f"the splits {list(splits)} are not usable", allowed=", ".join(SPLITS))


def _require_penalty(architecture: str, given: dict[str, Any]) -> None:
    penalty = given.get("penalty")
    if penalty is not None:
        if architecture not in PENALISED:
            raise InputError(
                f"the architecture {architecture!r} has no penalty",
                allowed=", ".join(PENALISED),
                todo="Give k alone",
            )
        if not 0 < penalty < math.inf:
            raise InputError(f"penalty={penalty} is not usable", allowed="a positive number")
    if given.get("plain_penalty", False) and architecture != "relu":
        raise InputError(f"the architecture {architecture!r} has no plain penalty", allowed="relu")


def _require_layers(given: dict[str, Any]) -> None:
    """Refuse an architecture, or options, that do not fit the number of layers side by side."""
    architecture, widths = given["architecture"], given.get("widths", ())
    wanted = {"transcoder": (2, 2, "two layers"), "crosscoder": (2, math.inf, "several layers")}
    least, most, words = wanted.get(architecture, (0, math.inf, ""))
    if not least <= len(widths) <= most:
        raise InputError(
            f"a {architecture} needs the activations of {words}",
            todo="Give StackedSource([first, second]) of layers that were extracted alike",
        )
    if widths and given["normalisation"] not in ("scale", "channel", "none"):
        raise InputError(
            f"the normalisation {given['normalisation']!r} mixes the channels of several layers",
            allowed="scale, channel, none",
        )
    if given.get("whitening", False) and (widths or given["normalisation"] == "none"):
        raise InputError(
            "whitening needs tokens of one layer, of mean 0",
            todo="Leave whitening out, or choose another normalisation than 'none'",
        )
