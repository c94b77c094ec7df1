"""The token axis: contiguous records, blocks and splits, whatever the order of the table."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp import axis
from sci_interp.axis import TokenAxis
from sci_interp.blocks import DEFAULT_FRACTIONS, assign_splits, block_position
from sci_interp.errors import InputError, StoreError
from sci_interp.schema import RECORD_COLUMNS, RECORDS_FILE, SPLITS


def table(lengths, blocks):
    names = [f"r{index}" for index in range(len(lengths))]
    return pd.DataFrame({"record": names, "block": blocks, "n_tokens": lengths})


TABLES = st.lists(
    st.tuples(st.integers(1, 50), st.sampled_from([f"b{i}" for i in range(8)])), min_size=1
).map(lambda rows: table(*map(list, zip(*rows, strict=True))))


@given(TABLES)
def test_laws_of_the_axis(frame):
    axis = TokenAxis.build(frame)
    records = axis.records
    assert tuple(records.columns) == RECORD_COLUMNS
    assert set(records["record"]) == set(frame["record"])
    lengths = dict(zip(frame["record"], frame["n_tokens"], strict=True))
    assert (records["stop"] - records["start"]).tolist() == [lengths[r] for r in records["record"]]
    assert axis.n_tokens == frame["n_tokens"].sum() and axis.n_records == len(frame)
    assert axis.record_starts.tolist() == [*records["start"], axis.n_tokens]
    # Blocks are contiguous and in one split; splits are contiguous and in their order.
    changes = (records["block"] != records["block"].shift()).sum()
    assert changes == records["block"].nunique() == len(axis.block_starts) - 1
    assert (records.groupby("block")["split"].nunique() == 1).all()
    assert (np.diff([SPLITS.index(split) for split in records["split"]]) >= 0).all()
    # The weights of a block's records add up to one.
    assert np.allclose(records.groupby("block")["weight"].sum(), 1)


@given(TABLES, st.randoms(use_true_random=False))
def test_blocks_keep_their_order_and_split_when_others_come_or_go(frame, random):
    blocks = sorted(frame["block"].unique())
    kept = random.sample(blocks, random.randint(1, len(blocks)))
    whole = TokenAxis.build(frame).records
    part = TokenAxis.build(frame[frame["block"].isin(kept)]).records
    expected = whole[whole["block"].isin(kept)].reset_index(drop=True)
    assert part[["record", "block", "split"]].equals(expected[["record", "block", "split"]])


def test_splits_are_ranges_and_follow_the_shares():
    axis = TokenAxis.build(table([1] * 4000, [f"b{i}" for i in range(4000)]))
    edges = [axis.token_range([split]) for split in SPLITS]
    assert edges[0][0] == 0 and edges[-1][1] == 4000
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    shares = [(stop - start) / 4000 for start, stop in edges]
    assert np.allclose(shares, list(DEFAULT_FRACTIONS.values()), atol=0.03)
    assert axis.token_range(["discovery", "train"]) == (0, edges[1][1])


def test_a_split_without_records_is_empty_and_a_gap_is_refused():
    frame = table([5] * 40, [f"b{i}" for i in range(40)])
    axis = TokenAxis.build(frame, {"train": 0.5, "test": 0.5})
    assert axis.token_range(["vault"]) == (0, 0)
    axis = TokenAxis.build(frame)
    with pytest.raises(InputError, match="train, test are not neighbours"):
        axis.record_range(["train", "test"])


def test_the_stratum_is_the_adapters_or_the_length():
    frame = table([5, 7], ["a", "b"])
    assert set(TokenAxis.build(frame).records["stratum"]) == {5.0, 7.0}
    assert set(TokenAxis.build(frame.assign(stratum=1)).records["stratum"]) == {1.0}


@pytest.mark.parametrize(
    ("lengths", "blocks", "names", "message"),
    [
        ([], [], None, "no record"),
        ([3, 0], ["a", "b"], None, "'r1' has no token"),
        ([3, 3], ["a", "b"], ["x", "x"], "'x' occurs more than once"),
    ],
)
def test_unusable_tables_are_refused(lengths, blocks, names, message):
    frame = table(lengths, blocks)
    if names:
        frame["record"] = names
    with pytest.raises(InputError, match=message):
        TokenAxis.build(frame)


@pytest.mark.parametrize(
    "shares",
    [
        {"train": 0.5},
        {"train": 1.5, "test": -0.5},
        {"train": 0.5, "validation": 0.5},
        {"train": float("nan"), "test": 1.0},
    ],
)
def test_unusable_shares_are_refused(shares):
    with pytest.raises(InputError, match="are not usable"):
        TokenAxis.build(table([3], ["a"]), shares)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1))
def test_splits_are_intervals_of_the_position(places):
    found = assign_splits(np.array(places), {"train": 0.25, "discovery": 0.25, "vault": 0.5})
    expected = ["train" if p < 0.25 else "discovery" if p < 0.5 else "vault" for p in places]
    assert found == expected


def test_the_position_of_a_block_never_changes():
    assert block_position("block0") == pytest.approx(0.4008032447690413, abs=1e-15)
    assert 0 <= block_position("") < 1
    positions = np.array([block_position(f"b{i}") for i in range(2000)])
    assert abs(positions.mean() - 0.5) < 0.03 and positions.min() >= 0 and positions.max() < 1


def test_it_is_written_and_read_in_the_same_bytes(tmp_path):
    axis = TokenAxis.build(table([3, 4, 5], ["a", "b", "a"]))
    axis.write(tmp_path)
    again = TokenAxis.read(tmp_path)
    assert again.digest == axis.digest and again.records.equals(axis.records)
    data = (tmp_path / RECORDS_FILE).read_bytes()
    again.write(tmp_path)
    assert (tmp_path / RECORDS_FILE).read_bytes() == data


def test_the_digest_follows_records_blocks_and_ranges_not_shares():
    frame = table([3, 4], ["a", "b"])
    digest = TokenAxis.build(frame).digest
    assert TokenAxis.build(frame, {"train": 1.0}).digest == digest
    for change in ({"block": ["a", "c"]}, {"n_tokens": [3, 5]}, {"record": ["r0", "r2"]}):
        assert TokenAxis.build(frame.assign(**change)).digest != digest


def test_other_axes_are_refused():
    one, other = (TokenAxis.build(table([n], ["a"])) for n in (3, 4))
    one.require_same(one, "the features", "the annotations")
    named = TokenAxis.build(table([3, 3], ["a", "b"]))
    for than, message in (
        (other, "1 and 1 of the same names"),
        (named, "1 and 2, .* in the notes"),
    ):
        with pytest.raises(StoreError, match=f"the features and the notes were made .*: {message}"):
            one.require_same(than, "the features", "the notes")


def test_a_damaged_table_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be read"):
        TokenAxis.read(tmp_path)
    (tmp_path / RECORDS_FILE).write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match="cannot be read"):
        TokenAxis.read(tmp_path)
    pd.DataFrame({"record": ["a"]}).to_parquet(tmp_path / RECORDS_FILE)
    with pytest.raises(StoreError, match="has the columns"):
        TokenAxis.read(tmp_path)


def test_step_weights_are_kept_and_belong_to_the_identity(tmp_path):
    frame = table([6, 3], ["a", "b"]).assign(exchange=["winter", "summer"])
    plain, axis = TokenAxis.build(frame), TokenAxis.build(frame, step_weights=(1, 4, 2))
    assert plain.digest != axis.digest
    axis.write(tmp_path)
    again = TokenAxis.read(tmp_path)
    assert again.step_weights == (1, 4, 2) and again.digest == axis.digest
    assert again.records.equals(axis.records) and again.records.attrs == {}
    assert sorted(axis.records["exchange"]) == ["summer", "winter"]
    assert axis.token_weights(2, 6).tolist() == [2, 1, 4, 2]
    assert axis.family_weights(0, 9).sum() == pytest.approx(3 * 7 / 4)


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [([4], (1, 1, 1), "has 4 tokens, not whole steps of 3"), ([4], (0, 1), "weights of a step")],
)
def test_records_that_are_no_whole_steps_are_refused(sizes, weights, message):
    with pytest.raises(InputError, match=message):
        TokenAxis.build(table(sizes, ["a"]), step_weights=weights)


def test_the_digest_does_not_depend_on_how_many_rows_are_read_at_once(monkeypatch):
    table = pd.DataFrame(
        {"record": ["a", 'b",\n', "ç", "d"], "block": ["x", "x", "y", "z"], "n_tokens": 3}
    )
    whole = TokenAxis.build(table, step_weights=(1, 2, 1)).digest
    for n_rows in (1, 3):
        monkeypatch.setattr(axis, "_DIGEST_ROWS", n_rows)
        assert TokenAxis.build(table, step_weights=(1, 2, 1)).digest == whole
