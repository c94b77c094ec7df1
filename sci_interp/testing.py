"""check_adapter: Adapter x Dataset -> violated laws, each with its reason.

The conformance suite for adapters, run on a few records. Authors of adapters call it from their
own tests; every law is a function here, and its docstring is the law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .adapter import Adapter, Dataset, TokenLoss
from .axis import TokenAxis
from .errors import SciInterpError
from .schema import BLOCK, N_TOKENS, RECORD

__all__ = ["ConformanceError", "Violation", "check_adapter", "find_violations"]

_LAYER_TOLERANCE = 0.05
_LOSS_TOLERANCE = 1e-3
_UNKNOWN_LAYER = "no such layer"


@dataclass(frozen=True)
class Violation:
    """A law that an adapter breaks.

    Attributes
    ----------
    law : str
        Name of the law.
    reason : str
        What was found, and what the law asks for.
    """

    law: str
    reason: str


class ConformanceError(SciInterpError):
    """An adapter breaks at least one law.

    Parameters
    ----------
    name
        Name of the adapter.
    violations
        What it breaks.
    """

    def __init__(self, name: str, violations: list[Violation]) -> None:
        self.violations = tuple(violations)
        lines = "".join(f"\n  {item.law}: {item.reason}" for item in violations)
        super().__init__(f"the adapter {name!r} breaks {len(violations)} law(s):{lines}")


@dataclass(frozen=True)
class _Case:
    adapter: Adapter
    dataset: Dataset
    #: The records that are tried, and their numbers of tokens.
    n_tokens: Mapping[str, int]

    @property
    def records(self) -> list[str]:
        return list(self.n_tokens)

    def run(self, adapter: Adapter, layers: list[str]) -> dict[str, dict[str, NDArray[Any]]]:
        found = adapter.activations(self.dataset, self.records, layers)
        return {item.record: dict(item.values) for item in found}


def check_adapter(adapter: Adapter, dataset: Dataset, *, n_records: int = 4) -> None:
    """Check that an adapter keeps every law of the protocol.

    Parameters
    ----------
    adapter
        The adapter.
    dataset
        Data that it opened; small records make a quick test.
    n_records
        Number of records to try, the first ones of the table.

    Raises
    ------
    ConformanceError
        If a law is broken; ``violations`` lists all of them.
    """
    violations = find_violations(adapter, dataset, n_records=n_records)
    if violations:
        raise ConformanceError(str(getattr(adapter, "name", adapter)), violations)


def find_violations(adapter: Adapter, dataset: Dataset, *, n_records: int = 4) -> list[Violation]:
    """Return the laws that an adapter breaks; parameters as in :func:`check_adapter`.

    A law that cannot be tried because the adapter raises is broken, with the error as reason.
    """
    for law in (_members, _table):
        broken = _try(law, adapter, dataset)
        if broken:
            return broken
    head = dataset.table.head(n_records)
    n_tokens = dict(zip(head[RECORD].astype(str), head[N_TOKENS].astype(int), strict=True))
    case = _Case(adapter, dataset, n_tokens)
    return [broken for law in _LAWS for broken in _try(law, case)]


def _try(law: Callable[..., Iterable[str]], *arguments: object) -> list[Violation]:
    name = law.__name__.strip("_").replace("_", " ")
    found: list[Violation] = []
    try:
        found.extend(Violation(name, reason) for reason in law(*arguments))
    except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything: it is reported
        found.append(Violation(name, f"raised {type(error).__name__}: {error}"))
    return found


def _members(adapter: Adapter, dataset: Dataset) -> Iterator[str]:
    """Every member of the protocols exists; the model is named and has a digest."""
    for value, protocol in ((adapter, Adapter), (dataset, Dataset)):
        wanted = {*getattr(protocol, "__annotations__", {}), *vars(protocol)}
        missing = sorted(
            name for name in wanted if not name.startswith("_") and not hasattr(value, name)
        )
        if missing:
            yield f"{type(value).__name__} has no {', '.join(missing)}"
            return
    if not adapter.name:
        yield "the name is empty"
    if not (adapter.model.name and adapter.model.digest and adapter.model.dtype):
        yield f"the model's name, digest and dtype must not be empty: {adapter.model}"


def _table(_: Adapter, dataset: Dataset) -> Iterator[str]:
    """The table builds a token axis, and reads the same twice, as does the digest."""
    table = dataset.table
    missing = sorted({RECORD, BLOCK, N_TOKENS} - set(table.columns))
    if missing:
        yield f"the table lacks the columns {', '.join(missing)}"
        return
    for column in (RECORD, BLOCK):
        if not table[column].map(lambda value: isinstance(value, str) and value != "").all():
            yield f"every {column} must be a string that is not empty"
    TokenAxis.of(dataset)
    if not table.equals(dataset.table):
        yield "the table differs between two readings"
    if not dataset.digest or dataset.digest != dataset.digest:
        yield "the dataset's digest is empty or differs between two readings"


def _layers(case: _Case) -> Iterator[str]:
    """Layers have positive widths; the default layer is one; an unknown name is refused."""
    layers = case.adapter.layers()
    if not layers:
        yield "there is no layer"
    for name, width in layers.items():
        if not isinstance(width, int) or width < 1:
            yield f"layer {name!r} has the width {width!r}; a positive int is asked for"
    if case.adapter.default_layer not in layers:
        yield f"the default layer {case.adapter.default_layer!r} is not among the layers"
    try:
        list(case.adapter.activations(case.dataset, case.records[:1], [_UNKNOWN_LAYER]))
    except SciInterpError:
        return
    yield "an unknown layer name must raise sci_interp.errors.UnknownNameError"


def _activations(case: _Case) -> Iterator[str]:
    """Every record comes once, as finite float32 of shape (n_tokens, width)."""
    layers = case.adapter.layers()
    layer = case.adapter.default_layer
    found = list(case.adapter.activations(case.dataset, case.records, [layer]))
    names = [item.record for item in found]
    if sorted(names) != sorted(case.records):
        yield f"asked for {case.records}, got {names}: every record must come exactly once"
        return
    for item in found:
        if set(item.values) != {layer}:
            yield f"asked for the layer {layer!r}, got {sorted(item.values)}"
            continue
        values, wanted = item.values[layer], (case.n_tokens[item.record], layers[layer])
        if values.shape != wanted or values.dtype != np.float32:
            yield f"{item.record}: {values.dtype} {values.shape}, not float32 {wanted}"
        elif not np.isfinite(values).all():
            yield f"{item.record}: the activations are not finite"


def _repeatability(case: _Case) -> Iterator[str]:
    """The same call gives the same bytes, whatever was called between."""
    layer = case.adapter.default_layer
    first = case.run(case.adapter, [layer])
    list(case.adapter.activations(case.dataset, case.records[-1:], [layer]))
    again = case.run(case.adapter, [layer])
    for record in case.records:
        if not np.array_equal(first[record][layer], again[record][layer]):
            yield f"{record}: a second run of the same records gives other activations"


def _several_layers(case: _Case) -> Iterator[str]:
    """Several layers in one pass equal the same layers one by one."""
    names = list(case.adapter.layers())
    chosen = list(dict.fromkeys([names[0], case.adapter.default_layer, names[-1]]))
    together = case.run(case.adapter, chosen)
    for name in chosen:
        alone = case.run(case.adapter, [name])
        for record in case.records:
            if _distance(together[record][name], alone[record][name]) > _LAYER_TOLERANCE:
                yield f"{record}: layer {name!r} differs when it is taken with {chosen}"


def _coordinates(case: _Case) -> Iterator[str]:
    """Every named coordinate is finite float64, one number per token."""
    for record, n in case.n_tokens.items():
        found = case.adapter.token_coordinates(case.dataset, record)
        if tuple(found) != tuple(case.adapter.coordinates):
            yield f"{record}: coordinates {tuple(found)}, not {case.adapter.coordinates}"
        for name, values in found.items():
            if values.shape != (n,) or values.dtype != np.float64 or not np.isfinite(values).all():
                yield f"{record}: coordinate {name!r} is not finite float64 of shape ({n},)"


def _labels(case: _Case) -> Iterator[str]:
    """Label names are unique; groups and definitions are given; the order is fixed."""
    labels = list(case.adapter.labels(case.dataset))
    if labels != list(case.adapter.labels(case.dataset)):
        yield "the labels differ between two readings"
    names = [label.name for label in labels]
    if len(set(names)) < len(names):
        yield f"label names occur twice: {sorted({n for n in names if names.count(n) > 1})}"
    for label in labels:
        if not (label.name and label.group and label.definition):
            yield f"label {label.name!r} needs a name, a group and a definition"


def _annotations(case: _Case) -> Iterator[str]:
    """Runs lie inside their record and inside what is known; names are declared."""
    group_of = {label.name: label.group for label in case.adapter.labels(case.dataset)}
    found = list(case.adapter.annotate(case.dataset, case.records))
    names = [item.record for item in found]
    if names != case.records:
        yield f"asked for {case.records}, got {names}: the order given must be kept"
        return
    for item in found:
        n = case.n_tokens[item.record]
        known = {group: np.zeros(n, bool) for group in group_of.values()}
        for group, start, stop in item.known:
            if group not in known or not 0 <= start < stop <= n:
                yield f"{item.record}: known range {(group, start, stop)} is not usable"
            else:
                known[group][start:stop] = True
        for label, key, start, stop in item.runs:
            if label not in group_of or not 0 <= start < stop <= n:
                yield f"{item.record}: run {(label, key, start, stop)} is not usable"
            elif not known[group_of[label]][start:stop].all():
                yield f"{item.record}: run {(label, key, start, stop)} is outside what is known"


def _nuisances(case: _Case) -> Iterator[str]:
    """Nuisance codes are declared, in range, sorted by token then feature, without doubles."""
    nuisances = case.adapter.nuisances()
    n_features = len(nuisances.names)
    if n_features != len(nuisances.families):
        yield f"{n_features} names and {len(nuisances.families)} families"
    for record, n in case.n_tokens.items():
        token, feature = case.adapter.nuisance_codes(case.dataset, record)
        if token.shape != feature.shape or token.ndim != 1:
            yield f"{record}: tokens {token.shape} and features {feature.shape} do not pair up"
            continue
        inside = (token >= 0) & (token < n) & (feature >= 0) & (feature < n_features)
        if not inside.all():
            yield f"{record}: a nuisance code is out of range"
        elif (np.diff(token.astype(np.int64) * n_features + feature) <= 0).any():
            yield f"{record}: nuisance codes are not sorted by token, then feature, each once"


def _windows(case: _Case) -> Iterator[str]:
    """Window descriptors are finite float32, of one width for all records, and repeatable."""
    widths = set()
    for record, n in case.n_tokens.items():
        tokens = np.arange(n, dtype=np.int64)
        found = case.adapter.describe_windows(case.dataset, record, tokens)
        if found.ndim != 2 or len(found) != n or found.dtype != np.float32:
            yield f"{record}: descriptors {found.dtype} {found.shape}, not float32 ({n}, n_numbers)"
            continue
        widths.add(found.shape[1])
        if not np.isfinite(found).all():
            yield f"{record}: the descriptors are not finite"
        if not np.array_equal(found, case.adapter.describe_windows(case.dataset, record, tokens)):
            yield f"{record}: the descriptors differ between two calls"
    if len(widths) > 1:
        yield f"descriptors have different widths: {sorted(widths)}"


def _shuffled_weights(case: _Case) -> Iterator[str]:
    """Shuffling gives another network of the same layers by seed, and leaves this one alone."""
    layer = case.adapter.default_layer
    before = case.run(case.adapter, [layer])
    shuffled = case.adapter.shuffle_weights(0)
    if shuffled.model.digest == case.adapter.model.digest:
        yield "the shuffled network has the digest of the original"
    if dict(shuffled.layers()) != dict(case.adapter.layers()):
        yield "the shuffled network has other layers"
    if case.adapter.shuffle_weights(0).model.digest != shuffled.model.digest:
        yield "the same seed gives two different shuffled networks"
    if case.adapter.shuffle_weights(1).model.digest == shuffled.model.digest:
        yield "two seeds give the same shuffled network"
    record = case.records[0]
    if np.array_equal(case.run(shuffled, [layer])[record][layer], before[record][layer]):
        yield "the shuffled network has the activations of the original"
    if not np.array_equal(case.run(case.adapter, [layer])[record][layer], before[record][layer]):
        yield "shuffling changed the original network"


def _decoys(case: _Case) -> Iterator[str]:
    """Decoys keep ids and lengths, differ in content, and follow from the seed."""
    decoy = case.adapter.decoy(case.dataset, 0)
    columns = [RECORD, N_TOKENS]
    mine, theirs = (_by_record(data.table)[columns] for data in (case.dataset, decoy))
    if not mine.equals(theirs):
        yield "decoys must have the records and lengths of the dataset"
    if decoy.digest == case.dataset.digest:
        yield "the decoys have the digest of the dataset"
    if case.adapter.decoy(case.dataset, 0).digest != decoy.digest:
        yield "the same seed gives two different decoys"


def _loss(case: _Case) -> Iterator[str]:
    """The loss is finite, repeatable and additive; replacing by the same changes nothing."""
    adapter, data, layer = case.adapter, case.dataset, case.adapter.default_layer
    plain = adapter.loss(data, case.records, layer, None, seed=0)
    if plain.n_tokens < 1 or not np.isfinite(plain.total):
        yield f"the loss is {plain}: finite, over at least one token is asked for"
        return
    again = adapter.loss(data, case.records, layer, None, seed=0)
    if (again.total, again.n_tokens) != (plain.total, plain.n_tokens):
        yield "the loss differs between two calls with the same seed"
    single = TokenLoss(0.0, 0)
    for record in case.records:
        single += adapter.loss(data, [record], layer, None, seed=0)
    if single.n_tokens != plain.n_tokens or _relative(single, plain) > _LAYER_TOLERANCE:
        yield f"record by record the loss is {single}, together {plain}"
    same = adapter.loss(data, case.records, layer, lambda values: values, seed=0)
    if same.n_tokens != plain.n_tokens or _relative(same, plain) > _LOSS_TOLERANCE:
        yield f"the identity as replacement gives {same}, no replacement {plain}"
    zero = adapter.loss(data, case.records, layer, lambda values: values * 0, seed=0)
    if zero.total == plain.total:
        yield f"replacing {layer!r} by zeros does not change the loss: the hook has no effect"


def _views(case: _Case) -> Iterator[str]:
    """A view has a title, and one symbol per token or none."""
    for record, n in case.n_tokens.items():
        view = case.adapter.view(case.dataset, record)
        if not view.title:
            yield f"{record}: the view has no title"
        if len(view.symbols) not in (0, n):
            yield f"{record}: {len(view.symbols)} symbols for {n} tokens"


_LAWS = (
    _layers,
    _activations,
    _repeatability,
    _several_layers,
    _coordinates,
    _labels,
    _annotations,
    _nuisances,
    _windows,
    _shuffled_weights,
    _decoys,
    _loss,
    _views,
)


def _by_record(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(RECORD).reset_index(drop=True)


def _distance(left: NDArray[Any], right: NDArray[Any]) -> float:
    if left.shape != right.shape:
        return float("inf")
    size = float(np.linalg.norm(right)) or 1.0
    return float(np.linalg.norm(left.astype(np.float64) - right)) / size


def _relative(left: TokenLoss, right: TokenLoss) -> float:
    return abs(left.total - right.total) / max(abs(right.total), 1e-12)
