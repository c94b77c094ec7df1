"""Each verb on as many tokens as wanted, in a process of its own, for its peak memory.

PYTHONPATH=tests/core:tests/reliability python tests/reliability/large_run.py KIND RUN N_TOKENS
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import small_run
from fake_adapter import SYMBOLS, FakeAdapter, FakeDataset

import sci_interp as si

RECORD_TOKENS = 1000
FEATURES = 64


class _Texts(Mapping[str, str]):
    """Strings that are made when they are asked for: the data themselves take no memory."""

    def __init__(self, n_records: int) -> None:
        self._n_records = n_records

    def __len__(self) -> int:
        return self._n_records

    def __iter__(self) -> Iterator[str]:
        return (f"record{index:07d}" for index in range(self._n_records))

    def __getitem__(self, name: str) -> str:
        return _text(int(name.removeprefix("record")))


class _Blocks(_Texts):
    """Two neighbouring records are a block."""

    def __getitem__(self, name: str) -> str:
        return f"block{int(name.removeprefix('record')) // 2:07d}"


@lru_cache(maxsize=256)
def _text(index: int) -> str:
    """Return letters with a planted motif and a planted run."""
    letters = np.random.default_rng(index).choice(list(SYMBOLS), RECORD_TOKENS)
    letters[100:102] = list("GH")
    letters[200:210] = "A"
    return "".join(letters)


class _Dataset(FakeDataset):
    """Records of one length."""

    @property
    def digest(self) -> str:
        return f"{len(self.texts)} records"

    @property
    def table(self) -> pd.DataFrame:
        names = list(self.texts)
        blocks = [self.blocks[name] for name in names]
        sizes = {"n_tokens": RECORD_TOKENS, "stratum": float(RECORD_TOKENS)}
        return pd.DataFrame({"record": names, "block": blocks}).assign(**sizes)


def make(kind: str, run: Path, n_tokens: int) -> None:
    """Make one artefact of a run of ``n_tokens``."""
    adapter = FakeAdapter(width=16)
    adapter.coordinates = ()
    n_records = n_tokens // RECORD_TOKENS
    dataset = _Dataset(_Texts(n_records), _Blocks(n_records))
    out = run / kind
    if kind == "activations":
        si.extract(adapter, dataset, layer="layers.1", out=out, progress=False)
    elif kind == "annotations":
        si.annotate(adapter, dataset, out=out, progress=False)
    elif kind == "enrichment":
        features = si.FeatureStore.open(run / "features")
        known = si.AnnotationStore.open(run / "annotations")
        si.enrich(
            features, known, n_permutations=50, n_bootstrap=10, n_threads=1, out=out,
            progress=False,
        )  # fmt: skip
    else:
        acts = si.ActivationStore.open(run / "activations")
        if kind == "sae":
            si.train(acts, features=FEATURES, k=4, n_tokens=100_000, out=out, progress=False)
        else:
            si.encode(si.load_sae(run / "sae"), acts, out=out, progress=False)


def peak_mebibytes(kind: str, run: Path, n_tokens: int) -> float:
    """Make an artefact in a process of its own and return that process's largest resident set."""
    return peak_of([sys.executable, __file__, kind, str(run), str(n_tokens)])


def peak_of(command: Sequence[str]) -> float:
    """Run a command and return the largest resident set of its process, in MiB.

    A small process starts it: Linux counts what the starting process holds as the other's.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCHER, *command], stdout=subprocess.PIPE, check=True
    )
    return int(done.stdout.split()[-1]) / 1024


_LAUNCHER = """
import os, sys
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


if __name__ == "__main__":
    assert sys.argv[1] in small_run.VERBS
    make(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
