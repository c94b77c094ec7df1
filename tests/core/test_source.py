"""Arrays in memory as a source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError
from sci_interp.source import ActivationSource, ArraySource


def axis(fractions=None):
    frame = pd.DataFrame({"record": ["a"], "block": ["a"], "n_tokens": [6]})
    return TokenAxis.build(frame, fractions)


def test_it_is_a_source_and_reads_ranges():
    values = np.arange(12, dtype=np.float64).reshape(6, 2)
    source = ArraySource(axis(), values, layer="l")
    assert isinstance(source, ActivationSource)
    assert source.width == 2 and source.layer == "l"
    assert set(source.model) == {"name", "digest", "dtype"}
    assert source.read(1, 4).dtype == np.float32
    assert np.array_equal(source.read(1, 4), values[1:4])


def test_its_digest_follows_values_axis_and_splits():
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    digest = ArraySource(axis(), values).digest
    assert ArraySource(axis(), np.asfortranarray(values)).digest == digest
    assert ArraySource(axis(), values + 1).digest != digest
    assert ArraySource(axis({"train": 1.0}), values).digest != digest
    assert ArraySource(axis(), values.reshape(6, 2).astype(np.float64)).digest != digest


@pytest.mark.parametrize("shape", [(6,), (5, 2), (6, 2, 1)])
def test_values_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"\(6, width\)"):
        ArraySource(axis(), np.zeros(shape, np.float32))
