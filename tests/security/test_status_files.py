"""Files beside an artefact come from anyone: status tells of the run whatever they hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz_results import BESIDE
from mutation import VALUES
from small_run import make

import sci_interp as si

HUGE = (b"Infinity", b"1e999", b"9" * 400, b"[" * 200_000, b"-1", b"0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose one artefact is unfinished."""
    folder = tmp_path_factory.mktemp("run")
    make("activations", folder)
    (folder / "activations" / "manifest.json").unlink()
    return folder


@pytest.mark.parametrize("name", BESIDE)
def test_what_a_program_left_cannot_stop_status(run: Path, name: str) -> None:
    path, seed = run / "activations" / name, BESIDE[name]
    contents = [seed, b"", b"\0", b"[]", b"{}", *HUGE]
    if seed.startswith(b"{"):
        held = json.loads(seed)
        for key in held:
            for value in (*VALUES, *HUGE):
                other = {**held, key: "HERE"}
                contents.append(json.dumps(other).encode().replace(b'"HERE"', value))
    for data in contents:
        path.write_bytes(data)
        try:
            assert "activations" in si.status(run).format(), data[:100]
        finally:
            path.unlink()


@pytest.mark.parametrize("value", ["Infinity", "1e999", "0", "-3", '"x"', "null", "[[]]"])
def test_sizes_of_a_request_cannot_stop_status(run: Path, value: str) -> None:
    path = run / "activations" / "request.json"
    before = path.read_bytes()
    for key in ("n_tokens", "shard_tokens"):
        request = json.loads(before)
        request["settings"][key] = "HERE"
        path.write_text(json.dumps(request).replace('"HERE"', value))
        try:
            assert "activations" in si.status(run).format()
        finally:
            path.write_bytes(before)
