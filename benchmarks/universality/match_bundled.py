"""Features of the bundled protein network across depth and seeds: results/MATCH.{md,csv}.

    python benchmarks/universality/match_bundled.py

Autoencoders are trained on blocks 4 and 8, two seeds each, and on block 4 of the network with
shuffled weights; every pair is matched on test blocks. Artefacts are kept in runs/universality.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

import sci_interp as si
from sci_interp.adapter import Adapter, Dataset

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "enrichment"))

from signature import sign  # noqa: E402 - a sibling folder, which is no package

COMMAND = "python benchmarks/universality/match_bundled.py"
LAYERS = ("blocks.4", "blocks.8")
FEATURES, K, N_TOKENS = 1024, 16, 600_000
#: Dictionaries: layer, seed of training, whether the network's weights are shuffled.
DICTIONARIES = {
    "block 4": ("blocks.4", 0, False),
    "block 4, another seed": ("blocks.4", 1, False),
    "block 8": ("blocks.8", 0, False),
    "block 8, another seed": ("blocks.8", 1, False),
    "block 4, shuffled weights": ("blocks.4", 0, True),
}
PAIRS = (
    ("block 4", "block 4, another seed"),
    ("block 8", "block 8, another seed"),
    ("block 4", "block 8"),
    ("block 8", "block 4"),
    ("block 4", "block 4, shuffled weights"),
)
SHARES = {
    "matched": "above its own null",
    "matched_pooled": "above the null of all",
    "matched_one_to_one": "one-to-one, above its own null",
    "beyond_random": "above random directions",
    "significant": "q <= 0.05",
    "mutual": "each other's best",
}
NOTES = """\
Correlations are medians over the features of A that vary on the test blocks, with the best of all
B's features, and with the partner of the best one-to-one assignment. Shares are of the same
features. *Null*: B's records exchanged between protein families of like length, 100 times; the 99 %
level of each feature, and of all features together (`level`). *Random directions*: the best of as
many directions of B's own activations, drawn at random with the same variances, and B's sparsity;
the level that 1 % of A's features exceed (`random level`).

The null says that two features see the same tokens for more than their position's sake. It does
not say that they are one: most features of any network that reads the same residues beat it, as the
last row shows, where B has learned nothing and sees but residues and their neighbours. Random
directions are the harder comparison.

The autoencoders are small and see few proteins many times ({distinct} tokens of training and
discovery blocks, {epochs:.0f} times each). How stable larger ones on more proteins are is not
measured here."""


def open_sources(
    plm: Adapter, data: Dataset, out: Path
) -> dict[tuple[str, bool], si.ActivationStore]:
    """Extract both layers, and block 4 of the shuffled network."""
    stores = si.extract(plm, data, layer=list(LAYERS), out=out / "activations")
    shuffled = si.extract(plm.shuffle_weights(0), data, layer=LAYERS[0], out=out / "shuffled")
    return {**{(layer, False): stores[layer] for layer in LAYERS}, (LAYERS[0], True): shuffled}


def match_pairs(out: Path) -> tuple[pd.DataFrame, list[str], si.Evaluation]:
    """Return one row per pair, the texts of the matches, and the report on block 4."""
    plm = si.load_adapter("protein")
    data = plm.open()
    sources = open_sources(plm, data, out)
    saes = {}
    for name, (layer, seed, shuffled) in DICTIONARIES.items():
        folder = out / f"sae-{layer}-{seed}{'-shuffled' if shuffled else ''}"
        saes[name] = si.train(
            sources[layer, shuffled],
            precision="bfloat16",
            features=FEATURES,
            k=K,
            seed=seed,
            n_tokens=N_TOKENS,
            out=folder,
        )
    acts = {name: sources[layer, hidden] for name, (layer, _, hidden) in DICTIONARIES.items()}
    rows, texts = [], []
    for number, (a, b) in enumerate(PAIRS):
        found = si.match(saes[a], saes[b], acts[a], acts_b=acts[b], out=out / f"match-{number}")
        rows.append({"A": a, "B": b, **summarise(found)})
        texts.append(f"{a} with {b}\n{found.format()}")
    report = si.evaluate(
        saes["block 4"],
        acts["block 4"],
        plm,
        dataset=data,
        others=[saes["block 4, another seed"]],
        out=out / "evaluation",
    )
    return pd.DataFrame(rows), texts, report


def summarise(found: si.FeatureMatch) -> dict[str, object]:
    """Return the numbers of one row."""
    summary = found.summary
    return {
        "features": summary["n_alive_a"],
        "best": found.table["correlation"].median(),
        "one-to-one": found.table["one_to_one_correlation"].median(),
        "level": summary["level"],
        "random level": summary["random_level"],
        **{title: summary[name] for name, title in SHARES.items()},
    }


def format_markdown(table: pd.DataFrame) -> str:
    """Return the table as Markdown."""
    lines = [f"| {' | '.join(table.columns)} |", "|" + "---|" * len(table.columns)]
    lines += [
        f"| {' | '.join(_cell(name, value) for name, value in row.items())} |"
        for row in table.to_dict("records")
    ]
    return "\n".join(lines)


def _cell(name: str, value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.1%}" if name in SHARES.values() else f"{value:.3f}"
    return str(value)


def main() -> None:
    """Match, print, and write the signed result."""
    parser = argparse.ArgumentParser(description="Match the bundled network's features")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "universality")
    args = parser.parse_args()
    started = time.monotonic()
    table, texts, report = match_pairs(args.out)
    seconds = time.monotonic() - started
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    table.to_csv(results / "MATCH.csv", index=False, float_format="%.4g", lineterminator="\n")
    network = si.load_adapter("protein").model.name
    blocks = "\n\n".join([*texts, report.format()])
    axis = si.ActivationStore.open(args.out / "shuffled").axis
    first, last = axis.token_range(["train", "discovery"])
    notes = NOTES.format(distinct=last - first, epochs=N_TOKENS / (last - first))
    made = (
        f"Made by `{COMMAND}`: {network}, its reference set, TopK autoencoders of {FEATURES} "
        f"features, k {K}, {N_TOKENS} training tokens each."
    )
    text = [
        "# Features across depth and seeds",
        "",
        made,
        "",
        *sign(seconds),
        "",
        format_markdown(table),
        "",
        notes,
        "",
        "```text",
        blocks,
        "```",
        "",
    ]
    (results / "MATCH.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
