"""A small complete adapter for tests: strings of symbols, a two-layer network, planted labels.

Records are strings over ``SYMBOLS``. Two labels are planted on the inputs and can be recomputed
from them: ``MOTIF`` is every occurrence of "GH", assessed in all records; ``RUN`` is every maximal
run of at least three "A", assessed in every record but each fourth.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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

SYMBOLS = "ABCDEFGH"


@dataclass(frozen=True, eq=False)
class FakeDataset:
    """Strings by record, and the block of each record."""

    texts: Mapping[str, str]
    blocks: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        parts = [f"{name}\t{self.blocks[name]}\t{text}\n" for name, text in self.texts.items()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "record": list(self.texts),
                "block": [self.blocks[name] for name in self.texts],
                "n_tokens": [len(text) for text in self.texts.values()],
                "stratum": [float(len(text)) for text in self.texts.values()],
            }
        )

    def symbols(self, record: str) -> NDArray[np.int64]:
        return np.array([SYMBOLS.index(letter) for letter in self.texts[record]], np.int64)


def make_dataset(
    *,
    n_records: int = 40,
    shortest: int = 5,
    longest: int = 60,
    records_per_block: int = 3,
    seed: int = 0,
) -> FakeDataset:
    """Draw records with lengths ``shortest..longest``; motifs and runs are planted in half."""
    rng = np.random.default_rng(seed)
    texts, blocks = {}, {}
    for index in range(n_records):
        length = int(rng.integers(shortest, longest + 1))
        letters = rng.choice(list(SYMBOLS), length)
        if index % 2 == 0 and length >= 10:
            at = int(rng.integers(0, length - 7))
            letters[at : at + 2] = list("GH")
            letters[at + 3 : at + 7] = "A"
        name = f"record{index:04d}"
        texts[name] = "".join(letters)
        blocks[name] = f"block{index // records_per_block:04d}"
    return FakeDataset(texts, blocks)


class Mixer(torch.nn.Module):
    """A residual layer over neighbouring tokens; gives a tuple, as many networks do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv1d(width, width, 3, padding=1)

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, None]:
        mixed = self.convolution(states.transpose(1, 2)).transpose(1, 2)
        return states + torch.tanh(mixed), None


class FakeNetwork(torch.nn.Module):
    """Symbols ``(1, n)`` to scores ``(1, n, n_symbols)``; one extra symbol is the mask."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(len(SYMBOLS) + 1, width)
        self.layers = torch.nn.ModuleList([Mixer(width), Mixer(width)])
        self.head = torch.nn.Linear(width, len(SYMBOLS))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn / parameter.shape[-1] ** 0.5)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        states = self.embed(symbols)
        for layer in self.layers:
            states, _ = layer(states)
        return self.head(states)

    def digest(self) -> str:
        state = hashlib.sha256()
        for name, weight in self.state_dict().items():
            state.update(name.encode() + weight.numpy().tobytes())
        return state.hexdigest()


class FakeAdapter:
    """The whole protocol over :class:`FakeNetwork`."""

    name = "fake"
    coordinates: tuple[str, ...] = ("place", "share")
    default_layer = "layers.1"

    def __init__(self, *, width: int = 16, seed: int = 0) -> None:
        self.width = width
        self.network = FakeNetwork(width, seed).eval()

    @property
    def model(self) -> ModelIdentity:
        return ModelIdentity(f"fake-{self.width}", self.network.digest(), "float32")

    def layers(self) -> Mapping[str, int]:
        return {"embed": self.width, "layers.0": self.width, "layers.1": self.width}

    def open(self, path: Path | str | None = None, **options: Any) -> FakeDataset:
        """Read lines ``record block text``; without a path, :func:`make_dataset` of the options."""
        if path is None:
            return make_dataset(**options)
        rows = [line.split() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        if any(len(row) != 3 or set(row[2]) - set(SYMBOLS) for row in rows):
            raise InputError(f"{path} is not usable", allowed="lines of: record block text")
        return FakeDataset({row[0]: row[2] for row in rows}, {row[0]: row[1] for row in rows})

    def activations(
        self, dataset: FakeDataset, records: Sequence[str], layers: Sequence[str]
    ) -> Iterator[RecordActivations]:
        for layer in layers:
            if layer not in self.layers():
                raise UnknownNameError("layer", layer, self.layers())
        # Longest first: the protocol allows any order.
        for record in sorted(records, key=lambda name: (-len(dataset.texts[name]), name)):
            with torch.no_grad(), capture(self.network, layers) as found:
                self.network(_batch(dataset.symbols(record)))
            yield RecordActivations(record, {name: found[name][0].numpy() for name in layers})

    def token_coordinates(
        self, dataset: FakeDataset, record: str
    ) -> Mapping[str, NDArray[np.float64]]:
        place = np.arange(len(dataset.texts[record]), dtype=np.float64)
        return {"place": place, "share": place / len(place)}

    def labels(self, dataset: FakeDataset) -> Sequence[Label]:
        return (
            Label("MOTIF", "motifs", 'the symbols "GH"'),
            Label("RUN", "runs", 'at least three "A" in a row'),
        )

    def annotate(self, dataset: FakeDataset, records: Sequence[str]) -> Iterator[RecordAnnotations]:
        order = {name: index for index, name in enumerate(dataset.texts)}
        for record in records:
            text = dataset.texts[record]
            found = [
                ("MOTIF", f"motif{at}", at, at + 2)
                for at in range(len(text) - 1)
                if text.startswith("GH", at)
            ]
            known = [("motifs", 0, len(text))]
            if order[record] % 4 != 3:
                found += [("RUN", f"run{start}", start, stop) for start, stop in _runs(text)]
                known.append(("runs", 0, len(text)))
            yield RecordAnnotations(record, found, known)

    def nuisances(self) -> Nuisances:
        names = (*(f"symbol={letter}" for letter in SYMBOLS), "position:first 3")
        return Nuisances(names, ("token identity",) * len(SYMBOLS) + ("position",))

    def nuisance_codes(
        self, dataset: FakeDataset, record: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        symbols = dataset.symbols(record)
        early = np.arange(min(3, len(symbols)))
        token = np.concatenate([np.arange(len(symbols)), early])
        feature = np.concatenate([symbols, np.full(len(early), len(SYMBOLS))])
        order = np.lexsort((feature, token))
        return token[order], feature[order]

    def describe_windows(
        self, dataset: FakeDataset, record: str, tokens: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        symbols = np.pad(dataset.symbols(record), 2, constant_values=len(SYMBOLS))
        one_hot = np.vstack([np.eye(len(SYMBOLS)) - 1 / len(SYMBOLS), np.zeros(len(SYMBOLS))])
        window = symbols[np.asarray(tokens)[:, None] + np.arange(5)]
        return one_hot[window].reshape(len(tokens), -1).astype(np.float32)

    def shuffle_weights(self, seed: int) -> FakeAdapter:
        other = FakeAdapter(width=self.width)
        generator = torch.Generator().manual_seed(seed)
        state = {
            name: weight.flatten()[torch.randperm(weight.numel(), generator=generator)].reshape(
                weight.shape
            )
            for name, weight in self.network.state_dict().items()
        }
        other.network.load_state_dict(state)
        return other

    def decoy(self, dataset: FakeDataset, seed: int) -> FakeDataset:
        """Shuffle every text and break up the motifs and runs that chance leaves."""
        texts = {}
        for index, (name, text) in enumerate(dataset.texts.items()):
            rng = np.random.default_rng([seed, index])
            for _ in range(1000):
                shuffled = "".join(rng.permutation(list(text)))
                if "GH" not in shuffled and "AAA" not in shuffled:
                    break
            texts[name] = shuffled
        return FakeDataset(texts, dataset.blocks)

    def loss(
        self,
        dataset: FakeDataset,
        records: Sequence[str],
        layer: str,
        replacement: Replacement | None,
        *,
        seed: int = 0,
    ) -> TokenLoss:
        """Return the cross entropy of hidden symbols: about one in four, chosen by the record."""
        total = TokenLoss(0.0, 0)
        for record in records:
            symbols = dataset.symbols(record)
            key = int.from_bytes(hashlib.sha256(record.encode()).digest()[:4], "big")
            hidden = np.random.default_rng([seed, key]).random(len(symbols)) < 0.25
            shown = np.where(hidden, len(SYMBOLS), symbols)
            with torch.no_grad():
                scores = self._scores(shown, layer, replacement)[torch.from_numpy(hidden)]
                targets = torch.from_numpy(symbols[hidden])
                loss = torch.nn.functional.cross_entropy(scores, targets, reduction="sum")
            total += TokenLoss(float(loss), int(hidden.sum()))
        return total

    def _scores(
        self, symbols: NDArray[np.int64], layer: str, replacement: Replacement | None
    ) -> torch.Tensor:
        if replacement is None:
            return self.network(_batch(symbols))[0]
        with replace(self.network, layer, lambda states: replacement(states[0])[None]):
            return self.network(_batch(symbols))[0]

    def view(self, dataset: FakeDataset, record: str) -> RecordView:
        return RecordView(f"{record} of {dataset.blocks[record]}", tuple(dataset.texts[record]))


def _batch(symbols: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(symbols)[None]


def _runs(text: str) -> list[tuple[int, int]]:
    found, start = [], 0
    for letter, group in itertools.groupby(text):
        stop = start + len(list(group))
        if letter == "A" and stop - start >= 3:
            found.append((start, stop))
        start = stop
    return found
