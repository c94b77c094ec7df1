"""Files that would run code in a reader that trusts them: each leaves a mark where it ran."""

from __future__ import annotations

import io
import json
import pickle  # noqa: TID251 - canaries are pickles
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

__all__ = ["CANARIES", "Canary", "hostile_parquet", "hostile_zarr"]


class Canary:
    """Makes a folder, the mark, when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.mkdir, (self.mark,)


def _torch(folder: Path, mark: Path, name: str, **how: Any) -> Path:
    torch.save({"encoder.weight": torch.ones(3, 2), "note": Canary(mark)}, folder / name, **how)
    return folder / name


def _script_module(folder: Path, _: Path) -> Path:
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), target)
    (folder / "sae.pt").write_bytes(target.getvalue())
    return folder / "sae.pt"


def _pickled(folder: Path, mark: Path, name: str) -> Path:
    (folder / name).write_bytes(pickle.dumps({"bias": Canary(mark)}))
    return folder / name


def _npz(folder: Path, mark: Path) -> Path:
    np.savez(folder / "sae.npz", bias=np.array([Canary(mark)], dtype=object))
    return folder / "sae.npz"


def _npy(folder: Path, mark: Path) -> Path:
    np.save(folder / "sae.npy", np.array([Canary(mark)], dtype=object), allow_pickle=True)
    return folder / "sae.npy"


def _after_json(folder: Path, mark: Path) -> Path:
    inner = io.BytesIO()
    torch.save({"w": Canary(mark)}, inner)
    head = json.dumps({"schema": 5, "cfg": {"activation": {"cls": "Relu"}}}).encode()
    (folder / "saev.pt").write_bytes(head + b"\n" + inner.getvalue())
    return folder / "saev.pt"


def _yaml(folder: Path, mark: Path) -> Path:
    text = (
        f"!!python/object/apply:pathlib.Path.mkdir [!!python/object/apply:pathlib.Path [{mark}]]\n"
    )
    for name in ("config.yaml", "cfg.yml"):
        (folder / name).write_text(text)
    (folder / "config.json").write_text(text)
    weights = {"encoder": torch.ones(3, 2), "decoder": torch.ones(3, 2)}
    (folder / "sae.safetensors").write_bytes(save(weights))
    return folder


def _json(folder: Path, mark: Path) -> Path:
    called = {"py/reduce": [{"py/type": "pathlib.Path.mkdir"}, {"py/tuple": [str(mark)]}]}
    text = json.dumps({"architecture": called, "k": called, "__reduce__": called})
    for name in ("config.json", "cfg.json"):
        (folder / name).write_text(text)
    (folder / "ae.pt").write_bytes(_torch(folder, mark, "ae.pt").read_bytes())
    return folder


#: Name -> what writes the file and returns what is loaded as an autoencoder.
CANARIES: dict[str, Callable[[Path, Path], Path]] = {
    "pt": lambda folder, mark: _torch(folder, mark, "sae.pt"),
    "pt, legacy": lambda folder, mark: _torch(
        folder, mark, "sae.pt", _use_new_zipfile_serialization=False
    ),
    "ckpt": lambda folder, mark: _torch(folder, mark, "sae.ckpt"),
    "bin": lambda folder, mark: _torch(folder, mark, "pytorch_model.bin"),
    "pt, TorchScript": _script_module,
    "pt, bare pickle": lambda folder, mark: _pickled(folder, mark, "sae.pt"),
    "pkl": lambda folder, mark: _pickled(folder, mark, "sae.pkl").parent,
    "safetensors, a pickle": lambda folder, mark: _pickled(folder, mark, "sae.safetensors"),
    "npz": _npz,
    "npy": _npy,
    "pt after a line of JSON": _after_json,
    "yaml": _yaml,
    "json": _json,
}


def hostile_zarr(folder: Path, mark: Path, *, name: str, filters: list[dict[str, Any]]) -> Path:
    """Write a store of the second Zarr format whose filters choose how bytes are decoded."""
    array = {
        "zarr_format": 2,
        "shape": [4],
        "chunks": [4],
        "dtype": "|O",
        "compressor": None,
        "fill_value": "",
        "order": "C",
        "filters": filters,
    }
    (folder / name).mkdir(parents=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / name / ".zarray").write_text(json.dumps(array))
    (folder / name / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["time"]}')
    (folder / name / "0").write_bytes(pickle.dumps(Canary(mark)))
    return folder


def hostile_parquet(path: Path, mark: Path) -> Path:
    """Write a table whose column claims an extension type that is a pickle."""
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Canary(mark)),
    }
    column = pa.field("record", pa.string(), metadata=metadata)
    pq.write_table(pa.table([pa.array(["a"])], schema=pa.schema([column])), path)
    return path
