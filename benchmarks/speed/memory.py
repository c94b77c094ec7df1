"""Peak memory of extract, train, encode, annotate and enrich at n and at 10 n proteins.

    python benchmarks/speed/memory.py DATA --proteins 823

DATA holds ``sequences.fasta.gz, features.tsv.gz, clusters.tsv.gz``. Every verb runs in a process
of its own; the system's own account of its largest resident set is printed, and the ratio. All
verbs run once on few proteins before: compiling the counting kernels, which happens once on a
machine, takes memory that has nothing to do with the data.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
import tempfile
from pathlib import Path

from Bio.SeqIO.FastaIO import SimpleFastaParser

FACTOR = 10
WARM_UP = 100
BATCH = 2048


def write_subset(data: Path, n_proteins: int, out: Path) -> None:
    """Write the first proteins with their features and clusters."""
    out.mkdir(parents=True)
    chosen: set[str] = set()
    with (
        gzip.open(data / "sequences.fasta.gz", "rt") as handle,
        (out / "sequences.fasta").open("w") as target,
    ):
        for title, sequence in SimpleFastaParser(handle):
            if len(chosen) == n_proteins:
                break
            chosen.add(title.split("|")[1])
            target.write(f">{title}\n{sequence}\n")
    for name in ("features.tsv", "clusters.tsv"):
        with (
            gzip.open(data / f"{name}.gz", "rt", newline="") as handle,
            (out / name).open("w", newline="") as target,
        ):
            rows = csv.reader(handle, delimiter="\t")
            header = next(rows)
            column = header.index("protein_id")
            writer = csv.writer(target, delimiter="\t", lineterminator="\n")
            writer.writerow(header)
            writer.writerows(row for row in rows if row[column] in chosen)


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the command line of every verb."""
    model_and_data = [
        *("--adapter", "protein", "--data", f"{folder}/sequences.fasta"),
        *("--option", f"features={folder}/features.tsv"),
        *("--option", f"clusters={folder}/clusters.tsv"),
    ]
    size = ["--features", "1024", "--k", "16", "--n-tokens", "200000", "--batch-size", str(BATCH)]
    activations, sae, features, known = (
        f"{folder}/{name}" for name in ("activations", "sae", "features", "known")
    )
    return {
        "extract": [*model_and_data, "--out", activations],
        "train": [activations, *size, "--out", sae],
        "encode": [sae, activations, "--out", features],
        "annotate": [*model_and_data, "--out", known],
        "enrich": [features, known, "--out", f"{folder}/enrichment"],
    }


def peak_mebibytes(verb: str, arguments: list[str]) -> float:
    """Run one verb and return the largest resident set of its process."""
    command = [sys.executable, "-m", "sci_interp", verb, *arguments]
    process = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{verb} failed: {' '.join(command)}")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Peak memory at n and at 10 n proteins")
    parser.add_argument("data", type=Path)
    parser.add_argument("--proteins", type=int, default=823)
    args = parser.parse_args()
    peaks: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for n_proteins in (WARM_UP, args.proteins, FACTOR * args.proteins):
            folder = Path(scratch) / str(n_proteins)
            write_subset(args.data, n_proteins, folder)
            peaks[n_proteins] = {
                verb: peak_mebibytes(verb, arguments)
                for verb, arguments in commands(folder).items()
            }
    sizes = (args.proteins, FACTOR * args.proteins)
    small, large = (peaks[size] for size in sizes)
    print(f"| verb | {' proteins, MiB | '.join(map(str, sizes))} proteins, MiB | ratio |")
    print("|---|---|---|---|")
    for verb, before in small.items():
        print(f"| {verb} | {before:.0f} | {large[verb]:.0f} | {large[verb] / before:.2f} |")


if __name__ == "__main__":
    main()
