"""Quarantine as its users see it: commands, what they print, study files, damage."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest
from fake_adapter import FakeAdapter, make_dataset
from kills import read_tree
from quarantine_world import BAD, LAYER, SMALL, BadAdapter, extract_bad, ways_of
from study_world import digests, write_study

import sci_interp as si
from sci_interp import pipeline, recipes
from sci_interp.cli import main
from sci_interp.errors import InputError, StoreError, UnknownNameError
from sci_interp.manifest import digest_file, digest_json, format_manifest, parse_manifest
from sci_interp.study import read_study
from sci_interp.study_shares import run_share

DATA = make_dataset()
N_TOKENS = sum(map(len, DATA.texts.values()))
N_LOST = sum(len(DATA.texts[name]) for name in BAD)
COUNTS = (
    "records   40 read = 33 used + 7 quarantined",
    f"tokens    {N_TOKENS:,} read = {N_TOKENS - N_LOST:,} used + {N_LOST:,} quarantined",
)
LEAVE_OUT = "--on-error quarantine --most-quarantined 0.5"


@pytest.fixture
def fake(monkeypatch):
    """Let every adapter's name mean the one with bad records."""

    def load(name, model=None, **options):
        return BadAdapter(BAD)

    for module in (si, recipes):
        monkeypatch.setattr(module, "load_adapter", load)
    with warnings.catch_warnings():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    rows = [f"{name} {DATA.blocks[name]} {text}" for name, text in DATA.texts.items()]
    (folder / "data.txt").write_text("\n".join(rows), encoding="utf-8")
    return folder


def call(folder, line):
    """Run a command line in which ``@name`` stands for a path in the folder."""
    return main([str(folder / word[1:]) if word[0] == "@" else word for word in line.split()])


GIVEN = "--adapter fake --data @data.txt"


@pytest.mark.usefixtures("fake")
def test_commands_say_what_was_left_out(folder, capsys, monkeypatch):
    assert call(folder, f"extract {GIVEN} {LEAVE_OUT} --out @a") == 0
    told = capsys.readouterr()
    for line in COUNTS:
        assert line in told.out and line in told.err
    for name in BAD:
        assert f"{name}: " in told.out
    assert "NaN or infinity (token 0)" in told.out and "has a hole" in told.out
    train = "--features 24 --k 3 --n-tokens 900 --batch-size 64"
    for line in (
        f"annotate {GIVEN} --like @a --out @known",
        f"train @a {train} --out @sae",
        "encode @sae @a --out @features",
    ):
        assert call(folder, line) == 0
        assert all(count in capsys.readouterr().out for count in COUNTS[:1])
    assert call(folder, "enrich @features @known --n-permutations 50 --out @table") == 0
    # Online: what a stream can tell of a record is not whether it fits a store.
    assert call(folder, f"train {GIVEN} {LEAVE_OUT} {train} --out @online") == 0
    assert "40 read = 35 used + 5 quarantined" in capsys.readouterr().out
    # What the autoencoder left out is known: the network runs over no other record, and once.
    run = []
    activations = BadAdapter.activations

    def note(self, dataset, records, layers):
        run.extend(records)
        yield from activations(self, dataset, records, layers)

    with monkeypatch.context() as patch:
        patch.setattr(BadAdapter, "activations", note)
        assert call(folder, f"encode @online {GIVEN} {LEAVE_OUT} --out @codes") == 0
    assert len(run) == len(set(run)) == 35
    assert "40 read = 35 used + 5 quarantined" in capsys.readouterr().out
    # Where it was trained on other data, they are screened.
    with monkeypatch.context() as patch:
        patch.setattr(BadAdapter, "activations", note)
        other = "--splits train=0.5,discovery=0.2,test=0.2,vault=0.1"
        call(folder, f"encode @online {GIVEN} {LEAVE_OUT} {other} --out @others")
    assert len(run) > 35 + 40
    capsys.readouterr()
    assert call(folder, f"sweep {GIVEN} {LEAVE_OUT} --grid features=24 --grid k=3 "
                "--n-tokens 200 --batch-size 32 --out @sweep") == 0  # fmt: skip
    assert "40 read = 35 used + 5 quarantined" in capsys.readouterr().err
    assert call(folder, f"annotate {GIVEN} --like @sae --out @other") == 2
    assert "is sae. Allowed: activations, features, annotations" in capsys.readouterr().err
    assert call(folder, f"train @a {LEAVE_OUT} {train} --out @other") == 2
    assert "stays out" in capsys.readouterr().err
    assert call(folder, f"extract {GIVEN} --on-error quarantine --out @other") == 2
    assert capsys.readouterr().err.count("\n") <= 2
    assert not (folder / "other").exists()


def test_status_show_and_verify_count_them(tmp_path):
    store = extract_bad(tmp_path / "a")
    found = si.status(tmp_path)
    assert (found.artefacts[0].n_used, found.artefacts[0].n_quarantined) == (33, 7)
    assert "40 records read = 33 used + 7 quarantined" in found.format()
    checked = si.verify(tmp_path, progress=False)
    assert checked.intact and any("; ".join(COUNTS) in note for note in checked.notes)
    assert all(f"  {line}\n" in si.show(tmp_path / "a") for line in COUNTS)
    (tmp_path / "a" / "manifest.json").unlink()
    stopped = si.status(tmp_path).artefacts[0]
    assert (stopped.state, stopped.n_quarantined, stopped.n_used) == ("stopped", 7, None)
    assert "7 records quarantined so far" in stopped.format()
    assert extract_bad(tmp_path / "a").digest == store.digest


def forge(path, change):
    """Change the rows of the journal that list bad records, and all digests with them."""
    journal = path / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    rows = [row for line in lines for row in line["info"].get("quarantined", [])]
    change(rows)
    journal.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    manifest = parse_manifest(path / "manifest.json")
    files = {**manifest.files, "journal.jsonl": digest_file(journal)}
    made = replace(manifest, files=files, digest=digest_json(files), seal="")
    made = replace(made, seal=made.expected_seal)
    (path / "manifest.json").write_text(format_manifest(made))


def shift(rows):
    rows[0]["start"] = rows[1]["start"]


def lengthen(rows):
    rows[0]["n_tokens"] += 1


def rename(rows):
    rows[0]["record"] = "record0030"


def enlarge(rows):
    rows[0]["start"] = 2**70


def retype(rows):
    rows[0]["n_tokens"] = "3"


@pytest.mark.parametrize("change", [shift, lengthen, rename, enlarge, retype])
def test_a_store_whose_counts_do_not_agree_is_refused(tmp_path, change):
    extract_bad(tmp_path / "a")
    forge(tmp_path / "a", change)
    with pytest.raises(StoreError):
        si.ActivationStore.open(tmp_path / "a")
    assert not si.verify(tmp_path / "a", progress=False).intact
    si.show(tmp_path / "a")


STUDY = """
[study]
adapter = "fake"
out = "out"
[data]
n_records = 240
records_per_block = 2
[extract]
on_error = "quarantine"
[sae]
features = 32
k = 4
n_tokens = 3000
batch_size = 256
n_seeds = 1
[baselines]
use = ["channels", "nuisances", "shuffled"]
[enrich]
n_permutations = 50
max_permutations = 50
n_bootstrap = 10
[surface]
n_decoys = 1
[report]
n_features = 2
"""
#: Bad for everyone who asks the network for them, as a hole in the input is.
HOLES = dict.fromkeys(ways_of([3, 40, 41, 77, 200]), "refused")


def test_a_study_leaves_them_out_of_everything_and_by_many_hands_alike(tmp_path, monkeypatch):
    class Holed(BadAdapter):
        def __init__(self, **_):
            super().__init__(HOLES)

        def shuffle_weights(self, seed):
            other = Holed()
            other.network = super().shuffle_weights(seed).network
            return other

    for module in (pipeline, recipes):
        monkeypatch.setattr(module, "load_adapter", lambda name, model, **options: Holed())
    # What tests before and after opened by the same words is another adapter.
    monkeypatch.setattr(recipes, "_opened", recipes.Last())
    alone, shared = (write_study(tmp_path / name, STUDY) for name in ("alone", "shared"))
    result = pipeline.run(alone, progress=False)
    out = alone.parent / "out"
    axes = [
        opened.axis
        for opened in (
            si.ActivationStore.open(out / "activations"),
            si.ActivationStore.open(out / "baselines" / "shuffled" / "activations"),
            si.AnnotationStore.open(out / "annotations"),
            si.FeatureStore.open(out / "features-0"),
            si.FeatureStore.open(out / "decoys-0"),
            si.FeatureStore.open(out / "baselines" / "nuisances"),
        )
    ]
    for axis in axes:
        assert axis.digest == axes[0].digest and axis.n_records == 235
        assert {each.record for each in axis.quarantine} == set(HOLES)
    page = result.report.read_text(encoding="utf-8")
    assert "5 more, with" in page and "cannot be used" in page
    # A first round of tasks tells who is bad; what waits for that is made by a second.
    made = shared.parent / "out"
    n_first = sum(run_share(shared, shard=(task, 2), progress=False) for task in range(2))
    assert n_first > 0 and not (made / "annotations.parts").exists()
    adapter, data = Holed(), make_dataset(n_records=240, records_per_block=2)
    si.extract(
        adapter, data, layer=adapter.default_layer, out=made / "activations",
        on_error="quarantine", progress=False,
    )  # fmt: skip
    n_second = sum(run_share(shared, shard=(task, 2), progress=False) for task in range(2))
    assert n_second > 0 and (made / "annotations.parts").exists()
    pipeline.run(shared, progress=False)
    assert run_share(shared, shard=(0, 2), progress=False) == 0
    assert digests(shared.parent / "out") == digests(out)


def test_a_plan_is_made_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "load_adapter", lambda name, model, **options: BadAdapter(HOLES))
    monkeypatch.setattr(recipes, "_opened", recipes.Last())
    text = STUDY.replace("use = [", "use = []  # ")
    assert si.plan(write_study(tmp_path, text)).pilot.n_records == 235
    with pytest.raises(InputError, match="has a hole"):
        si.plan(write_study(tmp_path / "b", text.replace('"quarantine"', '"raise"')))


def test_keys_of_the_study_file_are_checked(tmp_path):
    assert read_study(write_study(tmp_path, STUDY)).extract.on_error == "quarantine"
    text = STUDY.replace('"quarantine"', '"skip"')
    with pytest.raises(UnknownNameError, match=r"skip.*raise, quarantine"):
        read_study(write_study(tmp_path / "b", text))


def test_a_store_that_was_made_with_raise_is_the_same_study(tmp_path):
    given = {"layer": LAYER, **SMALL}
    si.extract(FakeAdapter(), DATA, out=tmp_path / "a", **given)
    before = read_tree(tmp_path / "a")
    store = si.extract(FakeAdapter(), DATA, out=tmp_path / "a", on_error="quarantine", **given)
    assert read_tree(tmp_path / "a") == before and not store.axis.quarantine
