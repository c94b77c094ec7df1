"""The arms of an intervention: the network untouched, and with every change that is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sci_interp.adapter import Adapter, Dataset, Measurable, Replacement
from sci_interp.errors import InputError, SciInterpError, UnknownNameError

from .directions import FeatureShare

__all__ = ["Arm", "ArmKind", "Bench", "choose_endpoints", "plan_arms", "require_endpoints"]

ArmKind: TypeAlias = Literal["untouched", "no-op", "feature", "control"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One way of running the network.

    Attributes
    ----------
    kind : str
        ``"untouched"``: without any hook; ``"no-op"``: with the hook, coefficient 0;
        ``"feature"``; ``"control"``.
    coefficient : float
        Multiple of the contribution that is added.
    control : int
        Number of the control; -1 elsewhere.
    """

    kind: ArmKind
    coefficient: float = 0.0
    control: int = -1


def plan_arms(coefficients: Sequence[float], n_controls: int) -> list[Arm]:
    """Return all arms: untouched, no-op, then per coefficient the feature and its controls."""
    arms = [Arm("untouched"), Arm("no-op")]
    for coefficient in coefficients:
        if coefficient != 0:
            arms.append(Arm("feature", coefficient))
            arms += [Arm("control", coefficient, at) for at in range(n_controls)]
    return arms


def require_endpoints(adapter: Adapter, dataset: Dataset) -> tuple[Measurable, Mapping[str, str]]:
    """Return an adapter that measures, and the definitions of what it measures.

    Raises
    ------
    InputError
        If it measures nothing.
    """
    if not isinstance(adapter, Measurable):
        raise InputError(
            f"the adapter {adapter.name!r} measures nothing that an intervention could change",
            allowed="adapters with the methods endpoints and measure",
        )
    endpoints = dict(adapter.endpoints(dataset))
    if not endpoints:
        raise InputError(f"the adapter {adapter.name!r} has no endpoint for these data")
    return adapter, endpoints


def choose_endpoints(
    endpoints: Mapping[str, str], names: Sequence[str] | None
) -> Mapping[str, str]:
    """Return the endpoints of some names, in the adapter's order; all of them for None.

    Raises
    ------
    InputError
        If no name is given.
    UnknownNameError
        If there is no such endpoint.
    """
    if names is None:
        return endpoints
    if isinstance(names, str) or not names:
        raise InputError(f"endpoints is {names!r}", allowed=f"names among {', '.join(endpoints)}")
    for name in names:
        if name not in endpoints:
            raise UnknownNameError("endpoint", name, endpoints)
    return {name: text for name, text in endpoints.items() if name in names}


@dataclass(frozen=True, eq=False)
class Bench:
    """Runs arms on records.

    Attributes
    ----------
    adapter : Measurable
        The network.
    dataset : Dataset
        Its data.
    layer : str
        Where the network is changed.
    share : FeatureShare
        The feature's contribution.
    directions : (n_controls, width) float64
        Unit directions of the controls.
    endpoints : tuple of str
        What is kept of the measurements.
    offered : tuple of str
        All that the adapter measures.
    """

    adapter: Measurable
    dataset: Dataset
    layer: str
    share: FeatureShare
    directions: Floats
    endpoints: tuple[str, ...]
    offered: tuple[str, ...]

    def measure(self, records: Sequence[str], arm: Arm) -> Floats:
        """Return the endpoints ``(n_records, n_endpoints)`` of records under one arm.

        Raises
        ------
        SciInterpError
            If the adapter yields other records or endpoints than it was asked for.
        """
        found = self.adapter.measure(self.dataset, records, self.layer, self._replacement(arm))
        rows = list(self._checked(found, records))
        if len(rows) != len(records):
            raise SciInterpError(
                f"the adapter measured {len(rows)} of {len(records)} records",
                allowed="every record that was asked for, in its order",
            )
        return np.array(rows, np.float64)

    def _checked(
        self, found: Iterator[tuple[str, Mapping[str, float]]], records: Sequence[str]
    ) -> Iterator[list[float]]:
        for at, (record, values) in enumerate(found):
            if at >= len(records) or record != records[at]:
                raise SciInterpError(
                    f"the adapter measured record {record!r} out of turn",
                    allowed="every record that was asked for, in its order",
                )
            if set(values) != set(self.offered):
                raise SciInterpError(
                    f"the adapter measured {', '.join(sorted(values))} on record {record!r}",
                    allowed=", ".join(self.offered),
                )
            yield [float(values[name]) for name in self.endpoints]

    def _replacement(self, arm: Arm) -> Replacement | None:
        if arm.kind == "untouched":
            return None
        direction = torch.from_numpy(self.directions[arm.control]) if arm.control >= 0 else None
        return partial(self.share.add, coefficient=arm.coefficient, direction=direction)
