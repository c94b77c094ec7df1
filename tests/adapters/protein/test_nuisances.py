from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sci_interp_protein.alphabet import AMINO_ACIDS, RESIDUES
from sci_interp_protein.labels import RESIDUE_CLASSES
from sci_interp_protein.nuisances import (
    IDENTITY,
    NEIGHBOURS,
    NUISANCES,
    POSITION,
    nuisance_codes,
)
from sci_interp_protein.windows import BACKGROUND, REACH, describe_residue_windows


def expected(sequence: str) -> set[tuple[int, str]]:
    """State every nuisance in words, token by token."""
    n = len(sequence)
    found = set()
    for at, letter in enumerate(sequence):
        before = sequence[at - 1] if at else "X"
        standard = letter in AMINO_ACIDS
        names = [f"amino_acid={letter if standard else 'X'}"]
        names += [f"kmer={before}{letter}"] * (standard and before in AMINO_ACIDS)
        names += [
            f"residue_class={k}" for k, members in RESIDUE_CLASSES.items() if letter in members
        ]
        for offset in (-4, -3, -2, -1, 1, 2, 3, 4):
            other = sequence[at + offset] if 0 <= at + offset < n else "X"
            names += [f"amino_acid={other} at {offset:+d}"] * (other in AMINO_ACIDS)
        names += [f"position:first {m}" for m in (5, 10, 20, 40) if at < m]
        names += [f"position:last {m}" for m in (5, 10, 20, 40) if n - 1 - at < m]
        names += [f"position:decile {10 * at // n + 1}"]
        names += ["position:start methionine"] * (at == 0 and letter == "M")
        found |= {(at, name) for name in names}
    return found


@given(st.text(alphabet=RESIDUES, min_size=1, max_size=120))
def test_codes_say_what_their_names_say(sequence):
    token, feature = nuisance_codes(sequence)
    assert {(int(t), NUISANCES.names[f]) for t, f in zip(token, feature, strict=True)} == expected(
        sequence
    )
    key = token * len(NUISANCES.names) + feature
    assert (np.diff(key) > 0).all()


def test_names_are_unique_and_families_split_them():
    assert len(set(NUISANCES.names)) == len(NUISANCES.names) == len(NUISANCES.families)
    for name, family in zip(NUISANCES.names, NUISANCES.families, strict=True):
        cheap = NEIGHBOURS if " at " in name else IDENTITY
        assert family == (POSITION if name.startswith("position") else cheap)


def sequence_of(n: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    return "".join(rng.choice(list(AMINO_ACIDS), n, p=BACKGROUND / BACKGROUND.sum()))


def test_unrelated_windows_have_cosine_zero_on_average():
    left = describe_residue_windows(sequence_of(3000, 0), np.arange(3000))
    right = describe_residue_windows(sequence_of(3000, 1), np.arange(3000))
    cosine = (left * right).sum(axis=1)
    assert abs(cosine.mean()) < 3 * cosine.std() / np.sqrt(3000 / (2 * REACH + 1))


def test_windows_resemble_by_shared_residues_and_more_near_the_token():
    base = sequence_of(11, 2)

    def similarity(other):
        pair = [describe_residue_windows(s, np.array([REACH]))[0] for s in (base, other)]
        return float(pair[0] @ pair[1])

    def change(at):
        letter = "W" if base[at] != "W" else "C"
        return base[:at] + letter + base[at + 1 :]

    assert similarity(base) == pytest.approx(1)
    assert similarity(change(REACH)) < similarity(change(0)) < 1


@given(st.text(alphabet=RESIDUES, min_size=1, max_size=30))
def test_descriptors_are_unit_rows_or_zero(sequence):
    tokens = np.arange(len(sequence))
    found = describe_residue_windows(sequence, tokens)
    assert found.shape == (len(sequence), 20 * (2 * REACH + 1))
    length = np.linalg.norm(found, axis=1)
    empty = [
        not set(sequence[max(0, t - REACH) : t + REACH + 1]) & set(AMINO_ACIDS) for t in tokens
    ]
    np.testing.assert_allclose(length, np.where(empty, 0.0, 1.0), atol=1e-6)


def test_position_in_the_chain_does_not_matter():
    sequence = sequence_of(60, 3)
    inner = describe_residue_windows(sequence, np.array([30]))
    moved = describe_residue_windows(sequence[10:], np.array([20]))
    np.testing.assert_array_equal(inner, moved)
