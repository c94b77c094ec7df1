from __future__ import annotations

import numpy as np
import pytest

from sci_interp_weather import decoys as module
from sci_interp_weather.datasets import Needs
from sci_interp_weather.decoys import level_extrema, randomise_dataset, turn_phases
from sci_interp_weather.pressure_systems import PressureFinder


def test_records_stay_and_content_goes(make_waves, make_records):
    data = make_records(make_waves(n=400))
    decoy = randomise_dataset(data, 0)
    assert decoy.table.equals(data.table)
    assert decoy.annotations is None
    assert decoy.climatology is data.climatology
    digests = {data.digest, decoy.digest, randomise_dataset(data, 1).digest}
    assert len(digests) == 3
    assert randomise_dataset(data, 0).digest == decoy.digest


def test_no_closed_system_is_left(make_waves, make_records):
    fields = make_waves(n=200, globe=True)
    data = make_records(fields)
    decoy = randomise_dataset(data, 0).fields
    finder = PressureFinder(fields.grid)
    places = [5, 60, 150]

    def count(fields):
        found = [x for field in fields.read("msl", places) for x in finder.find(field).systems]
        # On the row at a pole an extremum reaches the edge without a closed contour of its own.
        return sum(abs(system.latitude) < 85 for system in found)

    assert count(fields) > 30
    assert count(decoy) == 0


def test_one_turn_for_all_times_keeps_spectrum_and_memory():
    rng = np.random.default_rng(0)
    waves = rng.standard_normal((40, 16, 24)).cumsum(axis=0).astype(np.float32)
    turned = turn_phases(waves, "a")
    spectra = [np.abs(np.fft.rfft2(each)) for each in (waves, turned)]
    np.testing.assert_allclose(*spectra, rtol=1e-3, atol=1e-2)
    memory = [(each[1:] * each[:-1]).sum() / (each**2).sum() for each in (waves, turned)]
    assert memory[0] == pytest.approx(memory[1], rel=1e-5)
    np.testing.assert_allclose(turned.mean(axis=(1, 2)), waves.mean(axis=(1, 2)), atol=1e-4)
    assert abs(np.corrcoef(waves.ravel(), turned.ravel())[0, 1]) < 0.3
    assert not np.array_equal(turned, turn_phases(waves, "b"))
    # Linear, so that every time may be read alone.
    np.testing.assert_allclose(turn_phases(waves[3:4], "a")[0], turned[3], atol=1e-4)


def test_levelling_fills_and_cuts():
    values = np.zeros((1, 5, 6), np.float32)
    values[0, 2, 2], values[0, 2, 4] = -3, 5
    np.testing.assert_array_equal(level_extrema(values, periodic=False), 0)
    slope = np.broadcast_to(np.arange(6, dtype=np.float32), (2, 5, 6))
    np.testing.assert_array_equal(level_extrema(slope, periodic=False), slope)
    ring = np.zeros((1, 4, 4), np.float32)
    ring[0, 1:3, 0] = -1
    np.testing.assert_array_equal(level_extrema(ring, periodic=False), ring)
    np.testing.assert_array_equal(level_extrema(ring, periodic=True), 0)


def test_water_is_not_negative_and_transport_may_be(make_waves, make_records):
    fields = make_waves(n=100, names=("msl",))
    values = {"msl": fields.read("msl", slice(None))}
    values["tp"] = np.maximum(values["msl"] - 101_500, 0) * 1e-6
    values["ivt_u"] = values["msl"] - 101_000
    fields = type(fields).from_arrays(fields.grid, fields.times, values)
    decoy = randomise_dataset(make_records(fields), 3).fields
    assert decoy.read("tp", slice(None)).min() == 0
    assert decoy.read("ivt_u", slice(None)).min() < -100


def test_large_fields_are_made_when_they_are_read(make_waves, make_records, monkeypatch):
    data = make_records(make_waves(n=100))
    held = randomise_dataset(data, 0).fields.read("msl", slice(None))
    monkeypatch.setattr(module, "_KEPT", 10)
    np.testing.assert_allclose(
        randomise_dataset(data, 0).fields.read("msl", [7, 50]), held[[7, 50]], rtol=1e-6
    )


def test_variables_keep_their_relation(make_waves, make_records):
    fields = make_waves(n=100)
    pressure = fields.read("msl", slice(None))
    both = {"msl": pressure, "t850": 280 + (pressure - 101_000) / 200}
    fields = type(fields).from_arrays(fields.grid, fields.times, both)
    needs = Needs(("t850",), (0,), 0, ())
    decoy = randomise_dataset(make_records(fields, needs=needs), 0).fields
    t, p = (decoy.read(name, slice(None)).ravel() for name in ("t850", "msl"))
    assert np.corrcoef(t, p)[0, 1] > 0.9
