"""encode by many workers, from stores, streams and arrays: the same bytes as by one process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from batch_world import FakeRecipe, OddExecutor
from kills import read_tree
from sae_world import random_sae

from sci_interp.activations import extract, stream
from sci_interp.codes import Codes
from sci_interp.errors import InputError, StoreError
from sci_interp.features import encode, encode_share
from sci_interp.openers import encoder_opener
from sci_interp.sae import load_sae
from sci_interp.sae.files import save_sae
from sci_interp.source import ArraySource, StackedSource

RECIPE = FakeRecipe(n_records=300)
WIDTH = 16
N_SHARDS = 10


@dataclass(frozen=True)
class Positive:
    """Positive channels; it claims so many active features that shards are as small as can be."""

    width: int = WIDTH
    n_features: int = 2**15
    n_active: int = 2**15
    digest: str = "positive"

    @property
    def scale(self):
        return np.full(self.n_features, 3.0, np.float32)

    def encode(self, values):
        active = values > 0
        feature = np.nonzero(active)[1].astype(np.uint16)
        return Codes(np.append(0, active.sum(axis=1).cumsum()), feature, values[active])


@pytest.fixture(scope="module")
def live():
    return stream(*RECIPE.open(), "embed", unit_tokens=700)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, live):
    out = tmp_path_factory.mktemp("whole") / "a"
    store = encode(Positive(), live, out=out, progress=False)
    assert len(list(store.shards())) == N_SHARDS
    return read_tree(out)


def test_processes_encode_a_stream_to_the_same_bytes(tmp_path, live, whole):
    encode(Positive(), live, out=tmp_path / "a", recipe=RECIPE, workers=2, progress=False)
    assert read_tree(tmp_path / "a") == whole and not (tmp_path / "a.parts").exists()


def test_an_executor_that_repeats_and_loses_tasks_makes_the_same_bytes(tmp_path, live, whole):
    odd = OddExecutor()
    encode(Positive(), live, out=tmp_path / "a", recipe=RECIPE, executor=odd, progress=False)
    assert read_tree(tmp_path / "a") == whole and odd.n_run > N_SHARDS


@pytest.mark.parametrize("kind", ["store", "arrays", "stack"])
def test_other_sources_are_opened_or_sent(tmp_path, live, kind):
    source = {
        "store": lambda: extract(
            *RECIPE.open(), layer="embed", out=tmp_path / "acts", progress=False
        ),
        "arrays": lambda: ArraySource(live.axis, live.read(0, live.axis.n_tokens)),
        "stack": lambda: StackedSource([live, stream(*RECIPE.open(), "layers.0")]),
    }[kind]()
    encoder = Positive(width=source.width)
    options = {"recipe": RECIPE, "progress": False}
    encode(encoder, source, out=tmp_path / "a", **options)
    encode(encoder, source, out=tmp_path / "b", executor=OddExecutor(), **options)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")


def test_arrays_with_requeues_and_a_gap(tmp_path, live, whole):
    out = tmp_path / "a"
    options = {"out": out, "progress": False}
    n_shards = [encode_share(Positive(), live, shard=(index, 4), **options) for index in (2, 0, 2)]
    assert n_shards == [2, 2, 2] and not out.exists()
    encode(Positive(), live, **options)
    assert read_tree(out) == whole
    assert encode_share(Positive(), live, shard=(1, 4), **options) == 0
    with pytest.raises(StoreError, match="holds other work"):
        encode_share(Positive(digest="other"), live, shard=(1, 4), **options)


def test_a_loaded_autoencoder_is_opened_where_it_lies_and_a_copy_is_sent(tmp_path, live):
    save_sae(random_sae(width=WIDTH), tmp_path / "sae")
    loaded = load_sae(tmp_path / "sae")
    assert encoder_opener(loaded)().digest == loaded.digest
    assert encoder_opener(loaded).args == (tmp_path / "sae",)
    other = random_sae(width=WIDTH)
    assert other.opener is None and encoder_opener(other)() is other
    options = {"check_parent": False, "progress": False}
    encode(loaded, live, out=tmp_path / "a", **options)
    encode(loaded, live, out=tmp_path / "b", recipe=RECIPE, executor=OddExecutor(), **options)
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")


def test_what_workers_cannot_open_is_refused(tmp_path, live):
    class Odd:
        axis, layer, width = live.axis, live.layer, live.width
        digest, model, read = live.digest, live.model, live.read

    for source, message in ((live, "have no recipe"), (Odd(), "cannot open a Odd")):
        with pytest.raises(InputError, match=message):
            encode(Positive(), source, out=tmp_path / "a", workers=2, progress=False)
    with pytest.raises(StoreError, match="a worker opened another model"):
        encode(
            Positive(),
            live,
            out=tmp_path / "a",
            recipe=FakeRecipe(n_records=300, network_seed=1),
            executor=OddExecutor(),
            progress=False,
        )
    assert not (tmp_path / "a").exists()
