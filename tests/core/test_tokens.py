"""Activation stores: what is read is what was written, or an error that names the shard."""

from __future__ import annotations

import hashlib
import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
import zarr
from fake_adapter import FakeAdapter, make_dataset
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.activations import extract
from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError, NotFiniteError, StoreError
from sci_interp.manifest import Manifest, digest_json
from sci_interp.schema import CHUNK_TOKENS, MAX_SHARD_BYTES, SHARD_TOKENS
from sci_interp.source import ActivationSource
from sci_interp.token_layout import choose_shard_tokens, from_stored, to_stored, work_units
from sci_interp.tokens import ActivationStore

ADAPTER, DATASET = FakeAdapter(), make_dataset()
FINITE = st.floats(-6e4, 6e4, width=32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "store"
    return extract(
        ADAPTER,
        DATASET,
        layer="layers.1",
        out=folder,
        dtype="float32",
        unit_tokens=300,
        shard_tokens=128,
        progress=False,
    )


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(scope="module")
def expected(made):
    values = {
        item.record: item.values["layers.1"]
        for item in ADAPTER.activations(DATASET, list(DATASET.texts), ["layers.1"])
    }
    return np.concatenate([values[record] for record in made.axis.records["record"]])


def test_rows_lie_where_the_axis_says(made, expected):
    assert isinstance(made, ActivationSource)
    assert made.axis.digest == TokenAxis.build(DATASET.table).digest
    assert made.width == 16 and made.layer == "layers.1" and made.dtype == "float32"
    assert made.model == {
        "name": "fake-16",
        "digest": ADAPTER.network.digest(),
        "dtype": "float32",
    }
    values = made.read(0, made.axis.n_tokens)
    assert values.dtype == np.float32 and np.array_equal(values, expected)


@given(a=st.integers(0, 1229), b=st.integers(0, 1229))
def test_every_range_is_that_part_of_the_whole(made, expected, a, b):
    start, stop = sorted((min(a, made.axis.n_tokens), min(b, made.axis.n_tokens)))
    assert np.array_equal(made.read(start, stop), expected[start:stop])


def test_shards_cover_the_axis(made):
    shards = list(made.shards())
    assert shards[0] == (0, 128) and shards[-1][1] == made.axis.n_tokens
    assert all(a[1] == b[0] for a, b in pairwise(shards))


def test_coordinates_follow_the_tokens(made):
    lengths = np.diff(made.axis.record_starts)
    place = np.concatenate([np.arange(n) for n in lengths])
    found = made.coordinates()
    assert set(found) == {"place", "share"} and found["share"].dtype == np.float64
    assert np.array_equal(found["place"], place)
    assert np.array_equal(found["share"], place / np.repeat(lengths, lengths))
    assert np.array_equal(made.read_coordinates(100, 300)["place"], place[100:300])


def test_the_arrays_are_plain_zarr(made, expected):
    group = zarr.open_group(made.path / "activations.zarr", mode="r", use_consolidated=False)
    array = group["activation"]
    assert array.metadata.dimension_names == ("token", "channel")
    assert array.shards == (128, 16) and array.compressors == ()
    assert group["coordinate_place"].metadata.dimension_names == ("token",)
    assert np.array_equal(array[:], expected)


def test_the_xarray_view_reads_on_demand(made, expected):
    view = made.to_xarray()
    assert view.dims == ("token", "channel") and view.shape == expected.shape
    assert set(view.coords) == {"record", "split", "place", "share"}
    assert np.array_equal(view[10:50:7].values, expected[10:50:7])
    assert np.array_equal(view[::-3, 2].values, expected[::-3, 2])
    assert np.array_equal(view.isel(token=[500, 3], channel=[1]).values, expected[[500, 3], 1:2])
    assert view[-1, 3].item() == expected[-1, 3]
    assert view[5:5].shape == (0, 16) and view[5:5].values.shape == (0, 16)
    record = made.axis.records["record"].iloc[4]
    start, stop = made.axis.record_starts[4:6]
    assert np.array_equal(view[view["record"] == record].values, expected[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (5, 4), (0, 10**9)])
def test_ranges_off_the_axis_are_refused(made, start, stop):
    with pytest.raises(InputError, match=f"the token range {start}:{stop} is not in"):
        made.read(start, stop)


def test_every_flipped_bit_is_refused_and_names_the_file(copied):
    """In each file of the store, metadata and shards alike."""
    rng = np.random.default_rng(0)
    names = sorted(json.loads((copied / "manifest.json").read_text())["files"])
    assert len(names) == 3 + 4 + 3 * len(list(ActivationStore.open(copied).shards()))
    for name in names:
        path = copied / name
        data = path.read_bytes()
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(StoreError, match=name.replace("request", r"(manifest|request)")):
            read_all(copied)
        path.write_bytes(data)
    read_all(copied)


def read_all(folder):
    store = ActivationStore.open(folder)
    for start, stop in store.shards():
        store.read(start, stop)
    store.coordinates()


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_shard_that_is_cut_or_missing_is_refused(copied, damage):
    path = copied / "activations.zarr/activation/c/2/0"
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100])
    store = ActivationStore.open(copied)
    assert store.read(0, 256).shape == (256, 16)
    with pytest.raises(StoreError, match="activation/c/2/0"):
        store.read(250, 257)
    assert store.read_coordinates(250, 257)["place"].shape == (7,)


def test_checking_shards_can_be_left_out(copied):
    path = copied / "activations.zarr/activation/c/0/0"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    assert ActivationStore.open(copied, verify=False).read(0, 128).shape == (128, 16)
    path.write_bytes(data[:50])
    with pytest.raises(StoreError, match="tokens 0:128 of activation"):
        ActivationStore.open(copied, verify=False).read(0, 128)


def test_unfinished_and_foreign_folders_are_refused(copied, tmp_path):
    (copied / "manifest.json").unlink()
    with pytest.raises(StoreError, match="is unfinished"):
        ActivationStore.open(copied)
    with pytest.raises(StoreError, match="is not an artefact"):
        ActivationStore.open(tmp_path / "nothing")


def forge(folder, change):
    """Rewrite request and manifest so that they agree with one another and not with the store."""
    for name in ("request.json", "manifest.json"):
        raw = json.loads((folder / name).read_text())
        change(raw["settings"])
        if name == "manifest.json":
            data = (folder / "request.json").read_bytes()
            raw["files"]["request.json"] = hashlib.sha256(data).hexdigest()
            raw["digest"] = digest_json(raw["files"])
            raw["seal"] = Manifest(**raw).expected_seal
        (folder / name).write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_tokens": 7}, "committed shards and its manifest says 7"),
        ({"shard_tokens": 64}, "committed shards"),
        ({"dtype": "int8"}, "not usable.*int8"),
        ({"width": None}, "not usable"),
        ({"coordinates": ["other"]}, "coordinate_other/zarr.json is not listed"),
    ],
)
def test_a_manifest_of_another_layout_is_refused(copied, change, message):
    forge(copied, lambda settings: settings.update(change))
    with pytest.raises(StoreError, match=message):
        ActivationStore.open(copied)


@given(st.lists(FINITE, min_size=1))
def test_stored_numbers_are_rounded_as_torch_rounds(values):
    array = np.array(values, np.float32)
    for dtype in ("float16", "bfloat16", "float32"):
        stored = to_stored(array, dtype)
        wanted = torch.from_numpy(array).to(getattr(torch, dtype)).float().numpy()
        assert np.array_equal(from_stored(stored, dtype), wanted)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (65520.0, "float16", 'exceed the range of float16.*dtype="bfloat16"'),
        (3.4e38, "bfloat16", "exceed the range of bfloat16"),
    ],
)
def test_overflow_is_refused(value, dtype, message):
    for sign in (1, -1):
        with pytest.raises(NotFiniteError, match=message):
            to_stored(np.array([0, sign * value], np.float32), dtype)


@given(st.integers(1, 20_000), st.sampled_from(["float16", "bfloat16", "float32"]))
def test_a_shard_stays_within_its_bytes(width, dtype):
    tokens = choose_shard_tokens(width, dtype)
    size = tokens * width * (4 if dtype == "float32" else 2)
    assert size <= MAX_SHARD_BYTES and tokens % CHUNK_TOKENS == 0
    assert tokens in (SHARD_TOKENS, CHUNK_TOKENS) or size > MAX_SHARD_BYTES // 2


@pytest.mark.parametrize("most", [0, -5, CHUNK_TOKENS + 1])
def test_unusable_shard_sizes_are_refused(most):
    with pytest.raises(InputError, match="is not usable"):
        choose_shard_tokens(8, "float16", most=most)


@given(st.integers(0, 50), st.integers(1, 400))
def test_units_cover_the_records_within_splits(seed, n_tokens):
    axis = TokenAxis.build(make_dataset(seed=seed, n_records=25).table)
    units = work_units(axis, n_tokens)
    assert units[0, 0] == 0 and units[-1, 1] == axis.n_records
    assert (units[1:, 0] == units[:-1, 1]).all() and (units[:, 1] > units[:, 0]).all()
    for index, (first, last) in enumerate(units.tolist()):
        size = axis.record_starts[last] - axis.record_starts[first]
        assert size <= n_tokens or last == first + 1
        assert axis.records["split"].iloc[first:last].nunique() == 1
        if index + 1 < len(units) and (
            axis.records["split"].iloc[last] == axis.records["split"].iloc[first]
        ):
            assert size + axis.record_starts[last + 1] - axis.record_starts[last] > n_tokens
