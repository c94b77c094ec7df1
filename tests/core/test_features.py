"""Feature stores: what was encoded is read back, whatever happened in between."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sci_interp import feature_store, features
from sci_interp.adapter import Nuisances
from sci_interp.axis import TokenAxis, describe_blocks
from sci_interp.codes import Codes, quantise
from sci_interp.errors import InputError, NotFiniteError, SciInterpError, StoreError
from sci_interp.features import FeatureStore, encode, encode_nuisances
from sci_interp.manifest import Manifest, digest_json
from sci_interp.source import ArraySource

WIDTH = 6
LENGTHS = (5, 40, 1, 17, 30, 64, 9, 2, 50, 12)


def make_source(lengths=LENGTHS, seed=0) -> ArraySource:
    ids = [f"r{index}" for index in range(len(lengths))]
    blocks = [f"b{index // 2}" for index in range(len(lengths))]
    table = pd.DataFrame({"record": ids, "block": blocks, "n_tokens": lengths})
    axis = TokenAxis.build(table)
    values = np.random.default_rng(seed).normal(size=(axis.n_tokens, WIDTH)).astype(np.float32)
    return ArraySource(axis, values)


@dataclass
class Threshold:
    """Channels above 0.5, and above 1 in a second set of features."""

    width: int = WIDTH
    digest: str = "threshold"
    parent: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    fail_at: int = -1

    n_features = 2 * WIDTH
    n_active = 2 * WIDTH
    names = tuple(f"channel {index} above {cut}" for cut in ("0.5", "1") for index in range(WIDTH))
    scale = np.full(2 * WIDTH, 3.0, np.float32)

    def encode(self, values):
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        wide = np.concatenate([values - 0.5, values - 1], axis=1)
        active = wide > 0
        feature = np.nonzero(active)[1].astype(np.uint16)
        return Codes(np.append(0, active.sum(axis=1).cumsum()), feature, wide[active])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(feature_store, "SHARD_TOKENS", 64)
    monkeypatch.setattr(features, "SHARD_TOKENS", 64)
    monkeypatch.setattr(features, "SLICE_TOKENS", 24)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def dense(codes: Codes, n_features: int) -> np.ndarray:
    found = np.zeros((codes.n_tokens, n_features), int)
    found[np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr)), codes.feature] = codes.value
    return found


def expected_levels(source: ArraySource) -> np.ndarray:
    codes = Threshold().encode(source.values)
    level = quantise(codes.value, codes.feature, Threshold.scale)
    return dense(Codes(codes.indptr, codes.feature, level), Threshold.n_features)


def test_codes_are_read_back_as_they_were_encoded(tmp_path):
    source = make_source()
    store = encode(Threshold(), source, out=tmp_path / "features", progress=False)
    assert store.n_features == 2 * WIDTH
    assert store.names == Threshold.names
    assert store.families == ()
    assert store.axis.digest == source.axis.digest
    np.testing.assert_array_equal(store.scale, Threshold.scale)
    codes = store.read(0, source.axis.n_tokens)
    assert codes.indptr.dtype == np.int64
    assert codes.feature.dtype == np.uint16
    assert codes.value.dtype == np.uint8
    np.testing.assert_array_equal(dense(codes, 2 * WIDTH), expected_levels(source))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    source = make_source()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_store, "SHARD_TOKENS", 64)
        out = tmp_path_factory.mktemp("stored") / "features"
        encode(Threshold(), source, out=out, progress=False)
    return source, FeatureStore.open(out), expected_levels(source)


@settings(max_examples=60, deadline=None)
@given(ends=st.tuples(st.integers(0, sum(LENGTHS)), st.integers(0, sum(LENGTHS))))
def test_any_range_is_the_same_rows(stored, ends):
    _, store, expected = stored
    start, stop = sorted(ends)
    codes = store.read(start, stop)
    assert codes.n_tokens == stop - start
    np.testing.assert_array_equal(dense(codes, 2 * WIDTH), expected[start:stop])


def test_a_store_opens_again_where_it_is_sent_to(stored):
    _, store, _ = stored
    sent = copy.deepcopy(store)  # copies and processes ask for the same
    assert sent.digest == store.digest
    assert sent.path == store.path


def test_shards_cover_the_axis(stored):
    source, store, _ = stored
    edges = list(store.shards())
    assert edges[0][0] == 0
    assert edges[-1][1] == source.axis.n_tokens
    assert [stop for _, stop in edges[:-1]] == [start for start, _ in edges[1:]]


def test_a_range_outside_the_axis_is_refused(stored):
    _, store, _ = stored
    for start, stop in ((-1, 3), (3, 2), (0, sum(LENGTHS) + 1)):
        with pytest.raises(InputError, match="token range"):
            store.read(start, stop)


def test_tokens_without_features_are_empty_rows(tmp_path):
    source = make_source()
    silent = ArraySource(source.axis, np.full_like(source.values, -1))
    store = encode(Threshold(), silent, out=tmp_path / "features", progress=False)
    assert len(store.read(0, source.axis.n_tokens).feature) == 0


def test_encoders_with_many_active_features_get_shorter_shards(monkeypatch):
    monkeypatch.setattr(feature_store, "SHARD_TOKENS", 65_536)
    assert feature_store.shard_tokens(32) == 65_536
    assert feature_store.shard_tokens(512) == 32_768
    assert feature_store.shard_tokens(10**9) == 1_024


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        encode(Threshold(), make_source(), out=tmp_path / name, progress=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("fail_at", [0, 2, 5, 9])
def test_an_interrupted_run_continues(tmp_path, fail_at):
    encode(Threshold(), make_source(), out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        encode(Threshold(fail_at=fail_at), make_source(), out=tmp_path / "part", progress=False)
    with pytest.raises(StoreError, match="unfinished"):
        FeatureStore.open(tmp_path / "part")
    again = Threshold()
    encode(again, make_source(), out=tmp_path / "part", progress=False)
    slices_per_shard = 3
    assert again.calls == 11 - fail_at // slices_per_shard * slices_per_shard
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_a_committed_shard_that_was_damaged_is_not_continued(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        encode(Threshold(fail_at=9), make_source(), out=tmp_path / "part", progress=False)
    (tmp_path / "part/codes.zarr/000001/feature/c/0").unlink()
    with pytest.raises(StoreError, match="000001"):
        encode(Threshold(), make_source(), out=tmp_path / "part", progress=False)


def test_a_finished_store_is_not_encoded_again(tmp_path):
    encode(Threshold(), make_source(), out=tmp_path / "features", progress=False)
    again = Threshold()
    encode(again, make_source(), out=tmp_path / "features", progress=False)
    assert again.calls == 0
    with pytest.raises(StoreError, match="other work"):
        encode(Threshold(digest="other"), make_source(), out=tmp_path / "features", progress=False)


def test_every_failed_write_is_a_typed_error_and_can_be_continued(tmp_path, monkeypatch):
    encode(Threshold(), make_source(), out=tmp_path / "whole", progress=False)
    real = os.fsync
    n_failures = 0
    for nth in range(1_000):
        left = [nth]

        def fail(handle, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            real(handle)

        out = tmp_path / f"part {nth % 7}"
        monkeypatch.setattr(os, "fsync", fail)
        try:
            encode(Threshold(), make_source(), out=out, progress=False)
            break
        except SciInterpError:
            n_failures += 1
        finally:
            monkeypatch.setattr(os, "fsync", real)
    assert n_failures > 7
    for index in range(7):
        encode(Threshold(), make_source(), out=tmp_path / f"part {index}", progress=False)
        assert contents(tmp_path / f"part {index}") == contents(tmp_path / "whole")


KILLED = """
import os, signal, sys
import test_features as t
t.feature_store.SHARD_TOKENS = 64
t.features.SLICE_TOKENS = 24
real, left = os.fsync, [int(sys.argv[2])]
def fsync(handle):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
t.encode(t.Threshold(), t.make_source(), out=sys.argv[1], progress=False)
"""


@pytest.mark.parametrize("nth", [9, 31, 53])
def test_a_killed_run_continues_to_the_same_bytes(tmp_path, nth):
    encode(Threshold(), make_source(), out=tmp_path / "whole", progress=False)
    here = str(Path(__file__).parent)
    root = str(Path(features.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, root])}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "part"), str(nth)]
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    encode(Threshold(), make_source(), out=tmp_path / "part", progress=False)
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_damage_is_refused_before_use_and_names_the_shard(tmp_path):
    encode(Threshold(), make_source(), out=tmp_path / "features", progress=False)
    whole = contents(tmp_path / "features")
    n_tokens = sum(LENGTHS)
    for name, data in whole.items():
        if name in ("journal.jsonl", "request.json", "manifest.json"):
            continue
        path = tmp_path / "features" / name
        flipped = bytes([data[0] ^ 1]) + data[1:]
        for damaged in (flipped, data[:-1], None):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            part = "/".join(name.split("/")[:2])
            with pytest.raises(StoreError, match=part):
                FeatureStore.open(tmp_path / "features").read(0, n_tokens)
            path.write_bytes(data)
    FeatureStore.open(tmp_path / "features").read(0, n_tokens)


def test_a_shard_that_the_manifest_does_not_list_is_refused(tmp_path):
    encode(Threshold(), make_source(), out=tmp_path / "features", progress=False)
    path = tmp_path / "features/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {k: v for k, v in manifest["files"].items() if "000000" not in k}
    manifest["digest"] = digest_json(manifest["files"])
    manifest["seal"] = Manifest(**manifest).expected_seal
    path.write_text(json.dumps(manifest))
    store = FeatureStore.open(tmp_path / "features")
    with pytest.raises(StoreError, match="000000 is not listed"):
        store.read(0, 1)


def test_the_store_of_another_kind_is_refused(tmp_path):
    with pytest.raises(StoreError, match="not an artefact"):
        FeatureStore.open(tmp_path)


def test_not_finite_activations_name_the_record(tmp_path):
    source = make_source()
    for bad in (np.nan, np.inf, -np.inf):
        values = source.values.copy()
        values[100, 3] = bad
        index = int(np.searchsorted(source.axis.record_starts, 100, side="right")) - 1
        record = source.axis.records["record"].iloc[index]
        with pytest.raises(NotFiniteError, match=f"record '{record}'"):
            encode(
                Threshold(),
                ArraySource(source.axis, values),
                out=tmp_path / str(bad),
                progress=False,
            )


def test_large_finite_activations_are_no_error(tmp_path):
    source = make_source()
    values = source.values.copy()
    values[:, 0] = np.finfo(np.float32).max
    encode(Threshold(), ArraySource(source.axis, values), out=tmp_path / "f", progress=False)


def test_an_encoder_that_does_not_fit_is_refused(tmp_path):
    source = make_source()
    cases = [
        (Threshold(width=7), "7 channels .* 6"),
        (Threshold(parent={"layer": "layer.9"}), "another layer"),
        (Threshold(parent={"layer": "array", "model_digest": "0" * 64}), "another model"),
    ]
    for encoder, message in cases:
        with pytest.raises(StoreError, match=message):
            encode(encoder, source, out=tmp_path / "features", progress=False)
    assert not (tmp_path / "features").exists()
    encode(cases[2][0], source, out=tmp_path / "f", check_parent=False, progress=False)


def test_an_encoder_that_has_seen_what_is_kept_for_testing_is_refused(tmp_path):
    source = make_source()
    low, high = source.axis.block_interval(("test", "vault"))
    cases = [
        (f"0.0:{low + 1e-9!r}", "fitted on blocks with places from 0.000 to"),
        (f"{high!r}:1.0", "for testing"),
        ("half", "states blocks_seen='half'"),
    ]
    for number, (seen, message) in enumerate(cases):
        encoder = Threshold(parent={"layer": "array", "blocks_seen": seen})
        with pytest.raises(StoreError, match=message):
            encode(encoder, source, out=tmp_path / "features", progress=False)
        out = tmp_path / f"unchecked-{number}"
        encode(encoder, source, out=out, check_parent=False, progress=False)
    assert not (tmp_path / "features").exists()
    seen = describe_blocks(source.axis, ("train", "discovery"))
    encode(Threshold(parent=seen), source, out=tmp_path / "fits", progress=False)
    assert describe_blocks(source.axis, ()) == {}


def test_the_encoder_of_this_model_and_layer_is_accepted(tmp_path):
    source = make_source()
    parent = {"model_digest": source.digest, "layer": source.layer}
    encode(Threshold(parent=parent), source, out=tmp_path / "features", progress=False)


@pytest.mark.parametrize(
    ("indptr", "feature", "value"),
    [
        ([0, 1], [0, 1], [1.0, 1.0]),
        ([0, 1, 3], [0, 1, 1], [1.0, 1.0, 1.0]),
        ([0, 1, 3], [0, 2, 1], [1.0, 1.0, 1.0]),
        ([0, 1, 2], [0, 12], [1.0, 1.0]),
        ([0, 1, 2], [0, 1], [1.0, 0.0]),
        ([0, 1, 2], [0, 1], [1.0, -1.0]),
        ([0, 2, 1], [0], [1.0]),
        ([0, 1, 3], [0, 1], [1.0, 1.0]),
        ([1, 1, 2], [0, 1], [1.0, 1.0]),
        ([0, 1, 2], [0, 1], [1.0]),
        ([0, 3, 2], [0, 1], [1.0, 1.0]),
    ],
)
def test_codes_that_are_no_sparse_rows_are_refused(indptr, feature, value):
    codes = Codes(np.array(indptr), np.array(feature, np.uint16), np.array(value, np.float32))
    with pytest.raises(InputError, match="compressed sparse rows"):
        feature_store.require_valid(codes, 2, 12)


def test_sparse_rows_with_empty_rows_are_valid():
    codes = Codes(
        np.array([0, 0, 2, 2, 3, 3]), np.array([3, 4, 4], np.uint16), np.ones(3, np.float32)
    )
    feature_store.require_valid(codes, 5, 12)
    empty = Codes(np.zeros(6, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.float32))
    feature_store.require_valid(empty, 5, 12)


def test_names_are_one_for_every_feature(tmp_path):
    with pytest.raises(InputError, match=r"2 names .* 12 features"):
        encode(Threshold(), make_source(), out=tmp_path / "f", names=["a", "b"], progress=False)


def test_a_scale_that_is_not_finite_is_refused(tmp_path):
    encoder = Threshold()
    encoder.scale = np.full(2 * WIDTH, np.nan, np.float32)
    with pytest.raises(NotFiniteError, match="scale"):
        encode(encoder, make_source(), out=tmp_path / "f", progress=False)


class Letters:
    """Says whether a token is even, and whether it is one of a record's first three."""

    name = "letters"

    def __init__(self, bad=None):
        self.bad = bad

    def nuisances(self):
        return Nuisances(("even", "first"), ("identity", "position"))

    def nuisance_codes(self, dataset, record):
        n_tokens = int(dataset.table.set_index("record").loc[record, "n_tokens"])
        token = np.arange(n_tokens)
        pairs = np.concatenate(
            [
                np.stack([token[::2], np.zeros_like(token[::2])]),
                np.stack([token[:3], np.ones_like(token[:3])]),
            ],
            axis=1,
        )
        pairs = pairs[:, np.lexsort((pairs[1], pairs[0]))]
        if self.bad == "order":
            pairs = pairs[:, ::-1]
        elif self.bad == "range":
            pairs[0] += 1
        elif self.bad == "feature":
            pairs[1] += 1
        elif self.bad == "twice":
            pairs = np.repeat(pairs, 2, axis=1)
        elif self.bad == "odd":
            return pairs[0], pairs[1, 1:]
        return pairs[0], pairs[1]


@dataclass
class Records:
    table: pd.DataFrame
    digest: str = "records"


def make_records() -> Records:
    records = make_source().axis.records
    table = records[["record", "block"]].assign(n_tokens=records["stop"] - records["start"])
    return Records(table)


def test_nuisances_are_stored_record_by_record(tmp_path):
    store = encode_nuisances(Letters(), make_records(), out=tmp_path / "f", progress=False)
    assert store.names == ("even", "first")
    assert store.families == ("identity", "position")
    axis = store.axis
    found = dense(store.read(0, axis.n_tokens), 2)
    position = np.concatenate([np.arange(n) for n in np.diff(axis.record_starts)])
    np.testing.assert_array_equal(found[:, 0], 255 * (position % 2 == 0))
    np.testing.assert_array_equal(found[:, 1], 255 * (position < 3))
    assert axis.digest == make_source().axis.digest


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("order", "sorted"),
        ("range", "token"),
        ("feature", "name feature 2"),
        ("twice", "sparse rows"),
        ("odd", "pairs"),
    ],
)
def test_wrong_nuisance_codes_are_refused(tmp_path, bad, message):
    with pytest.raises(InputError, match=message):
        encode_nuisances(Letters(bad), make_records(), out=tmp_path / "f", progress=False)
