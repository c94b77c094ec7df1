"""What the library promises, each as a function that tries to break it and counts what it saw.

The tests run them small, and ``benchmarks/reliability`` runs them large and writes the table.
"""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import small_run
from fake_adapter import FakeAdapter, make_dataset
from faults import Faults
from kills import read_tree, run_each_killed

import sci_interp as si

#: The verb of each artefact of the small run.
VERB_OF = {
    "activations": "extract",
    "sae": "train",
    "features": "encode",
    "annotations": "annotate",
    "enrichment": "enrich",
}
#: A single fault of the disk, and one that stays: the error, and whether it lasts.
MODES = (
    (errno.EIO, False),
    (errno.ENOSPC, True),
    (errno.ENOSPC, False),
    (errno.EIO, True),
)


@dataclass
class Outcome:
    """How often something was tried, and how often it went as promised."""

    tried: int = 0
    kept: int = 0


def kill(folder: Path, n_trials: int, seed: int = 0) -> dict[str, tuple[Outcome, int]]:
    """Kill every verb at random instants.

    Returns
    -------
    dict
        By artefact: how many trials ended in the bytes of an undisturbed run, and the kills.
    """
    tasks = {kind: f"small_killed:{verb}" for kind, verb in VERB_OF.items()}
    counts = run_each_killed(list(tasks.values()), folder, n_trials=n_trials, seed=seed)
    found = {}
    for kind, task in tasks.items():
        place = folder / VERB_OF[kind]
        whole = read_tree(place / "whole")
        same = sum(read_tree(place / f"trial{trial}") == whole for trial in range(n_trials))
        found[kind] = (Outcome(n_trials, same), counts[task]["n_kills"])
    return found


def count_calls(kind: str, run: Path, out: Path) -> int:
    """Return how often a verb opens, writes, syncs, links and renames."""
    with Faults(out).installed() as faults:
        small_run.make(kind, run, out)
    return len(faults.calls)


def fail_disk(
    kind: str, run: Path, folder: Path, trials: Iterable[tuple[int, tuple[int, bool]]]
) -> Counter[str]:
    """Make a verb's artefact while the disk refuses its k-th call, for every trial ``(k, mode)``.

    Returns
    -------
    Counter
        ``typed``: the verb ended with an error of the library; ``absorbed``: it ended well, in
        the same bytes. Broken promises: ``untyped`` errors, ``other bytes``, an artefact that is
        ``unreadable`` after it (neither whole nor refused), ``not resumed``.
    """
    whole = read_tree(run / kind)
    seen: Counter[str] = Counter()
    for k, (code, lasting) in trials:
        out = folder / f"{kind}-{k}"
        faults = Faults(out, k, code=code, lasting=lasting)
        with faults.installed():
            try:
                small_run.make(kind, run, out)
                seen["absorbed" if read_tree(out) == whole else "other bytes"] += 1
            except si.SciInterpError:
                seen["typed"] += 1
            except Exception as error:  # noqa: BLE001 - it is counted
                seen[f"untyped {type(error).__name__}"] += 1
        assert faults.n_refused, "the call was never made"
        seen.update(_after(kind, run, out, whole))
        shutil.rmtree(out, ignore_errors=True)
    return seen


def _after(kind: str, run: Path, out: Path, whole: dict[str, bytes]) -> Iterable[str]:
    """Yield what is wrong with an artefact after a fault, and with its continuation."""
    if out.exists():
        try:
            small_run.open_artefact(kind, out)
            # A checkpoint may lie beside a whole artefact until the next call takes it away.
            found = {name: data for name, data in read_tree(out).items() if name[-4:] != ".tmp"}
            readable = found == whole
        except si.SciInterpError:
            readable = True
        except Exception:  # noqa: BLE001 - it is counted
            readable = False
        if not readable:
            yield "unreadable"
    try:
        small_run.make(kind, run, out)
    except si.SciInterpError:
        yield "not resumed"
        return
    if read_tree(out) != whole:
        yield "not resumed"


def store_of(folder: Path, n_shards: int) -> si.ActivationStore:
    """Return a store of many small shards."""
    adapter = FakeAdapter(width=4)
    adapter.coordinates = ()
    dataset = make_dataset(n_records=n_shards // 4, shortest=32, longest=32)
    return si.extract(
        adapter, dataset, layer="layers.0", out=folder, shard_tokens=8, progress=False
    )


def corrupt(store: si.ActivationStore, change: Callable[[bytes, random.Random], bytes]) -> Outcome:
    """Damage every shard of a store, and count those that are refused before use, by name."""
    rng = random.Random(0)
    found = Outcome()
    for start, stop in store.shards():
        name = f"activations.zarr/activation/c/{start // 8}/0"
        path = store.path / name
        data = path.read_bytes()
        path.write_bytes(change(data, rng))
        try:
            si.ActivationStore.open(store.path).read(start, stop)
        except si.SciInterpError as error:
            found.kept += name in str(error)
        path.write_bytes(data)
        found.tried += 1
    return found


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    """Change one bit."""
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    """Take some of the end away."""
    return data[: rng.randrange(len(data))]


def race(folder: Path, whole: Path, n_writers: int) -> tuple[Outcome, Counter[str]]:
    """Let processes make the same artefact at once.

    Returns
    -------
    Outcome
        Writers that ended well or were refused by the lock, where the bytes are right.
    Counter
        What they said: nothing, or the name of the error.
    """
    tests = Path(__file__).resolve().parents[1]
    paths = [tests / "core", tests / "reliability"]
    out = folder / "annotations"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, out, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(n_writers)
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    said = Counter(writer.communicate(timeout=300)[0].strip() for writer in writers)
    right = read_tree(out) == read_tree(whole / "annotations")
    kept = (said[""] + said["LockedError"]) if right and said[""] else 0
    return Outcome(n_writers, kept), said


_WRITER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import small_run
print("ready", flush=True)
sys.stdin.readline()
try:
    small_run.make("annotations", Path(sys.argv[1]).parent, Path(sys.argv[1]))
except small_run.si.SciInterpError as error:
    print(type(error).__name__)
"""


def spoil(kind: str, run: Path, folder: Path, n_trials: int, seed: int = 0) -> Outcome:
    """Put NaN or infinity into one activation, and count the refusals that leave nothing behind.

    ``extract`` and ``encode`` read every token, ``train`` every token of its splits.
    """
    rng = random.Random(seed)
    found = Outcome()
    for trial in range(n_trials):
        out = folder / f"{kind}-{trial}"
        bad = (float("nan"), float("inf"), float("-inf"))[trial % 3]
        try:
            small_run.make_spoilt(kind, run, out, bad, rng)
        except si.SciInterpError as error:
            found.kept += type(error).__name__ == "NotFiniteError" and not out.exists()
        found.tried += 1
    return found
