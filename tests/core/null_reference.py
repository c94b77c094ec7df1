"""What the nulls score, by brute force over sets of positions; bits as the kernels keep them."""

from __future__ import annotations

import numpy as np

from sci_interp.enrichment.draws import count_exceedances, shuffle_strata
from sci_interp.enrichment.positions import active_positions
from sci_interp.enrichment.swap_null import exchange_table, map_run

N_DRAWS = 20_000


def to_words(mask):
    """Return the words of an activity from a mask over known coordinates."""
    n_words = len(mask) // 64 + 1
    bits = np.zeros(64 * n_words, np.uint8)
    bits[: len(mask)] = mask
    words = np.packbits(bits, bitorder="little").view(np.uint64)
    before = np.append(0, np.cumsum(bits.reshape(n_words, 64).sum(1)))[:-1].astype(np.uint64)
    return np.stack([words, before], axis=1)


def exchange_scores(activity, units, runs, label):
    """Return U of every family's feature track against every family's label track."""
    active = set(active_positions(activity, 0, units.start[-1]).tolist())
    n_families = len(units.first) - 1
    table = np.zeros((n_families, n_families))
    for own in range(n_families):
        for other in range(n_families):
            sources = np.arange(units.first[other], units.first[other + 1])
            for at, record in enumerate(range(units.first[own], units.first[own + 1])):
                source = sources[at % len(sources)]
                origin, n_to = units.start[record], units.start[record + 1] - units.start[record]
                n_from = units.start[source + 1] - units.start[source]
                n_active = sum(origin + place in active for place in range(n_to))
                both, covered = 0, 0
                for run in range(runs.record[label, source], runs.record[label, source + 1]):
                    edges = runs.start[run], runs.stop[run]
                    low, high = map_run(
                        *(edge - units.start[source] for edge in edges), n_from, n_to
                    )
                    both += sum(origin + place in active for place in range(low, high))
                    covered += high - low
                table[own, other] += units.weight[record] * (both - n_active * covered / n_to)
    return table


def share_of_exchanges(activity, units, runs, label, seed):
    """Return the share of drawn exchanges that reach the observed statistic."""
    counts = np.zeros(2, np.int64)
    deck = shuffle_strata(units, np.uint64(seed), 0, N_DRAWS)
    table = exchange_table(activity, units, runs, label)
    count_exceedances(table, deck, N_DRAWS + 1, counts)
    assert counts[1] == N_DRAWS
    return counts[0] / N_DRAWS
