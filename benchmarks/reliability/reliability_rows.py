"""The promises of ``run_reliability.py``, and what tries to break each.

An attempt is given a finished run, an empty folder and how large to be, and returns whether the
promise was kept and a figure.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import changes
import large_run
import make_golden
import promises
import small_run

import sci_interp as si

__all__ = ["ROWS", "Scale"]

REPOSITORY = Path(__file__).resolve().parents[2]
#: Peak memory at most tokens over that at fewest.
MOST_GROWTH = 1.10
FEWEST_TOKENS = 100_000


@dataclass(frozen=True)
class Scale:
    """How large the attempts are."""

    n_kills: int
    every: int
    n_shards: int
    n_tokens: int


Attempt: TypeAlias = Callable[[Path, Path, Scale], tuple[bool, str]]


def kill(_: Path, folder: Path, scale: Scale) -> tuple[bool, str]:
    """Kill each verb at random instants."""
    each = max(1, scale.n_kills // len(small_run.VERBS))
    found = promises.kill(folder, each, seed=1)
    total, n_kills = promises.Outcome(), 0
    for outcome, kills in found.values():
        total = promises.Outcome(total.tried + outcome.tried, total.kept + outcome.kept)
        n_kills += kills
    text = f"{total.kept} of {total.tried} runs byte-identical after {n_kills} SIGKILLs"
    return total.kept == total.tried and all(kills for _, kills in found.values()), text


def refuse(whole: Path, folder: Path, scale: Scale) -> tuple[bool, str]:
    """Let every call to the disk fail, in every mode."""
    seen: Counter[str] = Counter()
    n_calls = 0
    for kind in small_run.VERBS:
        n = promises.count_calls(kind, whole, folder / f"{kind}-counted")
        n_calls += n
        calls = range(1, n + 1, scale.every)
        seen.update(
            promises.fail_disk(kind, whole, folder, itertools.product(calls, promises.MODES))
        )
    n_trials = seen["typed"] + seen["absorbed"]
    broken = {name: n for name, n in seen.items() if name not in ("typed", "absorbed")}
    text = (
        f"{n_trials} faults at {n_calls // scale.every} calls: {seen['typed']} typed errors, "
        f"{seen['absorbed']} absorbed, all continued to the same bytes"
        if not broken
        else f"of {sum(seen.values())}: {broken}"
    )
    return not broken, text


def damage(_: Path, folder: Path, scale: Scale) -> tuple[bool, str]:
    """Damage every shard of a store."""
    store = promises.store_of(folder / "store", scale.n_shards)
    flips = promises.corrupt(store, promises.flip_bit)
    cuts = promises.corrupt(store, promises.truncate)
    text = (
        f"{flips.kept} of {flips.tried} flipped bits and {cuts.kept} of {cuts.tried} truncations "
        "refused by the shard's name"
    )
    return flips.kept == flips.tried and cuts.kept == cuts.tried, text


def change_files(whole: Path, _: Path, __: Scale) -> tuple[bool, str]:
    """Change every file of a run in every way."""
    n_tried, missed = changes.unnoticed(whole, changes.CHANGES)
    text = f"{n_tried - len(missed)} of {n_tried} changes found and named"
    return not missed and si.verify(whole, progress=False).intact, text


def race(whole: Path, folder: Path, _: Scale) -> tuple[bool, str]:
    """Let several processes make one artefact, again and again."""
    said: Counter[str] = Counter()
    total = promises.Outcome()
    for turn in range(10):
        (folder / str(turn)).mkdir()
        found, words = promises.race(folder / str(turn), whole, n_writers=4)
        total = promises.Outcome(total.tried + found.tried, total.kept + found.kept)
        said.update(words)
    text = (
        f"{total.kept} of {total.tried} writers: {said['']} made it or found it made, "
        f"{said['LockedError']} were refused by name"
    )
    right = total.kept == total.tried
    return right, f"{text}; bytes right" if right else f"{text}; said: {dict(said)}"


def spoil(whole: Path, folder: Path, _: Scale) -> tuple[bool, str]:
    """Inject NaN and infinity."""
    kept = tried = 0
    for kind in ("activations", "sae", "features"):
        found = promises.spoil(kind, whole, folder, n_trials=30)
        kept, tried = kept + found.kept, tried + found.tried
    return kept == tried, f"{kept} of {tried} refused with a typed error, nothing left behind"


def grow(_: Path, folder: Path, scale: Scale) -> tuple[bool, str]:
    """Compare the peak memory of each verb at few and at many tokens."""
    peaks: dict[int, dict[str, float]] = {}
    # The first time compiles the kernels, which happens once on a machine, and is not counted.
    for name, n_tokens in (
        ("warm", FEWEST_TOKENS),
        ("few", FEWEST_TOKENS),
        ("many", scale.n_tokens),
    ):
        peaks[n_tokens] = {
            kind: large_run.peak_mebibytes(kind, folder / name, n_tokens)
            for kind in small_run.VERBS
        }
    few, many = peaks[FEWEST_TOKENS], peaks[scale.n_tokens]
    ratios = {promises.VERB_OF[kind]: many[kind] / few[kind] for kind in small_run.VERBS}
    text = f"{FEWEST_TOKENS:,} to {scale.n_tokens:,} tokens: " + ", ".join(
        f"{verb} x {ratio:.2f}" for verb, ratio in ratios.items()
    )
    return max(ratios.values()) <= MOST_GROWTH, text


def golden(_: Path, __: Path, ___: Scale) -> tuple[bool, str]:
    """Read the stores of earlier releases."""
    return _pytest("tests/reliability/test_golden.py", note=f"{make_golden.GOLDEN.name} stores")


def _pytest(*nodes: str, note: str = "") -> tuple[bool, str]:
    """Run tests of the repository and return whether all passed, and how many."""
    absent = [node for node in nodes if not (REPOSITORY / node).exists()]
    if absent:
        return False, f"there is no test yet: {', '.join(absent)}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *nodes],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "no output"
    counts = ", ".join(re.findall(r"\d+ (?:passed|failed|skipped|errors?)", last)) or last[-100:]
    return done.returncode == 0, f"{note + ': ' if note else ''}{counts}"


def _tests(*nodes: str) -> Attempt:
    """Return an attempt that is a test of the repository."""

    def attempt(_: Path, __: Path, ___: Scale) -> tuple[bool, str]:
        return _pytest(*nodes)

    return attempt


ROWS: dict[str, tuple[str, str, Attempt]] = {
    "crash": (
        "a killed verb loses nothing and doubles nothing",
        (
            "SIGKILL of extract, train, encode, annotate, enrich: half at a random time, half "
            "right before a random fsync, rename or removal; then the same call again"
        ),
        kill,
    ),
    "faults": (
        "a disk that refuses is a typed error, and the verb continues",
        (
            "the k-th open, write, fsync, link, rename or mkdir fails, for every k of each verb: "
            "EIO and ENOSPC, once and from then on"
        ),
        refuse,
    ),
    "corruption": (
        "damage is refused before use, naming the shard",
        "one bit flipped in each shard of a store; each shard truncated",
        damage,
    ),
    "verify": (
        "`sci-interp verify` finds and names every change",
        "each file of a run, manifests too: bits flipped, cut, lengthened, removed, renamed",
        change_files,
    ),
    "writers": (
        "one writer at a time; a dead one is no obstacle",
        "4 processes make one artefact at once, 10 times",
        race,
    ),
    "locks": (
        "a lock survives a dead host, a reused process id, a sleeping holder",
        "`tests/reliability/test_locks.py`",
        _tests("tests/reliability/test_locks.py"),
    ),
    "workers": (
        "any number of workers, any order, repeats and killed workers: the same bytes",
        "`tests/core/test_executors.py`, `test_*_batch.py`, `test_dask.py` (workers killed)",
        _tests(
            "tests/core/test_executors.py",
            "tests/core/test_extract_batch.py",
            "tests/core/test_encode_batch.py",
            "tests/core/test_annotate_batch.py",
            "tests/core/test_dask.py",
        ),
    ),
    "not finite": (
        "NaN and infinity are refused where they enter",
        "one value of the activations, in extract, train, encode",
        spoil,
    ),
    "quarantine": (
        "on request bad records are left out and counted: read = used + quarantined",
        (
            "`tests/core/test_quarantine.py`, `test_quarantine_commands.py`: all else equals a run "
            "without these records"
        ),
        _tests("tests/core/test_quarantine.py", "tests/core/test_quarantine_commands.py"),
    ),
    "memory": (
        "peak memory is flat within 10 %",
        (
            "the verbs on a small network, each in a process of its own; real proteins: "
            "[MEMORY.md](../speed/MEMORY.md)"
        ),
        grow,
    ),
    "golden": (
        "stores of earlier releases are read",
        "digests and values of the committed stores",
        golden,
    ),
    "hostile": (
        "hostile input ends in a typed error; nothing runs, nothing is written outside",
        "`tests/security`, `tests/contracts/test_bad_input.py`",
        _tests("tests/security", "tests/contracts/test_bad_input.py"),
    ),
    "parity": (
        "measures and adjustments agree with scikit-learn and scipy",
        "`tests/core/enrichment/test_measures.py`, `test_ranking.py`, `test_significance.py`",
        _tests(
            "tests/core/enrichment/test_measures.py",
            "tests/core/enrichment/test_ranking.py",
            "tests/core/enrichment/test_significance.py",
        ),
    ),
}
