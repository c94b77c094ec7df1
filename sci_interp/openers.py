"""Openers: how a worker opens the source and the encoder that another process holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from .codes import Encoder
from .errors import InputError
from .recipes import Recipe
from .source import ActivationSource, ArraySource, StackedSource
from .streams import ActivationStream
from .tokens import ActivationStore

__all__ = ["encoder_opener", "source_opener"]


def encoder_opener(encoder: Encoder) -> Callable[[], Encoder]:
    """Return what opens an encoder in another process.

    One that was loaded knows where from, by its optional attribute ``opener``; others are sent.
    """
    known: Callable[[], Encoder] | None = getattr(encoder, "opener", None)
    return known or partial(_carry_encoder, encoder)


def source_opener(
    source: ActivationSource, recipe: Recipe | None
) -> Callable[[], ActivationSource]:
    """Return what opens a source in another process.

    Parameters
    ----------
    source
        A store, a stream, several of them, or arrays, which are sent.
    recipe
        Opens model and data of a stream.

    Raises
    ------
    InputError
        If a stream has no recipe, or there is no way to open such a source.
    """
    if isinstance(source, ActivationStore):
        return partial(ActivationStore.open, source.path.absolute())
    if isinstance(source, StackedSource):
        return partial(_open_stack, [source_opener(each, recipe) for each in source.sources])
    if isinstance(source, ArraySource):
        return partial(_carry_source, source)
    if not isinstance(source, ActivationStream):
        raise InputError(
            f"workers cannot open a {type(source).__name__}",
            allowed="an ActivationStore, a stream, a StackedSource of them",
        )
    if recipe is None:
        raise InputError(
            "workers open the model and the data of a stream for themselves, and have no recipe",
            todo="recipe = si.Recipe(...); adapter, dataset = recipe.open(); and recipe=recipe",
        )
    network = source.network
    # What the stream left out, its workers leave out without looking for it.
    given = {
        "fractions": network.fractions,
        "unit_tokens": network.unit_tokens,
        "left_out": network.axis.quarantine,
    }
    return partial(_open_stream, recipe, source.layer, given)


def _carry_encoder(encoder: Encoder) -> Encoder:
    return encoder


def _carry_source(source: ArraySource) -> ArraySource:
    return source


def _open_stack(openers: Sequence[Callable[[], ActivationSource]]) -> StackedSource:
    return StackedSource([opener() for opener in openers])


def _open_stream(recipe: Recipe, layer: str, given: Mapping[str, Any]) -> ActivationStream:
    adapter, dataset = recipe.open_once()
    return ActivationStream(adapter, dataset, layer, **given)
