"""Train the bundled autoencoder on the pretraining corpus: corpus.fasta.gz -> folder of an SAE.

    python benchmarks/pretraining/protein_sae.py CORPUS.fasta.gz OUT

It draws proteins by a hash of their letters, streams the network's activations and stores none.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import tempfile
from pathlib import Path

from Bio.SeqIO.FastaIO import SimpleFastaParser

import sci_interp as si


def draw_proteins(corpus: Path, n_residues: int, out: Path) -> None:
    """Write a FASTA of proteins with the lowest hashes, about ``n_residues`` in all."""
    with gzip.open(corpus, "rt") as handle:
        sequences = {
            hashlib.sha256(sequence.encode()).hexdigest(): sequence
            for _, sequence in SimpleFastaParser(handle)
            if set(sequence) <= set("ACDEFGHIKLMNPQRSTVWYXBUZO")
        }
    total = 0
    lines, blocks = [], ["cluster\tprotein_id"]
    for digest in sorted(sequences):
        name = digest[:16]
        lines.append(f">{name}\n{sequences[digest]}\n")
        blocks.append(f"{name}\t{name}")
        total += len(sequences[digest])
        if total >= n_residues:
            break
    (out / "sample.fasta").write_text("".join(lines))
    (out / "clusters.tsv").write_text("\n".join(blocks) + "\n")


def main() -> None:
    """Train with the settings of the bundled autoencoder."""
    parser = argparse.ArgumentParser(description="Train the bundled autoencoder")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--residues", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--n-tokens", type=int, default=3_000_000)
    args = parser.parse_args()
    plm = si.load_adapter("protein")
    with tempfile.TemporaryDirectory() as folder:
        draw_proteins(args.corpus, args.residues, Path(folder))
        data = plm.open(Path(folder) / "sample.fasta", clusters=Path(folder) / "clusters.tsv")
        shares = {"train": 0.9, "discovery": 0.0, "test": 0.1, "vault": 0.0}
        source = si.extract(
            plm, data, layer=plm.default_layer, out=Path(folder) / "acts", fractions=shares
        )
        sae = si.train(
            source,
            precision="bfloat16",
            features=args.features,
            k=args.k,
            n_tokens=args.n_tokens,
            splits=("train",),
            out=args.out,
        )
        print(si.fidelity(sae, source, splits=("test",)))


if __name__ == "__main__":
    main()
