"""Interventions on a network with a closed form: effects, arms, choice of records, resumption."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from causal_world import (
    LAYER,
    N_FEATURES,
    N_TOKENS,
    SPLITS,
    WIDTH,
    Records,
    SolvedAdapter,
    make_records,
    make_sae,
)
from kills import read_tree, run_killed

import sci_interp as si
from sci_interp.causal import InterventionResult, intervene
from sci_interp.causal.choice import choose_strongest
from sci_interp.causal.directions import FeatureShare, control_directions
from sci_interp.errors import InputError, SciInterpError, StoreError, UnknownNameError
from sci_interp.streams import ActivationStream

READOUT = np.linspace(-1, 1, WIDTH)


def run(adapter: Any = None, data: Any = None, sae: Any = None, **changes: Any) -> Any:
    settings: dict[str, Any] = {"feature": 1, "fractions": SPLITS, "progress": False}
    return intervene(
        adapter or SolvedAdapter(READOUT),
        data or make_records(),
        sae or make_sae(),
        **{**settings, **changes},
    )


def activation(sae: Any, data: Records, record: str, feature: int) -> np.ndarray:
    codes = sae.encode(data.of(record).numpy())
    found = np.zeros(codes.n_tokens)
    for token in range(codes.n_tokens):
        row = codes.rows(token, token + 1)
        found[token] = row.value[row.feature == feature].sum()
    return found


def of_arm(measured: pd.DataFrame, arm: str, endpoint: str, coefficient: float = 0.0) -> pd.Series:
    chosen = measured[
        (measured["arm"] == arm)
        & (measured["endpoint"] == endpoint)
        & (measured["coefficient"] == coefficient)
    ]
    return chosen.set_index("record")["value"]


@pytest.mark.parametrize("kind", ["scale", "channel", "token"])
def test_the_effect_is_that_of_the_closed_form(kind: str) -> None:
    data, sae = make_records(), make_sae(kind=kind)
    coefficients = (-1.0, 0.0, 2.5)
    found = run(data=data, sae=sae, coefficients=coefficients)
    direction = sae.dictionary[1].astype(np.float64)
    for coefficient in (-1.0, 2.5):
        for endpoint in ("linear", "square"):
            before = of_arm(found.measured, "untouched", endpoint)
            after = of_arm(found.measured, "feature", endpoint, coefficient)
            for record in before.index:
                x = data.of(record).numpy().astype(np.float64)
                size = activation(sae, data, record, 1)
                if kind == "token":
                    size = size * x.std(axis=1)
                delta = coefficient * size[:, None] * direction
                wanted = {
                    "linear": (delta @ READOUT).sum(),
                    "square": ((x + delta) ** 2 - x**2).sum(),
                }[endpoint]
                assert after[record] - before[record] == pytest.approx(wanted, abs=2e-5)


def test_coefficient_zero_is_the_untouched_network_bit_by_bit() -> None:
    found = run(coefficients=(0.0, 1.0))
    for endpoint in ("linear", "square"):
        before = of_arm(found.measured, "untouched", endpoint).to_numpy()
        after = of_arm(found.measured, "no-op", endpoint).to_numpy()
        assert before.tobytes() == after.tobytes()
    assert (found.effects["floor"] == 0).all()
    assert "untouched network's answer exactly" in found.format()
    values = torch.from_numpy(make_records().values.reshape(-1, WIDTH).copy())
    values[:, 0] = -0.0
    share = FeatureShare(make_sae(), 1)
    assert len(share.of(values)[0])
    assert share.add(values, 0.0).numpy().tobytes() == values.numpy().tobytes()


def test_a_noisy_network_shows_its_floor_and_no_effect_below_it() -> None:
    quiet = np.zeros(WIDTH)
    found = run(SolvedAdapter(quiet, noise=1e-6), coefficients=(1.0,))
    row = found.effects.set_index("endpoint").loc["linear"]
    assert row["floor"] > 0
    assert "the numerical floor" in found.format()
    silent = run(SolvedAdapter(quiet), coefficients=(1.0,)).effects.set_index("endpoint")
    assert silent.loc["linear", ["effect", "low", "high"]].tolist() == [0.0, 0.0, 0.0]
    assert silent.loc["linear", ["p_sign", "p_control", "p"]].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["scale", "channel", "token"])
@pytest.mark.parametrize("controls", ["directions", "features"])
def test_controls_have_the_lengths_and_the_tokens_of_the_feature(kind: str, controls: Any) -> None:
    sae, values = make_sae(kind=kind), make_records().of("r004")
    share = FeatureShare(sae, 2)
    tokens, _ = share.of(values)
    assert 0 < len(tokens) < N_TOKENS
    n = 20 if controls == "directions" else 7
    units = control_directions(sae, 2, n, kind=controls, seed=0)
    assert units.shape == (n, WIDTH)
    assert np.linalg.norm(units, axis=1) == pytest.approx(1.0)
    own = (share.add(values, 3.0) - values).norm(dim=1)
    for unit in units:
        other = (share.add(values, 3.0, torch.from_numpy(unit)) - values).norm(dim=1)
        assert other.numpy() == pytest.approx(own.numpy(), abs=1e-5)
        assert torch.equal(other > 0, own > 0)


def test_controls_by_features_are_those_that_fire_as_often() -> None:
    sae = make_sae()
    units = control_directions(sae, 4, 2, kind="features", seed=0)
    wanted = sae.dictionary[[5, 3]]
    assert units == pytest.approx(wanted / np.linalg.norm(wanted, axis=1, keepdims=True))
    with pytest.raises(InputError, match="7 other features fire, and 20 controls"):
        run(controls="features")


def test_the_untouched_network_runs_once_and_every_other_arm_once() -> None:
    adapter = SolvedAdapter(READOUT)
    found = run(adapter, coefficients=(-1.0, 0.0, 1.0))
    n = found.n_records
    assert n > 16
    assert adapter.passes == {"untouched": n, "changed": n * (1 + 2 * 21)}


def test_equal_activations_are_encoded_once() -> None:
    sae, values = make_sae(), make_records().of("r000")
    share = FeatureShare(sae, 1)
    first = share.of(values)
    assert share.of(values.clone()) is first
    assert share.of(values + 1) is not first
    share.forget()
    assert share.of(values) is not first


def test_a_planted_feature_is_found_and_an_inert_one_is_not() -> None:
    sae = make_sae()
    direction = sae.dictionary[1].astype(np.float64)
    found = run(SolvedAdapter(direction)).effects.set_index(["endpoint", "coefficient"])
    strong = found.loc[("linear", 1.0)]
    assert strong["p"] == pytest.approx(1 / 21)
    assert strong["low"] <= strong["effect"] <= strong["high"]
    assert strong["low"] > strong["control_largest"] > strong["control_median"] > 0
    assert found.loc[("linear", -1.0), "effect"] == pytest.approx(-strong["effect"], rel=1e-4)
    inert = run(SolvedAdapter(sae.dictionary[2].astype(np.float64))).effects
    assert (inert.loc[inert["endpoint"] == "linear", "p"] == 1).all()


def test_a_direction_like_any_other_has_a_uniform_p() -> None:
    rng = np.random.default_rng(5)
    data = make_records(n_blocks=12, per_block=1)
    p = []
    for seed in range(25):
        decoder = rng.standard_normal((N_FEATURES, WIDTH)).astype(np.float32)
        sae = make_sae(decoder=decoder / np.linalg.norm(decoder, axis=1, keepdims=True))
        for feature in range(N_FEATURES):
            found = run(
                SolvedAdapter(rng.standard_normal(WIDTH)),
                data,
                sae,
                feature=feature,
                records=data.names,
                coefficients=(1.0,),
                n_bootstrap=0,
                seed=seed,
            ).effects
            p.append(found.loc[found["endpoint"] == "linear", "p"].item())
    share = np.mean(np.array(p) <= 2 / 21 + 1e-9)
    assert 0.04 < share < 0.16
    assert 0.44 < np.mean(p) < 0.6


def test_missing_endpoints_are_left_out_and_counted() -> None:
    plain = make_records()
    chosen = run(data=plain).measured["record"].unique().tolist()
    n, lacking = len(chosen), frozenset(chosen[:3])
    found = run(data=dataclasses.replace(plain, without_square=lacking)).effects
    counts = found.groupby("endpoint")[["n_records", "n_missing"]].first()
    assert counts.loc["linear"].tolist() == [n, 0]
    assert counts.loc["square"].tolist() == [n - 3, 3]
    nowhere = dataclasses.replace(plain, without_square=frozenset(plain.names))
    rows = run(data=nowhere).effects.set_index("endpoint").loc["square"]
    assert rows["effect"].isna().all()
    assert (rows["verdict"] == "not identifiable").all()


def test_fewer_than_eight_blocks_identify_nothing() -> None:
    data = make_records()
    found = run(data=data, records=data.names[: 7 * 3]).effects
    assert found[["p", "q", "p_sign", "p_control"]].isna().all(axis=None)
    assert (found["verdict"] == "not identifiable").all()
    assert (found["n_blocks"] == 7).all()
    assert found["effect"].notna().all()
    found = run(data=data, records=data.names[: 8 * 3]).effects
    assert found["p"].notna().all()
    assert (found["verdict"] == "tested").all()


def test_records_are_the_strongest_of_as_many_test_blocks_as_possible() -> None:
    data, sae = make_records(n_blocks=40), make_sae()
    chosen = run(data=data, sae=sae, n_records=30, n_per_block=2).measured
    table = chosen[["record", "block"]].drop_duplicates()
    source = ActivationStream(SolvedAdapter(READOUT), data, LAYER, fractions=SPLITS)
    rows = source.axis.records
    test = rows[rows["split"] == "test"]
    assert set(table["record"]) <= set(test["record"])
    peak = {name: activation(sae, data, name, 1).max() for name in test["record"]}
    order = test.assign(peak=test["record"].map(peak)).query("peak > 0")
    order = order.sort_values("peak", ascending=False, kind="stable")
    order["place"] = order.groupby("block").cumcount()
    order = order[order["place"] < 2].sort_values("place", kind="stable")
    assert table["record"].tolist() == order["record"].tolist()[:30]


def test_blocks_that_the_autoencoder_has_seen_are_left_out() -> None:
    data, sae = make_records(), make_sae()
    axis = ActivationStream(SolvedAdapter(READOUT), data, LAYER, fractions=SPLITS).axis
    low, high = axis.block_interval(["test"])
    seen = {**sae.parent, "blocks_seen": f"{low!r}:{(low + high) / 2!r}"}
    part = run(data=data, sae=dataclasses.replace(sae, parent=seen)).measured["block"].unique()
    whole = run(data=data, sae=sae).measured["block"].unique()
    assert 0 < len(part) < len(whole)
    seen["blocks_seen"] = f"{low!r}:{high!r}"
    with pytest.raises(InputError, match="feature 1 fires on no record of the test blocks"):
        run(data=data, sae=dataclasses.replace(sae, parent=seen))


def test_stored_codes_choose_the_same_records(tmp_path: Path) -> None:
    data, sae = make_records(), make_sae()
    source = ActivationStream(SolvedAdapter(READOUT), data, LAYER, fractions=SPLITS)
    scaled = dataclasses.replace(sae, scale=np.full(N_FEATURES, 20.0, np.float32))
    codes = si.encode(scaled, source, out=tmp_path / "codes", progress=False)
    live, stored = (run(data=data, sae=scaled, **more) for more in ({}, {"codes": codes}))
    assert set(stored.measured["record"]) == set(live.measured["record"])
    with pytest.raises(StoreError, match="encoded by another autoencoder"):
        run(data=data, sae=make_sae(seed=1), codes=codes)
    with pytest.raises(StoreError, match="made from different records"):
        run(data=make_records(n_blocks=9), sae=scaled, codes=codes)


def test_an_artefact_is_opened_and_not_made_again(tmp_path: Path) -> None:
    first = run(out=tmp_path / "run")
    adapter = SolvedAdapter(READOUT)
    again = run(adapter, out=tmp_path / "run")
    assert adapter.passes == {"untouched": 0, "changed": 0}
    for table in ("effects", "measured"):
        pd.testing.assert_frame_equal(getattr(first, table), getattr(again, table))
    assert InterventionResult.open(tmp_path / "run").digest == first.digest
    loose = run()
    pd.testing.assert_frame_equal(loose.effects, first.effects)
    pd.testing.assert_frame_equal(loose.measured, first.measured)
    assert len(loose.digest) == 64
    assert "intervention" in si.show(tmp_path / "run")
    with pytest.raises(StoreError, match="holds other work: feature was 1 there and is 2 now"):
        run(feature=2, out=tmp_path / "run")
    part = tmp_path / "run" / "measured_000000.parquet"
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(StoreError, match=r"measured_000000\.parquet is damaged"):
        InterventionResult.open(tmp_path / "run")


def test_killed_interventions_end_in_the_same_bytes(tmp_path: Path) -> None:
    counts = run_killed("causal_killed:intervene_small", tmp_path, n_trials=6)
    assert counts["n_kills"] >= 3
    whole = read_tree(tmp_path / "whole")
    assert {"effects.csv", "chosen.parquet", "measured_000001.parquet"} <= set(whole)
    for trial in range(6):
        assert read_tree(tmp_path / f"trial{trial}") == whole


def test_a_damaged_part_of_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    run(out=tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    part = tmp_path / "run" / "measured_000000.parquet"
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.raises(StoreError, match=r"measured_000000\.parquet is damaged"):
        run(out=tmp_path / "run")


class Unable:
    """An adapter without endpoints."""

    name = "unable"


class Wrong(SolvedAdapter):
    """An adapter that measures something else than it was asked for."""

    fault = ""

    def endpoints(self, dataset: Records) -> dict[str, str]:
        return {} if self.fault == "nothing" else dict(super().endpoints(dataset))

    def measure(self, *given: Any) -> Iterator[Any]:
        rows = list(super().measure(*given))
        if self.fault == "order":
            rows.reverse()
        elif self.fault == "short":
            rows.pop()
        elif self.fault == "name":
            rows[0] = (rows[0][0], {"other": 1.0})
        yield from rows


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nothing", "has no endpoint for these data"),
        ("order", "out of turn"),
        ("short", "measured 7 of 8 records"),
        ("name", "measured other on record"),
    ],
)
def test_an_adapter_that_measures_wrongly_is_named(
    tmp_path: Path, fault: str, message: str
) -> None:
    adapter = Wrong(READOUT)
    adapter.fault = fault
    with pytest.raises(SciInterpError, match=message):
        run(adapter, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"adapter": Unable()}, InputError, "'unable' measures nothing that an intervention"),
        ({"feature": 8}, InputError, "no feature 8. Allowed: 0 to 7"),
        ({"feature": -1}, InputError, "no feature -1"),
        ({"coefficients": ()}, InputError, "not usable"),
        ({"coefficients": (0.0,)}, InputError, "at least one other than 0"),
        ({"coefficients": (1.0, 1.0)}, InputError, "1, 1 are not usable"),
        ({"coefficients": (np.nan,)}, InputError, "nan are not usable"),
        ({"controls": "none"}, InputError, "'none' are unknown. Allowed: directions, features"),
        ({"n_controls": 19}, InputError, "n_controls is 19. Allowed: at least 20"),
        ({"n_records": 0}, InputError, "n_records=0"),
        ({"n_per_block": 0}, InputError, "n_per_block=0"),
        ({"records": []}, InputError, "no record was named"),
        ({"records": ["r000", "r000"]}, InputError, "'r000' is named twice"),
        ({"records": ["r0"]}, UnknownNameError, "no record 'r0'"),
        ({"layer": "midle"}, UnknownNameError, "Did you mean 'middle'"),
    ],
)
def test_bad_settings_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(**{"out": tmp_path / "run", **changes})
    assert not (tmp_path / "run").exists()


def test_an_autoencoder_of_another_layer_or_network_is_refused() -> None:
    sae = make_sae()
    for parent, message in (
        ({"layer": "end", "model_digest": "d" * 64}, "channels of layer 'end', and layer 'middle'"),
        ({"layer": LAYER, "model_digest": "e" * 64}, "trained on another network:  eeeeeeeeeeee"),
    ):
        with pytest.raises(StoreError, match=message):
            run(sae=dataclasses.replace(sae, parent=parent), layer=LAYER)
    transcoder = dataclasses.replace(sae, output=sae.normalisation)
    with pytest.raises(StoreError, match="writes another layer than it reads"):
        run(sae=transcoder, layer=LAYER)


def test_a_feature_that_fires_in_no_test_block_is_refused() -> None:
    data, sae = make_records(), make_sae()
    axis = ActivationStream(SolvedAdapter(READOUT), data, LAYER, fractions=SPLITS).axis
    empty = sae.encode(np.zeros((0, WIDTH), np.float32))

    def read(start: int, stop: int) -> Any:
        return dataclasses.replace(empty, indptr=np.zeros(stop - start + 1, np.int64))

    with pytest.raises(InputError, match="Choose another feature, or name records"):
        choose_strongest(axis, read, 1, parent={}, n_records=4, n_per_block=1)
