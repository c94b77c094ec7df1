"""Recipes: how a model and data are opened, in words that another process can follow."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from .adapter import Adapter, Dataset
from .errors import InputError
from .registry import load_adapter
from .study import is_address

__all__ = ["Last", "Recipe"]

_Value = TypeVar("_Value")


class Last(threading.local, Generic[_Value]):
    """What a thread made last: the tasks of one verb open the same things.

    Networks with hooks, and stores that keep what they read last, are not for two threads at once.
    """

    def __init__(self) -> None:
        self._found: tuple[str, _Value] | None = None

    def get(self, key: str, make: Callable[[], _Value]) -> _Value:
        """Return what was made under the key, or make it and let go of the one before."""
        if self._found is None or self._found[0] != key:
            self._found = None
            self._found = key, make()
        return self._found[1]


_opened: Last[tuple[Adapter, Dataset]] = Last()


@dataclass(frozen=True)
class Recipe:
    """How workers open a model and its data for themselves.

    Attributes
    ----------
    adapter : str
        Name of the adapter.
    model : str or None
        As for :func:`~sci_interp.registry.load_adapter`.
    data : Path, str or None
        As for the adapter's ``open``; None takes its reference set. Paths, here and among the
        options, are kept absolute: a worker may be at home in another folder.
    options : mapping
        Further options of the adapter's ``open``; files as :class:`~pathlib.Path`.
    model_options : mapping
        Further options of ``load_adapter``.
    control : {"", "weights", "inputs"}
        Shuffle the network's weights, or take decoys of the inputs.
    seed : int
        Of the control.
    """

    adapter: str
    model: str | None = None
    data: Path | str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    control: Literal["", "weights", "inputs"] = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.control not in ("", "weights", "inputs"):
            raise InputError(
                f"control={self.control!r} is not usable", allowed='"", "weights" or "inputs"'
            )
        data = self.data if self.data is None or is_address(str(self.data)) else Path(self.data)
        options = {name: _absolute(value) for name, value in self.options.items()}
        object.__setattr__(self, "data", _absolute(data))
        object.__setattr__(self, "options", options)

    @property
    def key(self) -> str:
        """All of it as one text."""
        return json.dumps(asdict(self), sort_keys=True, default=str)

    def open(self) -> tuple[Adapter, Dataset]:
        """Return the adapter and the dataset.

        Raises
        ------
        SciInterpError
            If either cannot be opened.
        """
        adapter = load_adapter(self.adapter, model=self.model, **self.model_options)
        dataset = adapter.open(self.data, **self.options)
        if self.control == "weights":
            adapter = adapter.shuffle_weights(self.seed)
        elif self.control == "inputs":
            dataset = adapter.decoy(dataset, self.seed)
        return adapter, dataset

    def open_once(self) -> tuple[Adapter, Dataset]:
        """Return what :meth:`open` does; the last recipe of a thread is opened once."""
        return _opened.get(self.key, self.open)


def _absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(each) for each in value]
    return value.absolute() if isinstance(value, Path) else value
