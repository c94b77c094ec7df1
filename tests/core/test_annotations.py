"""Annotation stores against a brute-force picture of the same tokens."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_adapter import FakeAdapter, make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from sci_interp import annotations, ranges
from sci_interp.adapter import Label, RecordAnnotations
from sci_interp.annotations import AnnotationStore, annotate
from sci_interp.errors import InputError, SciInterpError, StoreError, UnknownNameError

LABELS = (
    Label("HELIX", "structure", "alpha helix"),
    Label("SITE", "sites", "functional site"),
    Label("STRAND", "structure", "beta strand"),
    Label("A", "letter", "alanine", nuisance=True),
)
GROUPS = ("structure", "sites", "letter")


@dataclass
class Records:
    lengths: tuple[int, ...] = (12, 30, 7)
    digest: str = "records"
    annotation_digest: str = ""

    @property
    def table(self):
        ids = [f"r{index}" for index in range(len(self.lengths))]
        return pd.DataFrame({"record": ids, "block": ids, "n_tokens": self.lengths})


@dataclass
class Notes:
    """An adapter that knows what it is given: runs and known ranges by record."""

    runs: dict[str, list] = field(default_factory=dict)
    known: dict[str, list] = field(default_factory=dict)
    stated: tuple[Label, ...] = LABELS
    change: str = ""
    name: str = "notes"

    def labels(self, dataset):
        return self.stated

    def annotate(self, dataset, records):
        for index, record in enumerate(records):
            if self.change == "stop" and index == 2:
                return
            if self.change == "interrupt" and index == 2:
                raise KeyboardInterrupt
            found = RecordAnnotations(record, self.runs.get(record, ()), self.known.get(record, ()))
            yield replace(found, record="other") if self.change == "rename" else found
        if self.change == "extra":
            yield RecordAnnotations("more", (), ())


def read_all(store):
    return store.read(0, store.axis.n_tokens)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def first_token(store, record):
    return int(store.axis.records.set_index("record").loc[record, "start"])


def test_labels_and_groups_are_kept(tmp_path):
    store = annotate(Notes(), Records(), out=tmp_path / "a")
    assert store.labels == LABELS
    assert store.groups == GROUPS
    assert store.group_of_label.tolist() == [0, 1, 0, 2]
    assert store.n_runs == 0
    assert AnnotationStore.open(tmp_path / "a").digest == store.digest
    nothing = read_all(store)
    assert len(nothing.label) == len(nothing.known_group) == 0
    assert [len(column) for column in nothing.union()] == [0, 0, 0]


def test_runs_of_an_instance_share_its_number(tmp_path):
    runs = {"r1": [("SITE", "bond", 2, 3), ("SITE", "bond", 20, 21), ("SITE", "other", 2, 9)]}
    store = annotate(Notes(runs), Records(), out=tmp_path / "a")
    found = read_all(store)
    at = first_token(store, "r1")
    assert (found.start - at).tolist() == [2, 2, 20]
    assert (found.stop - at).tolist() == [3, 9, 21]
    assert found.instance[0] == found.instance[2] != found.instance[1]


def test_overlapping_runs_of_different_instances_stay_apart_and_have_one_union(tmp_path):
    runs = {"r1": [("SITE", "one", 2, 9), ("SITE", "two", 5, 12), ("HELIX", "h", 12, 13)]}
    store = annotate(Notes(runs), Records(), out=tmp_path / "a")
    found = read_all(store)
    at = first_token(store, "r1")
    assert len(found.label) == 3
    label, start, stop = found.union()
    assert label.tolist() == [0, 1]
    assert (start - at).tolist() == [12, 2]
    assert (stop - at).tolist() == [13, 12]


def test_runs_of_one_instance_that_overlap_or_touch_are_joined(tmp_path):
    runs = {"r1": [("SITE", "one", 6, 9), ("SITE", "one", 2, 6), ("SITE", "one", 3, 4)]}
    found = read_all(annotate(Notes(runs), Records(), out=tmp_path / "a"))
    assert (found.stop - found.start).tolist() == [7]


def test_a_run_makes_its_tokens_known_and_touching_known_ranges_are_joined(tmp_path):
    runs = {"r1": [("HELIX", "h", 4, 8)]}
    known = {"r1": [("structure", 0, 4), ("structure", 8, 10), ("sites", 3, 5)]}
    store = annotate(Notes(runs, known), Records(), out=tmp_path / "a")
    found = read_all(store)
    at = first_token(store, "r1")
    assert found.known_group.tolist() == [0, 1]
    assert (found.known_start - at).tolist() == [0, 3]
    assert (found.known_stop - at).tolist() == [10, 5]


def test_known_ranges_are_clipped_and_runs_are_whole(tmp_path):
    runs = {"r1": [("HELIX", "h", 4, 20)]}
    store = annotate(Notes(runs, {"r1": [("sites", 0, 30)]}), Records(), out=tmp_path / "a")
    at = first_token(store, "r1")
    found = store.read(at + 3, at + 6)
    assert (found.start - at).tolist() == [4]
    assert (found.stop - at).tolist() == [20]
    assert (found.known_start - at).tolist() == [4, 3]
    assert (found.known_stop - at).tolist() == [6, 6]
    later = store.read(at + 5, at + 6)
    assert len(later.label) == 0
    assert (later.known_start - at).tolist() == [5, 5]


lengths = st.lists(st.integers(1, 25), min_size=1, max_size=9)


@st.composite
def notes(draw):
    found = Notes()
    n_tokens = draw(lengths)
    for index, length in enumerate(n_tokens):
        spans = st.tuples(st.integers(0, length - 1), st.integers(1, length)).map(sorted)
        spans = spans.filter(lambda span: span[0] < span[1])
        names = st.sampled_from([label.name for label in LABELS])
        runs = st.lists(st.tuples(names, st.sampled_from("xyz"), spans), max_size=12)
        known = st.lists(st.tuples(st.sampled_from(GROUPS), spans), max_size=5)
        found.runs[f"r{index}"] = [(name, key, *span) for name, key, span in draw(runs)]
        found.known[f"r{index}"] = [(group, *span) for group, span in draw(known)]
    return found, Records(tuple(n_tokens))


def paint(found, n_tokens):
    """Return positive tokens per label and known tokens per group, as sets drawn on an array."""
    positive = np.zeros((len(LABELS), n_tokens), bool)
    for label, start, stop in zip(found.label, found.start, found.stop, strict=True):
        positive[label, start:stop] = True
    known = np.zeros((len(GROUPS), n_tokens), bool)
    rows = zip(found.known_group, found.known_start, found.known_stop, strict=True)
    for group, start, stop in rows:
        known[group, start:stop] = True
    return positive, known


@settings(max_examples=40, deadline=None)
@given(given_notes=notes(), row_group=st.sampled_from([2, 5, 65_536]))
def test_every_token_is_what_the_adapter_said(tmp_path_factory, given_notes, row_group):
    adapter, dataset = given_notes
    out = tmp_path_factory.mktemp("notes") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "ROW_GROUP_ROWS", row_group)
        store = annotate(adapter, dataset, out=out)
    n_tokens = store.axis.n_tokens
    names = [label.name for label in LABELS]
    positive = np.zeros((len(LABELS), n_tokens), bool)
    known = np.zeros((len(GROUPS), n_tokens), bool)
    instances = {}
    for record, first in store.axis.records[["record", "start"]].itertuples(index=False):
        for name, key, start, stop in adapter.runs[record]:
            label = names.index(name)
            positive[label, first + start : first + stop] = True
            known[GROUPS.index(LABELS[label].group), first + start : first + stop] = True
            tokens = instances.setdefault((label, record, key), set())
            tokens.update(range(first + start, first + stop))
        for group, start, stop in adapter.known[record]:
            known[GROUPS.index(group), first + start : first + stop] = True
    found = read_all(store)
    np.testing.assert_array_equal(paint(found, n_tokens)[0], positive)
    np.testing.assert_array_equal(paint(found, n_tokens)[1], known)

    stored = {}
    columns = (found.label, found.instance, found.start, found.stop)
    for label, instance, start, stop in zip(*columns, strict=True):
        stored.setdefault((label, instance), set()).update(range(start, stop))
    key = lambda item: (item[0], sorted(item[1]))  # noqa: E731
    assert sorted(((label, tokens) for (label, _), tokens in stored.items()), key=key) == sorted(
        ((label, tokens) for (label, _, _), tokens in instances.items()), key=key
    )
    assert len({instance for _, instance in stored}) == len(instances)
    order = list(zip(found.label, found.start, strict=True))
    assert order == sorted(order)

    label, start, stop = found.union()
    assert (stop - start).sum() == positive.sum()
    union = replace(found, label=label, instance=label.astype(int), start=start, stop=stop)
    np.testing.assert_array_equal(paint(union, n_tokens)[0], positive)

    for middle in range(0, n_tokens + 1, max(1, n_tokens // 5)):
        parts = [store.read(0, middle), store.read(middle, n_tokens)]
        assert sum(len(part.label) for part in parts) == len(found.label)
        seen = sum(paint(part, n_tokens)[1].astype(int) for part in parts)
        np.testing.assert_array_equal(seen, known.astype(int))


def test_a_complete_adapter(tmp_path):
    dataset = make_dataset()
    store = annotate(FakeAdapter(), dataset, out=tmp_path / "a")
    found = read_all(store)
    motif = [label.name for label in store.labels].index("MOTIF")
    expected = [
        int(first) + match.start()
        for record, first in store.axis.records[["record", "start"]].itertuples(index=False)
        for match in re.finditer("GH", dataset.texts[record])
    ]
    assert found.start[found.label == motif].tolist() == expected
    group = store.groups.index(store.labels[motif].group)
    length = (found.known_stop - found.known_start)[found.known_group == group]
    assert length.sum() == store.axis.n_tokens


def test_reading_holds_two_row_groups_and_opens_only_those_in_range(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "ROW_GROUP_ROWS", 10)
    lengths = (100,) * 8
    runs = {f"r{i}": [("A", str(at), at, at + 1) for at in range(0, 100, 2)] for i in range(8)}
    store = annotate(Notes(runs), Records(lengths), out=tmp_path / "a")
    assert store.n_runs == 400
    reader = store._runs
    opened = []
    real = reader._file.read_row_group
    monkeypatch.setattr(
        store, "_runs", _Watched(reader, lambda group: opened.append(group) or real(group), real)
    )
    store.read(200, 220)
    store.read(200, 220)
    # The group before the range could end with rows that begin with it.
    assert opened == [9, 10]
    read_all(store)
    assert len(reader._cache) == 2


class _Watched:
    """A reader whose file tells which whole row groups it is asked for."""

    def __init__(self, reader, read_row_group, read_column):
        self._reader = reader
        reader._file = _File(read_row_group, read_column)

    def read(self, start, stop):
        return self._reader.read(start, stop)


class _File:
    def __init__(self, read_row_group, read_column):
        self._whole, self._column = read_row_group, read_column

    def read_row_group(self, group, columns=None):
        return self._whole(group) if columns is None else self._column(group, columns=columns)


def test_the_same_inputs_give_the_same_bytes_in_any_order_of_runs(tmp_path):
    runs = [("SITE", "one", 2, 9), ("SITE", "two", 2, 9), ("A", "x", 1, 2), ("HELIX", "h", 2, 9)]
    annotate(Notes({"r1": runs}), Records(), out=tmp_path / "one")
    annotate(Notes({"r1": runs}), Records(), out=tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    annotate(Notes({"r1": runs[::-1]}), Records(), out=tmp_path / "three")
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_an_interrupted_run_starts_again_to_the_same_bytes(tmp_path):
    runs = {"r1": [("SITE", "one", 2, 9)], "r2": [("HELIX", "h", 0, 4)]}
    annotate(Notes(runs), Records(), out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        annotate(Notes(runs, change="interrupt"), Records(), out=tmp_path / "part")
    with pytest.raises(StoreError, match="unfinished"):
        AnnotationStore.open(tmp_path / "part")
    annotate(Notes(runs), Records(), out=tmp_path / "part")
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_every_failed_write_is_a_typed_error_and_can_be_repeated(tmp_path, monkeypatch):
    adapter = Notes({"r1": [("SITE", "one", 2, 9)]})
    annotate(adapter, Records(), out=tmp_path / "whole")
    real = os.fsync
    for nth in range(100):
        left = [nth]

        def fail(handle, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            real(handle)

        monkeypatch.setattr(os, "fsync", fail)
        try:
            annotate(adapter, Records(), out=tmp_path / f"part {nth}")
            break
        except SciInterpError:
            monkeypatch.setattr(os, "fsync", real)
            annotate(adapter, Records(), out=tmp_path / f"part {nth}")
            assert contents(tmp_path / f"part {nth}") == contents(tmp_path / "whole")
    assert nth > 5


KILLED = """
import os, signal, sys
import test_annotations as t
real, left = os.fsync, [int(sys.argv[2])]
def fsync(handle):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
t.annotate(t.Notes({"r1": [("SITE", "one", 2, 9)]}), t.Records(), out=sys.argv[1])
"""


@pytest.mark.parametrize("nth", [1, 8])
def test_a_killed_run_starts_again_to_the_same_bytes(tmp_path, nth):
    adapter = Notes({"r1": [("SITE", "one", 2, 9)]})
    annotate(adapter, Records(), out=tmp_path / "whole")
    here = str(Path(__file__).parent)
    root = str(Path(annotations.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, root])}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "part"), str(nth)]
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    annotate(adapter, Records(), out=tmp_path / "part")
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_a_finished_store_is_not_made_again_unless_the_annotations_changed(tmp_path):
    first = annotate(Notes(), Records(), out=tmp_path / "a")
    assert annotate(Notes(change="interrupt"), Records(), out=tmp_path / "a").digest == first.digest
    with pytest.raises(StoreError, match="other work"):
        annotate(Notes(), Records(annotation_digest="new"), out=tmp_path / "a")


@pytest.mark.parametrize(
    ("runs", "known", "error", "message"),
    [
        ([("SITE", "x", 3, 3)], [], InputError, r"'SITE' in record 'r1' covers the tokens 3:3"),
        ([("SITE", "x", -1, 3)], [], InputError, "tokens -1:3"),
        ([("SITE", "x", 3, 31)], [], InputError, r"3:31.* <= 30"),
        ([("SITES", "x", 3, 4)], [], UnknownNameError, "no label 'SITES'.*Did you mean 'SITE'"),
        ([], [("sites", 3, 3)], InputError, "known range of 'sites' in record 'r1'"),
        ([], [("sites", 0, 31)], InputError, "0:31"),
        ([], [("site", 0, 3)], UnknownNameError, "no label group 'site'"),
    ],
)
def test_what_an_adapter_may_not_say(tmp_path, runs, known, error, message):
    with pytest.raises(error, match=message):
        annotate(Notes({"r1": runs}, {"r1": known}), Records(), out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [("stop", "nothing in place"), ("rename", "'other' in place"), ("extra", "'more' beyond")],
)
def test_every_record_is_annotated_once(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        annotate(Notes(change=change), Records(), out=tmp_path / "a")


def test_labels_are_stated_once(tmp_path):
    with pytest.raises(InputError, match="no label"):
        annotate(Notes(stated=()), Records(), out=tmp_path / "a")
    with pytest.raises(InputError, match="'HELIX' more than once"):
        annotate(Notes(stated=(*LABELS, LABELS[0])), Records(), out=tmp_path / "a")


def test_a_range_outside_the_axis_is_refused(tmp_path):
    store = annotate(Notes(), Records(), out=tmp_path / "a")
    for start, stop in ((-1, 3), (3, 2), (0, 50)):
        with pytest.raises(InputError, match="token range"):
            store.read(start, stop)


def test_damage_is_refused_before_use(tmp_path):
    adapter = Notes({"r1": [("SITE", "one", 2, 9)]})
    annotate(adapter, Records(), out=tmp_path / "a")
    for name, data in contents(tmp_path / "a").items():
        if not name.endswith(".parquet"):
            continue
        path = tmp_path / "a" / name
        for damaged in (bytes([data[0] ^ 1]) + data[1:], data[:-1]):
            path.write_bytes(damaged)
            with pytest.raises(StoreError, match=name):
                AnnotationStore.open(tmp_path / "a")
        path.write_bytes(data)


def test_a_disk_that_refuses_while_rows_are_appended_is_a_typed_error(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "ROW_GROUP_ROWS", 2)
    adapter = Notes({"r1": [("A", str(at), at, at + 1) for at in range(9)]})

    def refuse(self):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ranges.RangeWriter, "_flush", refuse)
        with pytest.raises(StoreError, match="No space"):
            annotate(adapter, Records(), out=tmp_path / "a")
    assert not list((tmp_path / "a").glob("*.tmp"))
    assert annotate(adapter, Records(), out=tmp_path / "a").n_runs == 9


@given(
    n_rows=st.integers(0, 23),
    cuts=st.lists(st.integers(0, 23), max_size=6),
    row_group=st.integers(1, 9),
)
def test_however_rows_are_appended_the_table_is_the_same(tmp_path_factory, n_rows, cuts, row_group):
    folder = tmp_path_factory.mktemp("rows")
    rows = [np.arange(n_rows) + offset for offset in (0, 3, 2**40)]
    columns = ("group", "start", "stop")
    edges = [0, *sorted(min(cut, n_rows) for cut in cuts), n_rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "ROW_GROUP_ROWS", row_group)
        for name, ends in (("cut", edges), ("whole", [0, n_rows])):
            with ranges.RangeWriter(folder / name, columns) as writer:
                for first, last in itertools.pairwise(ends):
                    writer.append(*(column[first:last] for column in rows))
        assert (folder / "cut").read_bytes() == (folder / "whole").read_bytes()
        found = ranges.RangeReader(folder / "cut", columns).read(0, 99)
    for name, column in zip(columns, rows, strict=True):
        np.testing.assert_array_equal(found[name], column)


def test_a_range_table_of_other_columns_is_refused(tmp_path):
    path = tmp_path / "runs.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        ranges.RangeReader(path, ("group", "start", "stop"))
    pd.DataFrame({"start": [1]}).to_parquet(path)
    with pytest.raises(StoreError, match="columns"):
        ranges.RangeReader(path, ("group", "start", "stop"))
