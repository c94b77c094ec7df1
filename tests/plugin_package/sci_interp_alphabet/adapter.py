"""The adapter, written from the protocol's documentation."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.adapter import (
    Label,
    ModelIdentity,
    Nuisances,
    RecordActivations,
    RecordAnnotations,
    RecordView,
    Replacement,
    TokenLoss,
)
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.hooks import capture, replace

from .network import LetterNetwork
from .words import Words, read_words

_WIDTHS = {"embed": 6, "head": 26}
_VOWELS = "aeiou"


class AlphabetAdapter:
    """Words, letter by letter."""

    name = "alphabet"
    coordinates = ("letter",)
    default_layer = "embed"

    def __init__(self, model: str | None = None) -> None:
        if model is not None:
            raise InputError(f"there is no model {model!r}", allowed="none: the model is built in")
        self._network = LetterNetwork().eval()

    @property
    def model(self) -> ModelIdentity:
        """The built-in network."""
        return ModelIdentity("bundled:letters", self._network.digest(), "float32")

    def layers(self) -> Mapping[str, int]:
        """Return the embedding and the scores."""
        return dict(_WIDTHS)

    def open(self, path: Path | str | None = None, **options: Any) -> Words:
        """Open a list of words."""
        if options:
            raise UnknownNameError("option", sorted(options)[0], [])
        return read_words(path)

    def activations(
        self, dataset: Words, records: Sequence[str], layers: Sequence[str]
    ) -> Iterator[RecordActivations]:
        """Run one word after the other."""
        for layer in layers:
            if layer not in _WIDTHS:
                raise UnknownNameError("layer", layer, _WIDTHS)
        for record in records:
            with torch.no_grad(), capture(self._network, layers) as found:
                self._network(_letters(dataset, record))
                values = {name: found[name].numpy().astype(np.float32) for name in layers}
            yield RecordActivations(record, values)

    def token_coordinates(self, dataset: Words, record: str) -> Mapping[str, NDArray[np.float64]]:
        """Return the place of each letter."""
        return {"letter": np.arange(len(dataset.text[record]), dtype=np.float64)}

    def labels(self, dataset: Words) -> Sequence[Label]:
        """Return two labels."""
        return (
            Label("vowel", "letters", "one of a, e, i, o, u"),
            Label("double", "letters", "a letter beside itself"),
        )

    def annotate(self, dataset: Words, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        """Yield vowels and doubled letters; all letters are assessed."""
        for record in records:
            word = dataset.text[record]
            runs = [("vowel", f"v{i}", i, i + 1) for i, c in enumerate(word) if c in _VOWELS]
            pairs = enumerate(itertools.pairwise(word))
            runs += [("double", f"d{i}", i, i + 2) for i, (a, b) in pairs if a == b]
            yield RecordAnnotations(record, runs, [("letters", 0, len(word))])

    def nuisances(self) -> Nuisances:
        """Return letter identity."""
        names = tuple(f"letter={chr(97 + index)}" for index in range(26))
        return Nuisances(names, ("token identity",) * 26)

    def nuisance_codes(
        self, dataset: Words, record: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the identity of every letter."""
        letters = _letters(dataset, record).numpy()
        return np.arange(len(letters)), letters

    def describe_windows(
        self, dataset: Words, record: str, tokens: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return letter identities, centred."""
        one_hot = np.eye(26, dtype=np.float32) - np.float32(1 / 26)
        return one_hot[_letters(dataset, record).numpy()[tokens]]

    def shuffle_weights(self, seed: int) -> AlphabetAdapter:
        """Permute every weight tensor within itself."""
        other = AlphabetAdapter()
        other._network = copy.deepcopy(self._network)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in other._network.parameters():
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
        return other

    def decoy(self, dataset: Words, seed: int) -> Words:
        """Shuffle the letters of every word."""
        rng = np.random.default_rng(seed)
        return Words({key: "".join(rng.permutation(list(w))) for key, w in dataset.text.items()})

    def loss(
        self,
        dataset: Words,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
        *,
        seed: int = 0,
    ) -> TokenLoss:
        """Return the cross entropy of every letter."""
        total = TokenLoss(0.0, 0)
        for record in records:
            letters = _letters(dataset, record)
            with torch.no_grad():
                if replacement is None:
                    scores = self._network(letters)
                else:
                    with replace(self._network, layer, replacement):
                        scores = self._network(letters)
            loss = torch.nn.functional.cross_entropy(scores, letters, reduction="sum")
            total += TokenLoss(float(loss), len(letters))
        return total

    def view(self, dataset: Words, record: str) -> RecordView:
        """Return the word and its letters."""
        return RecordView(dataset.text[record], tuple(dataset.text[record]))


def _letters(dataset: Words, record: str) -> torch.Tensor:
    return torch.tensor([ord(letter) - 97 for letter in dataset.text[record]])
