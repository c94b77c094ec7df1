"""Planted truth: worlds whose links are known, our protocol, and what is often done instead.

    python benchmarks/planted/run_planted.py --world proteins --replicates 60 --out OUT

Replicates are appended to OUT/WORLD.jsonl as they end, one JSON line each, and those found there
are not made again; a replicate follows from the seed and its number alone. OUT/PLANTED.md is the
table of all worlds that OUT holds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from planted_replicates import WORLDS
from planted_tables import format_planted

__all__ = ["read_replicates", "run_replicates"]

ROOT = Path(__file__).resolve().parents[2]


def read_replicates(path: Path) -> list[dict[str, Any]]:
    """Return the replicates of a file in order; a last line that was cut short is dropped."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole), encoding="utf-8")
    return sorted((json.loads(line) for line in whole), key=lambda found: found["replicate"])


def run_replicates(world: str, n_replicates: int, out: Path, *, seed: int = 0) -> None:
    """Make the replicates that a folder lacks, and append them to its file of the world.

    Parameters
    ----------
    world
        A key of ``WORLDS``.
    n_replicates
        Replicates 0 to this, in all.
    out
        The folder.
    seed
        Seed of all replicates.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{world}.jsonl"
    done = {found["replicate"] for found in read_replicates(path) if found["seed"] == seed}
    for replicate in range(n_replicates):
        if replicate in done:
            continue
        found = {"world": world, **WORLDS[world].run(seed, replicate, out)}
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(found) + "\n")
        print(f"{world} {replicate}: {found['seconds']} s", file=sys.stderr, flush=True)


def main() -> None:
    """Make replicates and write the table."""
    sys.path.insert(0, str(ROOT / "benchmarks" / "enrichment"))
    from signature import sign

    parser = argparse.ArgumentParser(description="Planted truth")
    parser.add_argument("--world", choices=sorted(WORLDS), action="append", default=[])
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "planted" / "results")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for world in args.world:
        run_replicates(world, args.replicates, args.out, seed=args.seed)
    found = {world: read_replicates(args.out / f"{world}.jsonl") for world in WORLDS}
    signature = sign(0)[:-1]  # replicates tell their own time
    text = format_planted({world: some for world, some in found.items() if some}, signature)
    (args.out / "PLANTED.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
