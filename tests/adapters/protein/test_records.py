from __future__ import annotations

import gzip
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp.axis import TokenAxis
from sci_interp.errors import InputError, MissingExtraError, SciInterpError, UnknownNameError
from sci_interp_protein.records import ProteinDataset, read_fasta

GOOD = """>sp|P12345|AATM_RABIT Aspartate aminotransferase
MALL
hsgr*
>tr|A0A024RBG1|X_HUMAN

MK
>plain some words
ACDXBUZO
>bare
W
"""


def write(folder, text, name="proteins.fasta"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_headers_and_letters(tmp_path):
    found, refused = read_fasta(write(tmp_path, GOOD))
    assert refused == ()
    assert list(found) == ["P12345", "A0A024RBG1", "plain", "bare"]
    assert found["P12345"].sequence == "MALLHSGR"
    assert [record.name for record in found.values()] == ["AATM_RABIT", "X_HUMAN", "some words", ""]


def test_gzip_is_read_alike(tmp_path):
    plain = read_fasta(write(tmp_path, GOOD))
    packed = read_fasta(write(tmp_path, gzip.compress(GOOD.encode()), "proteins.fasta.gz"))
    windows = read_fasta(write(tmp_path, GOOD.replace("\n", "\r\n"), "windows.fasta"))
    assert plain == packed == windows


BAD = {
    "empty": ("", "holds no protein"),
    "blank": ("\n\n", "holds no protein"),
    "other format": ("protein_id\tstart\nP1\t4\n", "line 1 is not FASTA"),
    "text first": ("\nMKV\n>a\nMK\n", "line 2 is not FASTA"),
    "binary": (b"\x00\x01\xff\xfe", "not UTF-8"),
    "header only": (">a\n", "'a', proteins.fasta line 1: it has no residue"),
    "stop only": (">a\n*\n", "'a', proteins.fasta line 1: it has no residue"),
    "no id": (">\nMK\n", "header without an id"),
    "twice": (">a\nMK\n>b\nMK\n>a\nMV\n", "the id 'a' occurs more than once"),
    "twice in UniProt": (">sp|P12345|A\nMK\n>sp|P12345|B\nMK\n", "the id 'P12345' occurs"),
    "letter": (">b\nMKJ\n", "'b', proteins.fasta line 1: 'J' at residue 3"),
    "digit": (">a\nMK\nV1\n", "'a', proteins.fasta line 1: '1' at residue 4"),
    "gap": (">a\nMK-V\n", "'-' at residue 3.*remove the gaps"),
    "dots": (">a\n..MK\n", "'.' at residue 1.*remove the gaps"),
    "inner stop": (">a\nMK*V\n", r"'\*' at residue 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_file_and_place(tmp_path, case):
    text, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        read_fasta(write(tmp_path, text))
    assert "proteins.fasta" in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "absent.fasta", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_fasta(path)


@pytest.mark.parametrize("cut", [5, 20, -8, -1])
def test_truncated_gzip_is_refused(tmp_path, cut):
    whole = gzip.compress((">a\n" + "MKTAYIAKQRQISFVKSHFSRQ\n" * 50).encode())
    with pytest.raises(InputError, match="cannot be read"):
        read_fasta(write(tmp_path, whole[:cut], "proteins.fasta.gz"))


@given(st.binary(max_size=300))
def test_any_bytes_give_proteins_or_a_typed_error(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("fuzz"), b">a\n" + data)
    start = time.monotonic()
    try:
        found, _ = read_fasta(path)
    except SciInterpError:
        found = {}
    assert all(record.sequence for record in found.values())
    assert time.monotonic() - start < 1


def test_biopython_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "Bio.SeqIO.FastaIO", None)
    with pytest.raises(MissingExtraError, match=r"'biopython' is not installed.*\[protein\]"):
        read_fasta(write(tmp_path, GOOD))


def dataset(sequences, blocks=None):
    return ProteinDataset(sequences, blocks or dict.fromkeys(sequences, "family"))


def test_table_builds_an_axis():
    data = dataset({"a": "MKV", "b": "MK"}, {"a": "x", "b": "y"})
    assert data.table.to_dict("list") == {
        "record": ["a", "b"],
        "block": ["x", "y"],
        "n_tokens": [3, 2],
        "stratum": [3.0, 2.0],
    }
    assert TokenAxis.build(data.table).n_tokens == 5


def test_digest_follows_ids_sequences_and_blocks():
    digests = {
        dataset({"a": "MKV", "b": "MK"}).digest,
        dataset({"a": "MKV", "c": "MK"}).digest,
        dataset({"a": "MKV", "b": "MR"}).digest,
        dataset({"a": "MKV", "b": "MK"}, {"a": "x", "b": "y"}).digest,
        dataset({"b": "MK", "a": "MKV"}).digest,
    }
    assert len(digests) == 5
    assert dataset({"a": "MKV", "b": "MK"}).digest in digests


def test_unknown_record_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"no record 'z'.*Allowed: a"):
        dataset({"a": "MK"}).sequence_of("z")
