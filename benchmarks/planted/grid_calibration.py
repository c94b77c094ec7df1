"""How often tests link a feature and a label on a grid that have nothing to do with each other.

python benchmarks/planted/grid_calibration.py

Trials are appended to results/GRID_CALIBRATION.csv as they end, and those found there are not made
again; the table is results/GRID_CALIBRATION.md. A trial follows from the seed and its number alone.

All tests but the chi-square are one-sided, for more overlap than by chance. The permutation of
tokens is exact: with infinitely many draws its p is a tail of the hypergeometric distribution.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from grid_fields import (
    FEATURE_PREVALENCE,
    LABEL_PREVALENCE,
    SCENARIOS,
    Layout,
    Scenario,
    Tracks,
    World,
    build_world,
)
from scipy.sparse import csr_array
from scipy.stats import binomtest, chi2_contingency, hypergeom, multivariate_normal, norm

from sci_interp.enrichment.entries import read_entries
from sci_interp.enrichment.permutations import PermutationTest, permute_pairs
from sci_interp.enrichment.scores import PairList, score_pairs
from sci_interp.enrichment.tracks import read_labels
from sci_interp.schema import BIN_FLOORS

__all__ = ["TESTS", "expected_rate", "format_report", "rates", "run_trial", "run_trials"]

RESULTS = Path(__file__).parent / "results"
MEMORIES = (0.90, 0.97)
LEVEL = 0.05
#: Levels at which the default test is shown besides.
LEVELS = (0.01, 0.05, 0.10, 0.20)
#: Draws of the permutations of steps, and of the default test at most (its own default).
N_STEP_DRAWS, N_DRAWS = 399, 4_000
#: Steps that are permuted together.
RUNS = (1, 10, 40)
#: Columns of p, and what they are called in the tables.
TESTS = {
    "chi_square": "chi-square on tokens",
    "tokens": "permuted tokens",
    "steps_1": "permuted steps",
    "steps_10": "permuted runs of 10 steps",
    "steps_40": "permuted runs of 40 steps",
    "block_t": "t over blocks (the screen)",
    "local": "local null: columns shifted",
    "swap": "swap null: blocks exchanged",
    "joint": "joint null: blocks with the label exchanged",
    "default": "**default: all three nulls**",
}
KEY = ("seed", "scenario", "memory", "trial")


def p_of_tokens(tracks: Tracks) -> dict[str, float]:
    """Return p of the chi-square test and of permuted tokens."""
    n, active, labelled = tracks.label.size, tracks.feature.sum(), tracks.label.sum()
    both = int((tracks.feature & tracks.label).sum())
    table = np.array([[both, active - both], [labelled - both, n - active - labelled + both]])
    found = chi2_contingency(table, correction=False)
    tail = hypergeom.sf(both - 1, n, active, labelled)
    return {"chi_square": float(found.pvalue), "tokens": float(tail)}


def p_of_steps(
    tracks: Tracks, n_in_block: int, random: np.random.Generator, n_draws: int
) -> dict[str, float]:
    """Return p of permuted steps and runs of steps, by the overlap of every step with every.

    Parameters
    ----------
    tracks
        Steps of a block are neighbours.
    n_in_block
        Steps of every block; runs of steps divide it.
    random, n_draws
        Stream and number of permutations.
    """
    overlap = (csr_array(tracks.feature.astype(np.int32)) @ csr_array(tracks.label).T).toarray()
    found = {}
    for length in RUNS:
        if n_in_block % length:
            continue
        n_runs = len(overlap) // length
        run = overlap.reshape(n_runs, length, n_runs, length).trace(axis1=1, axis2=3)
        order = random.permuted(np.tile(np.arange(n_runs), (n_draws, 1)), axis=1)
        drawn = run[np.arange(n_runs), order].sum(axis=1)
        found[f"steps_{length}"] = float((1 + (drawn >= run.trace()).sum()) / (1 + n_draws))
    return found


def p_of_blocks(world: World, seed: int, n_draws: int) -> dict[str, float]:
    """Return p of the product's own test: its nulls, their maximum, and the screen's t."""
    tracks = read_labels(world.known.axis, world.known, "discovery", 0)
    zero = np.zeros(1, np.int64)
    entries = read_entries(
        world.features,
        tracks,
        chosen=zero,
        lowest_bin=np.zeros(1, np.uint8),
        n_entries=np.array([world.tracks.feature.sum()]),
        floors=BIN_FLOORS,
    )
    pairs = PairList(zero, zero, zero)
    test = PermutationTest(n_draws, seed, direction=0, level=1.0, n_threads=1)
    found = permute_pairs(entries, tracks, pairs, group=0, test=test)
    nulls = {name: float(p[0]) for name, p in found._asdict().items()}
    robust = score_pairs(entries, tracks, pairs, n_threads=1)
    return {"block_t": float(robust.p[0]), **nulls, "default": max(nulls.values())}


def run_trial(
    layout: Layout,
    scenario: Scenario,
    memory: float,
    seeds: Sequence[int],
    *,
    n_draws: int = N_DRAWS,
    n_step_draws: int = N_STEP_DRAWS,
) -> dict[str, float]:
    """Return the p of every test in one world; ``seeds`` name the world."""
    random = np.random.default_rng(seeds)
    world = build_world(layout, scenario, memory, random)
    n_in_block = layout.axis.n_records // (len(layout.axis.block_starts) - 1)
    return {
        **p_of_tokens(world.tracks),
        **p_of_steps(world.tracks, n_in_block, random, n_step_draws),
        **p_of_blocks(world, int(random.integers(2**62)), n_draws),
    }


def run_trials(
    path: Path, layout: Layout, scenarios: Sequence[Scenario], *, seed: int, most: int, **draws: int
) -> pd.DataFrame:
    """Make the trials that a file lacks, append them, and return all of them.

    Parameters
    ----------
    path
        The file; a last row that was cut short is dropped.
    layout, scenarios
        The worlds.
    seed
        Seed of all trials.
    most
        Trials of a scenario and memory at most.
    draws
        Numbers of draws, as for a trial.
    """
    columns = [*KEY, *TESTS, "seconds"]
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n") and line.count(",") + 1 == len(columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(whole or [",".join(columns) + "\n"]))
    done = {tuple(row[:4]) for row in csv.reader(whole[1:])}
    with path.open("a") as handle:
        for trial in range(min(most, max(scenario.n_trials for scenario in scenarios))):
            for number, scenario in enumerate(scenarios):
                for memory in MEMORIES if trial < scenario.n_trials else ():
                    key = (str(seed), scenario.name, f"{memory:.2f}", str(trial))
                    if key in done:
                        continue
                    seeds = (seed, number, round(100 * memory), trial)
                    started = time.monotonic()
                    p = run_trial(layout, scenario, memory, seeds, **draws)
                    cells = [f"{p[name]:.4g}" if name in p else "" for name in TESTS]
                    seconds = f"{time.monotonic() - started:.2f}"
                    handle.write(",".join([*key, *cells, seconds]) + "\n")
                    handle.flush()
    table = pd.read_csv(path)
    return table[table["seed"] == seed].reset_index(drop=True)


def rates(table: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Return how often each test fires, with 95 % intervals (Clopper & Pearson 1934).

    Columns ``scenario, memory, test, n_trials, rate, low, high``.
    """
    rows = []
    for (scenario, memory), part in table.groupby(["scenario", "memory"], sort=False):
        for test in TESTS:
            p = part[test].dropna()
            if len(p) == 0:
                continue
            fired = int((p <= level).sum())
            interval = binomtest(fired, len(p)).proportion_ci(0.95, method="exact")
            share = (fired / len(p), interval.low, interval.high)
            rows.append((scenario, memory, test, len(p), *share))
    names = ["scenario", "memory", "test", "n_trials", "rate", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def _format_table(found: pd.DataFrame, scenarios: Sequence[Scenario]) -> list[str]:
    """Return a table with a test in each row, and a column per scenario and memory."""
    names = [scenario.name for scenario in scenarios]
    chosen = found[found["scenario"].isin(names)]
    heads = list(dict.fromkeys(zip(chosen["scenario"], chosen["memory"], strict=True)))
    cells = chosen.set_index(["scenario", "memory", "test"])
    size = {head: int(cells.loc[(*head, "default"), "n_trials"]) for head in heads}
    titles = [f"{head[0]}, AR {head[1]:.2f} (n = {size[head]})" for head in heads]
    lines = ["| test | " + " | ".join(titles) + " |", "|---" * (1 + len(heads)) + "|"]
    for test, title in TESTS.items():
        row = [title]
        for head in heads:
            if (*head, test) in cells.index:
                cell = cells.loc[(*head, test)]
                row.append(f"{cell['rate']:.1%} ({cell['low']:.1%}-{cell['high']:.1%})")
        if len(row) > 1:
            lines.append("| " + " | ".join(row) + " |")
    return [*lines, ""]


def expected_rate(n_exchanged: int, level: float = LEVEL) -> float:
    """Return how often local and swap null fire together: normal scores, and each null exact.

    A label track that is exchanged among n blocks stays where it is in 1 of n draws, and the mean
    over all exchanges, which the shifts do not know, shares that much with the observed score. The
    two standardised scores therefore correlate by ``sqrt(1 - 1 / n)``.
    """
    correlation = np.sqrt(1 - 1 / n_exchanged)
    limit = np.full(2, norm.ppf(level))
    return float(multivariate_normal.cdf(limit, cov=[[1, correlation], [correlation, 1]]))


def _format_levels(table: pd.DataFrame, scenarios: Sequence[Scenario]) -> list[str]:
    """Return a table of how often the default test and its nulls fire at other levels."""
    chosen = table[table["scenario"].isin([scenario.name for scenario in scenarios])]
    lines = [
        "| scenario | test | " + " | ".join(f"at {level:.0%}" for level in LEVELS) + " |",
        "|---" * (2 + len(LEVELS)) + "|",
    ]
    keys = ["scenario", "memory", "test"]
    found = [rates(chosen, level).set_index(keys)["rate"] for level in LEVELS]
    for case in found[0].index:
        if case[2] in ("local", "swap", "default"):
            cells = " | ".join(f"{rate[case]:.1%}" for rate in found)
            lines.append(f"| {case[0]}, AR {case[1]:.2f} | {TESTS[case[2]]} | {cells} |")
    return [*lines, ""]


def _explain(layout: Layout) -> list[str]:
    """Return why the default test fires below its level."""
    records = layout.axis.records
    n_exchanged = int(records.groupby("exchange")["block"].nunique().median())
    others = ", ".join(f"{expected_rate(n):.1%} among {n}" for n in (3, 12, 40))
    here = f"{expected_rate(n_exchanged):.1%} among the {n_exchanged} blocks here"
    return [
        "The default test asks for all nulls, so it fires less often than each. Where every block",
        "has the label, the joint null is the swap null. An exchange among n blocks of a season",
        "correlates with a shift by sqrt(1 - 1 / n): exact nulls of normal scores would fire",
        f"together in {here} ({others}).",
        "",
    ]


def format_report(
    table: pd.DataFrame, layout: Layout, scenarios: Sequence[Scenario], signature: Sequence[str]
) -> str:
    """Return the report as Markdown."""
    found = rates(table)
    apart = [s for s in scenarios if not s.linked and s.profile == "none"]
    confounded = [s for s in scenarios if s.profile in ("season and latitude", "map")]
    worlds = (
        f"- worlds: {layout.n_rows} x {layout.n_columns} cells, {layout.axis.n_records} six-hourly "
        f"steps in {layout.n_blocks} blocks of {layout.block_days} days, of which the last "
        f"{layout.gap_days} are left out; blocks are exchanged inside seasons; correlation length "
        f"{layout.length:g} cells; AR(1) from step to step; feature at {FEATURE_PREVALENCE:.0%}, "
        f"label at {LABEL_PREVALENCE:.0%} of the cells"
    )
    text = [
        "# False positives on smooth fields",
        "",
        "```sh",
        "OMP_NUM_THREADS=1 python benchmarks/planted/grid_calibration.py",
        "```",
        "",
        *signature,
        worlds,
        f"- a test fires where p <= {LEVEL:g}; in brackets the exact 95 % interval of the rate",
        "- all tests but the chi-square are one-sided, for more overlap than by chance",
        "- every trial: `GRID_CALIBRATION.csv`",
        "",
        "## Nothing shared",
        "",
        f"A feature and a label from independent fields: a test should fire in {LEVEL:.0%}.",
        "",
        *_format_table(found, apart),
        *_format_levels(table, apart),
        *_explain(layout),
        "## Shared profile, no link",
        "",
        "Both fields have the same mean: a storm track that is strong in winter, or a random map",
        "that stays. The local null keeps season and latitude, the swap null keeps the map; only",
        "the two together keep both.",
        "",
        *_format_table(found, confounded),
        "## Limit: a shared map that changes inside a season",
        "",
        "Months of one season are exchanged with each other. A map that both share and that is",
        "stronger in some months than in others (`map by month`) is then taken for a link; one",
        "that changes from season to season alone (`map by season`) is not. Blocks of whole",
        "seasons, which are the weather adapter's default, exchange like with like.",
        "",
        *_format_table(
            found, [s for s in scenarios if s.profile in ("map by season", "map by month")]
        ),
        "## Linked",
        "",
        "The fields correlate by the number given; each of these is to be found.",
        "",
        *_format_table(found, [s for s in scenarios if s.linked]),
    ]
    return "\n".join(text)


def main() -> None:
    """Make all trials and write the report."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "enrichment"))
    from signature import sign

    parser = argparse.ArgumentParser(description="Measure false positives on smooth fields")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=10**6, help="trials of a case at most")
    args = parser.parse_args()
    layout = Layout()
    path = args.out / "GRID_CALIBRATION.csv"
    table = run_trials(path, layout, SCENARIOS, seed=args.seed, most=args.most)
    seconds = table["seconds"].sum()
    signature = [*sign(seconds)[:-1], f"- {len(table)} trials, {seconds:.0f} s on one core in all"]
    report = format_report(table, layout, SCENARIOS, signature)
    (args.out / "GRID_CALIBRATION.md").write_text(report)
    print(report)


if __name__ == "__main__":
    main()
