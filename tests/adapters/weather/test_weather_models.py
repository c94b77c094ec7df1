"""Names of networks: what is possible, what is refused, in one message."""

from __future__ import annotations

import pytest

from sci_interp.errors import InputError, UnknownNameError
from sci_interp_weather.models import load_network


@pytest.mark.parametrize(
    "model", ["graphcast", "esm:x", "aurora:", "onnx:", "bundled:", "./absent"]
)
def test_names_that_mean_nothing_list_what_is_possible(model):
    with pytest.raises(InputError, match=r"bundled:forecast, aurora:.*, sfno:.*, onnx:"):
        load_network(model)


def test_bundled_networks_by_name():
    assert load_network().digest == load_network("bundled:forecast").digest
    with pytest.raises(UnknownNameError, match="Did you mean 'forecast'"):
        load_network("bundled:forecsat")


@pytest.mark.parametrize("model", [None, "bundled:forecast", "sfno:folder", "anything"])
def test_options_of_networks_that_have_none(model):
    with pytest.raises(UnknownNameError, match="no option 'colour'"):
        load_network(model, colour="red")


@pytest.mark.parametrize(
    ("model", "option", "near"),
    [("aurora:aurora-0.25-finetuned", "levls", "levels"), ("onnx:file", "layer", "layers")],
)
def test_misspelt_options_name_the_nearest(model, option, near):
    with pytest.raises(UnknownNameError, match=f"Did you mean '{near}'"):
        load_network(model, **{option: 1})
