"""Bombs: what declares or unpacks to too much is refused in little memory; limits can be moved."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bombs import (
    entity_bomb,
    gzip_bomb,
    hdf5_bomb,
    long_line,
    memory_limit,
    npz_bomb,
    npz_of_shape,
    parquet_bomb,
    torch_bomb,
    torch_view,
    zarr_bomb,
)
from fuzz_fields import make_fields
from fuzz_stores import reseal
from numcodecs import Zstd
from small_run import make, open_artefact

import sci_interp as si
from sci_interp.disk import read_json, read_parquet
from sci_interp.errors import InputError, SciInterpError, StoreError
from sci_interp.journal import Journal
from sci_interp.shards import read_group, write_group, zstd_bytes
from sci_interp.study import read_study
from sci_interp_protein import ProteinAdapter
from sci_interp_protein.clusters import read_clusters
from sci_interp_protein.record_terms import read_terms
from sci_interp_protein.records import read_fasta
from sci_interp_protein.residue_strings import read_residue_strings
from sci_interp_protein.structures import read_chains
from sci_interp_protein.uniprot import read_entries
from sci_interp_weather.bulletins import read_bulletin
from sci_interp_weather.indices import load_indices
from sci_interp_weather.opening import open_fields
from sci_interp_weather.track_files import read_tracks

#: Megabytes that a refusal may take.
MOST = 256

READERS: dict[str, Callable[[Path], object]] = {
    "x.fasta": read_fasta,
    "x.tsv": lambda path: list(read_entries(path)),
    "x.gff": lambda path: list(read_entries(path)),
    "x.dat": lambda path: list(read_entries(path)),
    "x.json": lambda path: list(read_entries(path)),
    "terms.tsv": lambda path: list(read_terms(path)),
    "states.fasta": lambda path: list(read_residue_strings(path)),
    "states.tsv": lambda path: list(read_residue_strings(path)),
    "clusters.tsv": lambda path: read_clusters({"P1": "M"}, path),
    "x.pdb": read_chains,
    "x.cif": read_chains,
    "tracks.csv": read_tracks,
    "index.csv": load_indices,
    "bulletin.txt": read_bulletin,
    "study.toml": read_study,
}
#: First lines that let a reader go on to the next.
HEADS = {
    "x.fasta": b">P1\n",
    "x.tsv": b"Entry\tHelix\n",
    "terms.tsv": b"record\tterm\n",
    "states.fasta": b">P1\n",
    "states.tsv": b"id\tq3\n",
    "tracks.csv": b"id,time,lat,lon\n",
    "index.csv": b"date,ao\n",
}
PACKED = [name for name in READERS if name.startswith(("x.", "terms", "states", "clusters"))]


@pytest.mark.parametrize("name", READERS)
def test_a_line_of_200_megabytes_is_refused(tmp_path: Path, name: str) -> None:
    path = long_line(tmp_path / name, HEADS.get(name, b""))
    with memory_limit(MOST), pytest.raises(InputError, match=str(path)):
        READERS[name](path)


@pytest.mark.parametrize("name", ["manifest.json", "journal.jsonl"])
def test_a_line_of_200_megabytes_in_an_artefact(tmp_path: Path, name: str) -> None:
    path = long_line(tmp_path / name)
    with memory_limit(MOST):
        if name == "journal.jsonl":
            assert Journal(path).entries == {}
        else:
            with pytest.raises(StoreError, match="has 200,000,000 bytes"):
                read_json(path)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gzip_bomb(tmp_path_factory.mktemp("packed") / "bomb.gz")


@pytest.mark.parametrize("name", PACKED)
def test_gzip_that_unpacks_a_thousandfold_is_refused(
    tmp_path: Path, packed: Path, name: str
) -> None:
    path = tmp_path / f"{name}.gz"
    # Members of gzip follow one another.
    gzip_bomb(path, HEADS.get(name, b""), 0)
    with path.open("ab") as handle:
        handle.write(packed.read_bytes())
    with memory_limit(MOST), pytest.raises(InputError, match=str(path)):
        READERS[name](path)


@pytest.mark.parametrize("name", READERS)
def test_entities_are_text_and_stay_unexpanded(tmp_path: Path, name: str) -> None:
    path = entity_bomb(tmp_path / name)
    with memory_limit(MOST), pytest.raises(InputError):
        READERS[name](path)


def test_the_limits_of_text_can_be_moved(tmp_path: Path) -> None:
    path, clusters = tmp_path / "long.fasta", tmp_path / "clusters.tsv"
    path.write_text(">P1\n" + "M" * 5_000 + "\n")
    clusters.write_text("P1\tP1\n")
    adapter = ProteinAdapter()
    assert adapter.open(path, clusters=clusters).table["n_tokens"].tolist() == [5_000]
    with pytest.raises(InputError, match=r"longer than 1,000 bytes.*larger limit="):
        adapter.open(path, clusters=clusters, limit=1_000)
    assert adapter.open(path, clusters=clusters, limit=Path("folder/6e3")).digest
    for wrong in (0, "many", float("inf"), True):
        with pytest.raises(InputError, match=r"limit is .*a number of bytes"):
            adapter.open(path, clusters=clusters, limit=wrong)
    packed = gzip_bomb(tmp_path / "x.gff.gz", b"##gff-version 3\n", 30_000_000)
    with pytest.raises(InputError, match=r"expands to more than.*larger limit="):
        adapter.open(path, clusters=clusters, features=packed)
    with pytest.raises(InputError, match="describes no protein"):
        adapter.open(path, clusters=clusters, features=packed, limit=2**25)


def test_hdf5_of_200_bytes_that_declares_petabytes(tmp_path: Path) -> None:
    path = hdf5_bomb(tmp_path / "bomb.h5")
    assert path.stat().st_size < 1_400
    with memory_limit(MOST), pytest.raises(InputError, match="declares 10,000,000,000,000,000"):
        open_fields(path)
    # What fits the limit is let through to the next check, which has no coordinates to read.
    small = hdf5_bomb(tmp_path / "small.h5", (10, 20, 30))
    with pytest.raises(InputError) as refusal:
        open_fields(small)
    assert "declares" not in str(refusal.value)


@pytest.mark.parametrize("chunks", [(1, 2**20, 2**20), (1, 1, 1)])
def test_zarr_that_declares_petabytes(tmp_path: Path, chunks: tuple[int, ...]) -> None:
    store = zarr_bomb(tmp_path / "bomb.zarr", (1024, 2**20, 2**20), chunks)
    with memory_limit(MOST), pytest.raises(InputError):
        open_fields(store)


def test_one_read_of_declared_fields_is_limited(tmp_path: Path) -> None:
    store = tmp_path / "fields.zarr"
    chunks = {"msl": {"chunks": (1, 4, 6)}}
    make_fields().to_zarr(store, zarr_format=3, consolidated=False, encoding=chunks)
    assert open_fields(store).read("msl", slice(None)).shape == (3, 4, 6)
    with pytest.raises(InputError, match="more than the limit of 200"):
        open_fields(store, limit=200).read("msl", slice(None))


@pytest.mark.parametrize(
    ("make_bomb", "message"),
    [
        (npz_bomb, r"takes 0\.1 GiB"),
        (torch_bomb, r"takes 0\.1 GiB"),
        (npz_of_shape, "damaged"),
        (torch_view, "takes 4096.0 GiB|no known format"),
    ],
)
def test_weights_that_unpack_to_too_much(
    tmp_path: Path, make_bomb: Callable[[Path], Path], message: str
) -> None:
    suffix = ".npz" if "npz" in make_bomb.__name__ else ".pt"
    path = make_bomb(tmp_path / f"bomb{suffix}")
    assert path.stat().st_size < 2**20
    with memory_limit(MOST), pytest.raises(InputError, match=message):
        si.load_sae(path, layer="x", parent="y", max_bytes=2**26)


def test_safetensors_that_declare_too_much(tmp_path: Path) -> None:
    header = {"bias": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    text = json.dumps(header).encode()
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with memory_limit(MOST), pytest.raises(InputError, match="damaged"):
        si.load_sae(path, layer="x", parent="y")
    path.write_bytes(struct.pack("<Q", 2**62) + text)
    with memory_limit(MOST), pytest.raises(InputError, match="damaged"):
        si.load_sae(path, layer="x", parent="y")


def test_parquet_of_equal_rows(tmp_path: Path) -> None:
    path = parquet_bomb(tmp_path / "bomb.parquet")
    assert path.stat().st_size < 2**18
    with memory_limit(MOST), pytest.raises(StoreError, match="declares 33,554,432 rows"):
        read_parquet(path)


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("bombed")
    for kind in ("activations", "sae", "features"):
        make(kind, run)
    return run


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("features", "features.json", {"shard_tokens": 2**50}),
        ("features", "features.json", {"shard_tokens": 0}),
        ("features", "codes.zarr/000000/value/zarr.json", {"shape": [2**50]}),
        ("activations", "activations.zarr/activation/zarr.json", {"shape": [2**40, 8]}),
        ("activations", "manifest.json", {"settings": {"width": 2**40}}),
        ("activations", "manifest.json", {"settings": {"shard_tokens": 2**40}}),
    ],
)
def test_artefacts_that_declare_too_much(
    artefacts: Path, tmp_path: Path, kind: str, name: str, change: dict[str, object]
) -> None:
    shutil.copytree(artefacts / kind, tmp_path / kind)
    path = tmp_path / kind / name
    described = json.loads(path.read_bytes())
    for key, value in change.items():
        old = described[key]
        described[key] = {**old, **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(described))
    reseal(tmp_path / kind, name)
    with memory_limit(MOST), pytest.raises(SciInterpError):
        open_artefact(kind, tmp_path / kind)


def test_a_chunk_that_unpacks_to_more_than_it_declares(tmp_path: Path) -> None:
    write_group(
        tmp_path, "codes/0", {"value": np.ones(100, np.uint8)}, dimensions={"value": "entry"}
    )
    path = tmp_path / "codes/0/value/c/0"
    path.write_bytes(Zstd(level=19).encode(bytes(2**28)))
    with memory_limit(MOST), pytest.raises(StoreError, match="unpacks to 268,435,456 bytes"):
        read_group(tmp_path / "codes/0", ["value"])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_791, 65_792, 2**20, 2**24])
def test_frames_say_what_they_unpack_to(size: int) -> None:
    assert zstd_bytes(Zstd(level=1).encode(bytes(size))[:18]) == size


@pytest.mark.parametrize("head", [b"", b"\x28\xb5\x2f\xfd", b"PK\x03\x04" + bytes(14)])
def test_other_bytes_are_no_frame(head: bytes) -> None:
    assert zstd_bytes(head) == -1


def test_a_compressed_chunk_of_negative_size(tmp_path: Path) -> None:
    store = tmp_path / "fields.zarr"
    make_fields().to_zarr(store, zarr_format=2, consolidated=False)
    path = store / "time" / "0"
    frame = bytearray(path.read_bytes())
    frame[4:8] = (2**32 - 25).to_bytes(4, "little")  # what Blosc says it unpacks to
    path.write_bytes(frame)
    with memory_limit(MOST), pytest.raises(InputError, match="cannot be"):
        open_fields(store)
