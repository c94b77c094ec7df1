"""Artefacts at an address: published whole, opened again, fetched as they are read, and checked."""

from __future__ import annotations

import errno
import sys

import numpy as np
import pytest
from batch_world import FakeRecipe
from fake_adapter import make_dataset
from kills import read_tree
from sae_world import random_sae

import sci_interp as si
from sci_interp import mirrors
from sci_interp.errors import InputError, MissingExtraError, StoreError
from sci_interp.manifest import digest_json
from sci_interp.sae import save_sae
from sci_interp.source import ArraySource

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
AT = "memory://bucket/run"


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Return an empty object store; mirrors lie in a folder of the test."""
    monkeypatch.setenv(mirrors.CACHE_VARIABLE, str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


def extract_to(out, seed=0):
    adapter, dataset = FakeRecipe().open()[0], make_dataset(seed=seed)
    small = {"unit_tokens": 300, "shard_tokens": 128, "progress": False}
    return si.extract(adapter, dataset, layer="embed", out=out, **small)


def mirror_of(tmp_path):
    (folder,) = (tmp_path / "cache").iterdir()
    return folder


def test_activations_are_fetched_as_they_are_read(tmp_path, memory):
    store = extract_to(tmp_path / "a")
    si.publish(tmp_path / "a", f"{AT}/a/")
    held = {
        name.removeprefix("/bucket/run/a/"): bytes(f.getvalue()) for name, f in memory.store.items()
    }
    assert held == read_tree(tmp_path / "a")
    far = si.ActivationStore.open(f"{AT}/a", verify=False)
    assert far.digest == store.digest and not list(mirror_of(tmp_path).rglob("c/*/0"))
    np.testing.assert_array_equal(far.read(130, 250), store.read(130, 250))
    assert len(list(mirror_of(tmp_path).rglob("activation/c/*/0"))) == 1
    n_tokens = store.axis.n_tokens
    np.testing.assert_array_equal(far.read(0, n_tokens), store.read(0, n_tokens))
    memory.store.pop("/bucket/run/a/activations.zarr/activation/c/3/0")
    again = si.ActivationStore.open(f"{AT}/a")  # what was fetched is not asked for again
    np.testing.assert_array_equal(again.read(0, n_tokens), store.read(0, n_tokens))


def test_features_annotations_and_autoencoders_open_at_an_address(tmp_path, memory):
    adapter, dataset = FakeRecipe().open()
    live = si.stream(adapter, dataset, "embed")
    source = ArraySource(live.axis, live.read(0, live.axis.n_tokens))
    save_sae(random_sae(width=16), tmp_path / "sae")
    sae = si.load_sae(tmp_path / "sae")
    options = {"progress": False, "out": tmp_path / "f"}
    features = si.encode(sae, source, check_parent=False, **options)
    known = si.annotate(adapter, dataset, out=tmp_path / "k", progress=False)
    for name in ("sae", "f", "k"):
        si.publish(tmp_path / name, f"{AT}/{name}")
    assert si.load_sae(f"{AT}/sae").digest == sae.digest
    far, there = si.FeatureStore.open(f"{AT}/f"), si.AnnotationStore.open(f"{AT}/k")
    np.testing.assert_array_equal(far.read(5, 90).feature, features.read(5, 90).feature)
    np.testing.assert_array_equal(there.read(0, 200).start, known.read(0, 200).start)


def test_other_work_at_the_address_is_not_overwritten_and_new_work_is_seen(tmp_path, memory):
    extract_to(tmp_path / "a")
    other = extract_to(tmp_path / "b", seed=1)
    si.publish(tmp_path / "a", f"{AT}/a")
    si.publish(tmp_path / "a", f"{AT}/a")
    with pytest.raises(StoreError, match=r"memory://bucket/run/a holds other work"):
        si.publish(tmp_path / "b", f"{AT}/a")
    si.ActivationStore.open(f"{AT}/a").read(0, 100)
    memory.rm("/bucket/run/a", recursive=True)
    si.publish(tmp_path / "b", f"{AT}/a")
    far = si.ActivationStore.open(f"{AT}/a")
    assert far.digest == other.digest
    np.testing.assert_array_equal(far.read(0, 100), other.read(0, 100))


def test_changed_bytes_at_the_address_are_refused(tmp_path, memory):
    extract_to(tmp_path / "a")
    si.publish(tmp_path / "a", f"{AT}/a")
    memory.pipe_file("/bucket/run/a/activations.zarr/activation/c/1/0", b"other")
    with pytest.raises(StoreError, match="is damaged"):
        si.ActivationStore.open(f"{AT}/a").read(0, 200)
    memory.pipe_file("/bucket/run/a/manifest.json", b"{}")
    with pytest.raises(StoreError, match="not a manifest"):
        si.ActivationStore.open(f"{AT}/a")


def test_what_is_absent_is_told_with_its_address(tmp_path, memory):
    with pytest.raises(StoreError, match=r"no file memory://bucket/run/x/request\.json"):
        si.FeatureStore.open(f"{AT}/x")
    extract_to(tmp_path / "a")
    si.publish(tmp_path / "a", f"{AT}/a")
    memory.rm_file("/bucket/run/a/activations.zarr/activation/c/1/0")
    with pytest.raises(StoreError, match=r"no file memory://.*/c/1/0"):
        si.ActivationStore.open(f"{AT}/a").read(0, 200)


def test_names_that_leave_the_mirror_are_refused(tmp_path, memory):
    folder = tmp_path / "cache" / digest_json("x")[:4]
    folder.mkdir(parents=True)
    (folder / mirrors.ORIGIN_FILE).write_text(AT)
    for name in ("../y", "/etc/y", "a/../../y"):
        with pytest.raises(StoreError, match="outside of it"):
            mirrors.ensure_file(folder, name, "")


def test_protocols_and_packages_that_are_missing_are_told_of(tmp_path, monkeypatch):
    extract_to(tmp_path / "a")
    with pytest.raises(InputError, match="is not an address"):
        si.publish(tmp_path / "a", str(tmp_path / "b"))
    with pytest.raises(InputError, match="cannot be opened: Protocol not known: nowhere"):
        si.FeatureStore.open("nowhere://x/y")
    with pytest.raises(StoreError, match=r"unfinished|not an artefact"):
        si.publish(tmp_path, f"{AT}/a")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"sci-interp\[remote\]"):
        si.FeatureStore.open("memory://another/y")


def test_an_address_that_cannot_be_reached_and_a_full_disk_are_typed(tmp_path, memory, monkeypatch):
    extract_to(tmp_path / "a")
    si.publish(tmp_path / "a", f"{AT}/a")

    def refuse(*_, **__):
        raise TimeoutError(110, "Connection timed out")

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "cat_file", refuse)
        with pytest.raises(StoreError, match=r"cannot be reached: .*timed out"):
            si.ActivationStore.open(f"{AT}/a")

    def fill(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "get_file", fill)
        with pytest.raises(StoreError, match=r"cannot be written: No space.*SCI_INTERP_CACHE"):
            si.ActivationStore.open(f"{AT}/a")
    monkeypatch.setenv(mirrors.CACHE_VARIABLE, str(tmp_path / "a" / "manifest.json"))
    with pytest.raises((StoreError, OSError)):
        si.ActivationStore.open(f"{AT}/a")
