"""Fuzz every parser for some minutes, and report what it cost and what was not refused by type.

    python benchmarks/reliability/fuzz.py --minutes 30 --out benchmarks/reliability/FUZZ.md

The targets are those of ``tests/security``. With atheris installed they are run under it, with
coverage of this repository's packages as its guide; otherwise a random mutator damages the seeds.
Every target has a process of its own, so that a crash, or a run without end, is reported and the
others go on. The status is 1 if any target raised an untyped error, crashed, or broke a limit.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ["sci_interp", "sci_interp_protein", "sci_interp_weather"]
#: What one file may cost, by ``PROTOCOL``: processor seconds and megabytes above the seeds' own.
MAX_SECONDS, MAX_MEGABYTES = 1.0, 256.0
MAX_BYTES = 1 << 16
#: With this status libFuzzer ends a process that crashed.
LIBFUZZER_CRASH = 77
#: A process that is late by this many seconds runs without end.
PATIENCE = 60.0


@dataclass
class Outcome:
    """What a target showed.

    Attributes
    ----------
    runs, refused : int
        Files that were parsed, and those of them that were refused by a typed error.
    worst_seconds : float
        Most processor time of one run.
    worst_megabytes : float
        Growth of the peak memory of the process over what it was after the seeds.
    untyped : mapping of str to int
        Other errors: their type and place, and how often.
    ending : str
        How the process ended, if not by itself.
    """

    runs: int = 0
    refused: int = 0
    worst_seconds: float = 0.0
    worst_megabytes: float = 0.0
    untyped: dict[str, int] = field(default_factory=dict)
    ending: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        within = self.worst_seconds <= MAX_SECONDS and self.worst_megabytes <= MAX_MEGABYTES
        return within and not self.untyped and not self.ending


class Watch:
    """Runs a target on one file after another and keeps what is worth reporting.

    Parameters
    ----------
    target
        What parses.
    run
        Runs a target on bytes; returns the message of a refusal.
    folder
        Where the outcome goes, and files that showed something.
    until
        When to stop, on the monotonic clock.
    """

    def __init__(
        self, target: Any, run: Callable[[Any, bytes], str], folder: Path, until: float
    ) -> None:
        self._target, self._run, self._folder, self._until = target, run, folder, until
        self.outcome = Outcome()
        for seed in target.seeds:
            run(target, seed)
        self._untyped: Counter[str] = Counter()
        self._before = _peak()

    def step(self, data: bytes) -> None:
        """Parse one file; ends the process when its time is over."""
        if time.monotonic() > self._until:
            self.finish()
        (self._folder / "last").write_bytes(data)
        started = time.process_time()
        try:
            refusal = self._run(self._target, data)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            place = _place(error)
            self._untyped[place] += 1
            if self._untyped[place] == 1:
                self._keep(f"untyped-{len(self._untyped)}", data)
            refusal = ""
        outcome, seconds = self.outcome, time.process_time() - started
        grown = (_peak() - self._before) / 1024
        outcome.runs += 1
        outcome.refused += bool(refusal)
        if seconds > outcome.worst_seconds:
            outcome.worst_seconds = seconds
            if seconds > MAX_SECONDS:
                self._keep("slow", data)
        if grown > outcome.worst_megabytes:
            outcome.worst_megabytes = grown
            if grown > MAX_MEGABYTES:
                self._keep("large", data)
        if outcome.runs % 50 == 0:
            self.write()

    def write(self) -> None:
        """Write what is known so far; a crash leaves it."""
        self.outcome.untyped = dict(self._untyped)
        (self._folder / "outcome.json").write_text(json.dumps(asdict(self.outcome)))

    def finish(self) -> NoReturn:
        """Write the outcome and end the process, whatever engine is around it."""
        self.write()
        sys.stdout.flush()
        os._exit(0)

    def _keep(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)


def _peak() -> int:
    """Return the peak memory of this process in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if any(f"/{name}/" in each.filename for name in PACKAGES)]
    where = (ours or list(frames))[-1]
    return f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"


def fuzz_plainly(watch: Watch, seeds: Iterable[bytes], mutation: ModuleType, seed: int) -> NoReturn:
    """Damage the seeds, and damaged files that were still read, at random."""
    rng = random.Random(seed)
    pool = list(seeds)
    n_seeds = len(pool)
    while True:
        data = mutation.damage(rng.choice(pool), mutation.draw_changes(rng))[:MAX_BYTES]
        if rng.random() < 0.02:
            data = rng.randbytes(rng.randint(0, 300))
        refused = watch.outcome.refused
        watch.step(data)
        if watch.outcome.refused == refused and len(data) < 4 * max(map(len, pool[:n_seeds])):
            pool.append(data)
            del pool[n_seeds : n_seeds + max(0, len(pool) - 500)]


def fuzz_guided(
    watch: Watch, seeds: Iterable[bytes], folder: Path, mutation: ModuleType, atheris: Any
) -> None:
    """Let libFuzzer choose files by the coverage of the parsers; half of the damage is ours."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds):
        (corpus / str(number)).write_bytes(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            changed: bytes = atheris.Mutate(data, most)
            return changed
        return mutation.damage(data, mutation.draw_changes(rng))[:most]

    options = [f"-max_len={MAX_BYTES}", "-rss_limit_mb=0", "-timeout=86400", "-verbosity=0"]
    options.append(f"-artifact_prefix={folder}/")
    atheris.Setup([sys.argv[0], str(corpus), *options], watch.step, custom_mutator=mutate)
    atheris.Fuzz()


def fuzz_target(target: Any, folder: Path, seconds: float, engine: Mapping[str, Any]) -> Outcome:
    """Fuzz one target in a process of its own and return what it showed."""
    folder.mkdir(parents=True)
    sys.stdout.flush()
    until = time.monotonic() + seconds
    child = os.fork()
    if child == 0:
        try:
            _silence(folder / "said")
            watch = Watch(target, engine["run"], folder, until)
            if engine["atheris"] is None:
                fuzz_plainly(watch, target.seeds, engine["mutation"], engine["seed"])
            fuzz_guided(watch, target.seeds, folder, engine["mutation"], engine["atheris"])
        finally:
            traceback.print_exc()
            os._exit(70)
    ending = _wait(child, until + PATIENCE)
    path = folder / "outcome.json"
    outcome = Outcome(**json.loads(path.read_text())) if path.is_file() else Outcome()
    outcome.ending = ending
    return outcome


def _silence(path: Path) -> None:
    """Send what libraries in C say on standard error to a file."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)


def _wait(child: int, until: float) -> str:
    """Return how a process ended; kill it when its time is long over."""
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code == LIBFUZZER_CRASH:
                return "crash"
            return "" if code == 0 else f"signal {-code}" if code < 0 else f"status {code}"
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "ran without end"


def compiled_modules() -> Iterator[str]:
    """Yield the modules that numba compiles: it knows nothing of instruments."""
    for folder in (REPOSITORY, REPOSITORY / "adapters"):
        for package in PACKAGES:
            for path in sorted((folder / package).rglob("*.py")):
                text = path.read_text(encoding="utf-8")
                if "numba" in text or "@compiled" in text:
                    yield ".".join(path.relative_to(folder).with_suffix("").parts)


def load_targets(atheris: Any) -> tuple[ModuleType, ModuleType]:
    """Import the targets, instrumented where atheris is there."""
    for folder in ("core", "reliability", "security"):
        sys.path.insert(0, str(REPOSITORY / "tests" / folder))
    if atheris is None:
        watched: AbstractContextManager[object] = nullcontext()
    else:
        watched = atheris.instrument_imports(include=PACKAGES, exclude=list(compiled_modules()))
    with watched:
        targets = importlib.import_module("fuzz_targets")
    return targets, importlib.import_module("mutation")


def table(outcomes: Mapping[str, Outcome], native: set[str], heading: str) -> str:
    """Return the outcomes as Markdown."""
    kept = sum(each.kept for each in outcomes.values())
    limits = f"{MAX_SECONDS:g} s, {MAX_MEGABYTES:g} MB"
    promise = (
        f"Promise: only typed errors, each file within {limits}. Kept by {kept} of "
        f"{len(outcomes)} targets. Seconds are the processor's, the most of one file; MB are the "
        "growth of the process's peak over all its files. A `*` marks formats that a library in C "
        "reads."
    )
    lines = [
        *("# Damaged files, by the fuzzer", ""),
        *("`python benchmarks/reliability/fuzz.py` made this table.", "", heading, "", promise, ""),
        "| target | files | refused | worst s | worst MB | untyped errors, crashes |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in outcomes.items():
        wrong = [f"{place} ({n})" for place, n in sorted(each.untyped.items())]
        wrong += [each.ending] if each.ending else []
        share = f"{each.refused / each.runs:.0%}" if each.runs else "-"
        lines.append(
            f"| {name}{' *' if name in native else ''} | {each.runs:,} | {share} "
            f"| {each.worst_seconds:.3f} | {each.worst_megabytes:.0f} | {'; '.join(wrong)} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Fuzz all targets for equal times and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--only", default="", help="targets whose name holds this")
    parser.add_argument("--engine", choices=("auto", "atheris", "plain"), default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of the plain mutator")
    parser.add_argument("--keep", type=Path, help="folder for the files that showed something")
    parser.add_argument("--out", type=Path, help="file for the table")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    atheris = None if chosen.engine == "plain" else _find_atheris(needed=chosen.engine == "atheris")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        work = Path(scratch) if chosen.keep is None else chosen.keep.resolve()
        targets, mutation = load_targets(atheris)
        every = targets.all_targets(Path(scratch))
        names = [name for name in every if chosen.only in name]
        seconds = 60 * chosen.minutes / max(1, len(names))
        engine = {"run": targets.run_target, "atheris": atheris, "mutation": mutation}
        engine["seed"] = chosen.seed
        outcomes = {}
        for number, name in enumerate(names):
            outcome = fuzz_target(every[name], work / f"found-{number:02d}", seconds, engine)
            outcomes[name] = outcome
            told = "kept" if outcome.kept else "NOT KEPT"
            print(f"{name}: {outcome.runs} files, {told}", file=sys.stderr, flush=True)
    native = {name for name in names if every[name].native}
    how = "atheris" if atheris is not None else "a random mutator"
    heading = f"{seconds:.0f} s for each target, by {how}; Python {platform.python_version()}."
    text = table(outcomes, native, heading)
    print(text)
    if chosen.out is not None:
        chosen.out.write_text(text, encoding="utf-8")
    return 0 if all(each.kept for each in outcomes.values()) else 1


def _find_atheris(*, needed: bool) -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        if needed:
            raise SystemExit("atheris is not installed: pip install atheris") from None
        return None


if __name__ == "__main__":
    sys.exit(main())
