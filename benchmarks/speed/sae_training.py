"""Training steps of this library beside those of other packages, on the same activations.

    python benchmarks/speed/sae_training.py --peers PYTHON --proteins sequences.fasta.gz --out OUT

PYTHON is an interpreter with ``sae-lens``, ``dictionary-learning``, ``eai-sparsify`` and
``overcomplete``; what it cannot import is left out, with the reason. Every engine runs in a process
of its own and keeps it; they take turns in rounds of a few steps, forth and back (ABBA), so that
other work on the machine meets all alike. Between rounds all are looked at on the same held-out
tokens, in the mode of training. OUT receives ``SAE_TRAINING.csv`` and ``SAE_TRAINING.md``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "enrichment")]

import sae_data  # noqa: E402
import sae_encoding  # noqa: E402
from sae_engines import ENGINES, Task  # noqa: E402
from signature import sign  # noqa: E402

OURS, PLAIN = "sci_interp", "plain"
HELD_OUT = 2


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes
    ----------
    data, architecture : str
        ``"planted"`` or ``"network"``; ``"topk"`` or ``"batch_topk"``.
    width, features, threads : int
        Channels (256 are those of the bundled network), features, threads.
    rounds, steps : int
        Turns of every engine, and steps of a turn.
    without : tuple of str
        Engines that are not run.
    """

    data: str
    architecture: str
    width: int
    features: int
    threads: int
    rounds: int
    steps: int
    k: int = 32
    batch_size: int = 4096
    without: tuple[str, ...] = ()

    @property
    def n_steps(self) -> int:
        """Steps of every engine."""
        return self.rounds * self.steps

    @property
    def title(self) -> str:
        """The case in words."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{self.data}, {self.architecture}, d = {self.width}, {self.features} features, "
            f"k = {self.k}, batch {self.batch_size}, {threads}, {self.n_steps} steps"
        )


#: Left out where time is short: like another engine in the way it computes.
SLOW = ("sae_lens", "overcomplete")

CASES = [
    Case("planted", "topk", 320, 4096, 1, rounds=6, steps=4),
    Case("planted", "batch_topk", 320, 4096, 1, rounds=4, steps=4),
    Case("planted", "topk", 1280, 8192, 1, rounds=4, steps=2, without=SLOW),
    Case("planted", "batch_topk", 1280, 8192, 1, rounds=4, steps=2, without=SLOW),
    Case("network", "topk", 256, 4096, 1, rounds=4, steps=4),
    Case("network", "batch_topk", 256, 4096, 1, rounds=4, steps=4, without=SLOW),
    Case("planted", "topk", 320, 4096, 2, rounds=4, steps=2),
    Case("planted", "batch_topk", 320, 4096, 2, rounds=4, steps=2, without=SLOW),
]


class Worker:
    """A process that runs one engine."""

    def __init__(self, python: str, task: Task) -> None:
        threads = str(task.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(HERE / "sae_engines.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env=environment,
        )
        self.first = self.ask(asdict(task))

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Send an order and wait for the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            return {"skipped": self._last_words()}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()
        self._complaints.close()

    def _last_words(self) -> str:
        self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines()
        return lines[-1] if lines else "its process ended without a word"


@dataclass
class Record:
    """What one engine did in a case."""

    engine: str
    version: str
    start: float
    turns: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, float] = field(default_factory=dict)

    def per_turn(self, clock: str) -> list[float]:
        """Return the median step of every turn in seconds."""
        return [median(turn[clock]) for turn in self.turns]

    @property
    def step(self) -> float:
        """Median seconds of a step."""
        return median(second for turn in self.turns for second in turn["wall"])

    def seconds_to(self, fvu: float) -> float | None:
        """Return training seconds, start included, until FVU is reached; None if it was not."""
        spent, before = self.start, None
        for turn in self.turns:
            after = spent + sum(turn["wall"])
            if turn["fvu"] <= fvu:
                if before is None or before <= turn["fvu"]:
                    return after
                share = (before - fvu) / (before - turn["fvu"])
                return spent + share * (after - spent)
            spent, before = after, turn["fvu"]
        return None


def compare(
    case: Case, folder: Path, *, engines: Sequence[str], peers: str | None, rate: float
) -> tuple[dict[str, Record], dict[str, str]]:
    """Run one case; return what every engine did, and why others did not."""
    records: dict[str, Record] = {}
    skipped: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    try:
        for engine in engines:
            if engine in case.without:
                skipped[engine] = "to spare time"
                continue
            python = sys.executable if engine in (OURS, PLAIN) else peers
            if python is None:
                skipped[engine] = "no interpreter was given with --peers"
                continue
            sizes = (case.features, case.k, case.batch_size, case.n_steps)
            task = Task(
                engine, case.architecture, *sizes, 0, case.threads, rate, 0.05, 0.3, str(folder)
            )
            worker = workers[engine] = Worker(python, task)
            if "skipped" in worker.first:
                skipped[engine] = worker.first["skipped"]
                workers.pop(engine).close()
                continue
            records[engine] = Record(engine, worker.first["version"], worker.first["start"])
        for turn in range(case.rounds):
            order = list(workers) if turn % 2 == 0 else list(reversed(workers))
            for engine in order:
                answer = workers[engine].ask({"steps": case.steps})
                if "skipped" in answer:
                    skipped[engine] = answer["skipped"]
                    records.pop(engine), workers.pop(engine).close()
                    continue
                records[engine].turns.append(answer)
        for engine, worker in workers.items():
            records[engine].end = worker.ask({"finish": True})
    finally:
        for worker in workers.values():
            worker.close()
    return records, skipped


def rows_of(case: Case, records: Mapping[str, Record]) -> list[dict[str, Any]]:
    """Return a row of the table for every engine."""
    peers = [held for name, held in records.items() if name not in (OURS, PLAIN)]
    fastest = min(peers, key=lambda held: held.step, default=records[OURS])
    target = fastest.turns[-1]["fvu"]
    rows = []
    for name, held in records.items():
        last, found = held.turns[-1], {}
        for clock in ("wall", "processor"):
            pairs = zip(held.per_turn(clock), records[OURS].per_turn(clock), strict=True)
            ratios = [theirs / ours for theirs, ours in pairs]
            found[f"{clock}_step_ms"] = 1e3 * median(held.per_turn(clock))
            found[f"{clock}_ratio_min"] = min(ratios)
            found[f"{clock}_ratio"] = median(ratios)
            found[f"{clock}_ratio_max"] = max(ratios)
        reached = held.seconds_to(target)
        rows.append(
            {
                **asdict(case),
                "engine": name,
                "version": held.version,
                "fastest_peer": held is fastest and bool(peers),
                **found,
                "tokens_per_s": case.batch_size / held.step,
                "fvu": last["fvu"],
                "l0": last["l0"],
                "dead": last["dead"],
                "mmcs": held.end.get("mmcs", ""),
                "recall": held.end.get("recall", ""),
                "start_s": held.start,
                "seconds_to_fvu": "" if reached is None else reached,
                "target_fvu": target,
            }
        )
    return rows


def table_of(case: Case, rows: Sequence[Mapping[str, Any]], skipped: Mapping[str, str]) -> str:
    """Return a case as Markdown."""
    head = (
        "| engine | step, ms | processor, ms | tokens/s | step / ours (min, median, max) | "
        "processor / ours | FVU | dead | MMCS | recall 0.9 | s to FVU "
        f"{rows[0]['target_fvu']:.4f} |"
    )
    lines = [f"### {case.title}", "", head, "|" + "---|" * 11]
    for row in rows:
        name = f"**{row['engine']}**" if row["fastest_peer"] else row["engine"]
        wall, processor = (
            ", ".join(f"{row[f'{clock}_ratio{end}']:.2f}" for end in ("_min", "", "_max"))
            for clock in ("wall", "processor")
        )
        reached, found = row["seconds_to_fvu"], (row["mmcs"], row["recall"])
        cells = [
            name,
            f"{row['wall_step_ms']:.0f}",
            f"{row['processor_step_ms']:.0f}",
            f"{row['tokens_per_s']:,.0f}",
            wall,
            processor,
            f"{row['fvu']:.4f}",
            f"{row['dead']:.1%}",
            *("" if value == "" else f"{value:.3f}" for value in found),
            "not reached" if reached == "" else f"{reached:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"- {engine} left out: {why}" for engine, why in skipped.items()), ""]
    return "\n".join(lines)


def prepare(case: Case, scratch: Path, proteins: Path | None) -> Path | None:
    """Return the folder of a case's activations, written at most once."""
    n_tokens = case.batch_size * min(case.n_steps, 48)
    n_held_out = HELD_OUT * case.batch_size
    folder = scratch / f"{case.data}-{case.width}-{n_tokens}"
    if (folder / "held_out.npy").is_file():
        return folder
    if case.data == "planted":
        sae_data.planted(
            folder,
            width=case.width,
            n_directions=case.features // 2,
            n_active=16,
            n_tokens=n_tokens,
            n_held_out=n_held_out,
        )
        return folder
    if proteins is None:
        return None
    sae_data.network(folder, proteins, n_tokens=n_tokens, n_held_out=n_held_out)
    return folder


def write(out: Path, rows: Sequence[Mapping[str, Any]], text: Sequence[str], begun: float) -> None:
    """Write what is known so far."""
    out.mkdir(parents=True, exist_ok=True)
    if rows:
        with (out / "SAE_TRAINING.csv").open("w", newline="", encoding="utf-8") as target:
            writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    versions = sorted({row["version"] for row in rows if row["engine"] not in (OURS, PLAIN)})
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    head = [
        "# Training steps beside other packages",
        "",
        "```sh",
        "python benchmarks/speed/sae_training.py --peers PYTHON --proteins FASTA --out OUT",
        "```",
        "",
        *sign(time.perf_counter() - begun)[:-1],
        f"- other packages: {', '.join(versions) or 'none'}",
        f"- load of the machine over 1, 5 and 15 minutes when this was written: {load}",
        "",
    ]
    text = [*head, (HERE / "SAE_TRAINING_METHOD.md").read_text(encoding="utf-8"), *text]
    (out / "SAE_TRAINING.md").write_text("\n".join(text), encoding="utf-8")


def main() -> None:
    """Run the cases, then encoding and growth; write after each."""
    parser = argparse.ArgumentParser(description="Training steps beside other packages")
    parser.add_argument("--peers", help="interpreter of an environment with the other packages")
    parser.add_argument("--proteins", type=Path, help="gzipped FASTA file for the network's data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--cases", nargs="*", type=int, help="numbers of the cases, from 0")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--scratch", type=Path, help="folder that keeps the activations")
    args = parser.parse_args()
    begun = time.perf_counter()
    chosen = range(len(CASES)) if args.cases is None else args.cases
    rows: list[dict[str, Any]] = []
    text: list[str] = []
    with tempfile.TemporaryDirectory() as passing:
        scratch = args.scratch or Path(passing)
        for case in (CASES[number] for number in chosen):
            folder = prepare(case, scratch, args.proteins)
            if folder is None:
                text.append(f"### {case.title}\n\n- left out: no --proteins\n")
                continue
            records, skipped = compare(
                case, folder, engines=args.engines, peers=args.peers, rate=args.learning_rate
            )
            found = rows_of(case, records)
            rows += found
            text.append(table_of(case, found, skipped))
            print(text[-1], flush=True)
            write(args.out, rows, text, begun)
        for part in sae_encoding.tables(scratch, args.proteins):
            text.append(part)
            print(part, flush=True)
            write(args.out, rows, text, begun)


if __name__ == "__main__":
    main()
