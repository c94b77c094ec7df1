"""Interventions on chosen endpoints, and how many controls a small q takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from causal_world import SPLITS, SolvedAdapter, make_records, make_sae

from sci_interp.causal import InterventionResult, intervene
from sci_interp.enrichment.significance import adjust_p
from sci_interp.errors import InputError, StoreError, UnknownNameError


def planted() -> SolvedAdapter:
    """Return a network whose readout is the direction of feature 1."""
    return SolvedAdapter(make_sae().dictionary[1].astype(np.float64))


def run(adapter: SolvedAdapter, **changes: Any) -> InterventionResult:
    settings: dict[str, Any] = {"feature": 1, "fractions": SPLITS, "progress": False, **changes}
    return intervene(adapter, make_records(), make_sae(), **settings)


def test_chosen_endpoints_alone_are_measured_and_adjusted(tmp_path: Path) -> None:
    whole = run(planted())
    adapter = planted()
    part = run(adapter, endpoints=["linear"], out=tmp_path / "part")
    assert set(part.measured["endpoint"]) == set(part.effects["endpoint"]) == {"linear"}
    assert (
        dict(part.endpoints) == dict(part.settings["endpoints"]) == {"linear": "sum of the readout"}
    )
    of_whole = whole.effects[whole.effects["endpoint"] == "linear"].reset_index(drop=True)
    columns = [name for name in of_whole if name != "q"]
    pd.testing.assert_frame_equal(part.effects[columns], of_whole[columns])
    assert part.effects["q"].to_numpy() == pytest.approx(adjust_p(of_whole["p"].to_numpy()))
    both = run(adapter, endpoints=["square", "linear", "square"])
    pd.testing.assert_frame_equal(both.measured, whole.measured)
    assert both.digest == whole.digest
    with pytest.raises(StoreError, match="holds other work: endpoints was"):
        run(adapter, endpoints=["square"], out=tmp_path / "part")


def test_the_text_says_how_many_controls_a_small_q_takes() -> None:
    adapter = planted()
    text = run(adapter).format()
    assert "p is 0.048 at the least. For one of the 4 tests alone to reach q = 0.05" in text
    assert "it takes at least 79 controls" in text
    few = {"endpoints": ["linear"], "coefficients": (1.0,)}
    assert "For the one test to reach q = 0.05, it takes at least 19 controls" in str(
        run(adapter, **few)
    )
    text = run(adapter, records=make_records().names[: 7 * 3]).format()
    assert "p is 0.048 at the least.\n" in text
    enough = run(adapter, n_controls=79).effects.set_index(["endpoint", "coefficient"])
    assert enough.loc[("linear", 1.0), "p"] == 1 / 80
    for n_controls, reached in ((79, True), (78, False)):
        p = np.array([1 / (1 + n_controls), 1, 1, 1])
        assert (adjust_p(p)[0] <= 0.05) == reached


@pytest.mark.parametrize(
    ("endpoints", "error", "message"),
    [
        (["liner"], UnknownNameError, "no endpoint 'liner'.*Did you mean 'linear'"),
        ([], InputError, r"endpoints is \[\]. Allowed: names among linear, square"),
        ("linear", InputError, "endpoints is 'linear'"),
    ],
)
def test_endpoints_that_cannot_be(
    tmp_path: Path, endpoints: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(planted(), endpoints=endpoints, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
