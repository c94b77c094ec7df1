"""The pretraining corpus: crops, order and masking."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "pretraining"))
protein_corpus = pytest.importorskip("protein_corpus")

from sci_interp_protein.alphabet import CLS, EOS, MASK, PAD, STANDARD  # noqa: E402


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> protein_corpus.Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    with gzip.open(folder / "a.fasta.gz", "wt") as handle:
        for index in range(40):
            letters = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), int(rng.integers(20, 900))))
            handle.write(f">p{index}\n{letters}\n")
    return protein_corpus.read_corpus(folder / "a.fasta.gz", folder / "c.npz", held_out=0.2)[0]


def test_crops_lie_inside_one_protein_and_follow_from_the_seed(
    corpus: protein_corpus.Corpus,
) -> None:
    crops = corpus.crops(seed=1, epoch=2)
    assert (crops == corpus.crops(seed=1, epoch=2)).all()
    assert not (crops == corpus.crops(seed=1, epoch=3)).all()
    protein = np.searchsorted(corpus.starts, crops[:, 0], side="right") - 1
    assert (crops[:, 1] <= corpus.stops[protein]).all()
    assert set(protein) == set(range(len(corpus.starts)))


def test_a_short_protein_is_padded_and_whole(corpus: protein_corpus.Corpus) -> None:
    lengths = corpus.stops - corpus.starts
    index = int(lengths.argmin())
    crop = np.array([[corpus.starts[index], corpus.stops[index]]])
    tokens = corpus.batch(crop)[0].numpy()
    assert tokens[0] == CLS and tokens[lengths[index] - 1] == EOS
    assert (tokens[lengths[index] :] == PAD).all()


def test_masking_hides_the_stated_share_of_amino_acids_only(
    corpus: protein_corpus.Corpus,
) -> None:
    tokens = corpus.batch(corpus.crops(seed=0, epoch=0))
    masked, chosen, shown = protein_corpus.mask_tokens(
        tokens, 0.2, torch.Generator().manual_seed(0)
    )
    standard = torch.isin(tokens, torch.from_numpy(STANDARD))
    assert not (chosen & ~standard).any()
    assert (masked[shown] == MASK).all()
    assert torch.equal(masked[~chosen], tokens[~chosen])
    assert abs(chosen.sum() / standard.sum() - 0.2) < 0.02
    assert abs(shown.sum() / chosen.sum() - 0.8) < 0.05
