"""Tiny random networks and proteins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sci_interp.hooks import declare_torchvision_operators
from sci_interp_protein.alphabet import AMINO_ACIDS, MASK, PAD, VOCABULARY
from sci_interp_protein.bytenet import ByteNet, ByteNetConfig
from sci_interp_protein.records import ProteinDataset

# Checkpoints are made with transformers itself, which may lie beside a torchvision for CUDA.
declare_torchvision_operators()


def random_sequence(n_residues: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    return "M" + "".join(rng.choice(list(AMINO_ACIDS), n_residues - 1))


@pytest.fixture(scope="session")
def make_proteins():
    """Return a maker of datasets: record P0, P1 ... of the lengths given."""

    def make(*lengths: int) -> ProteinDataset:
        sequences = {f"P{i}": random_sequence(n, i) for i, n in enumerate(lengths)}
        return ProteinDataset(sequences, {record: record for record in sequences})

    return make


@pytest.fixture(scope="session")
def bytenet_folder(tmp_path_factory) -> Path:
    """A small dilated-convolution network; its reach is 2 * (1 + 2 + 4 + 1) = 16."""
    folder = tmp_path_factory.mktemp("bytenet") / "tiny-bytenet"
    folder.mkdir()
    torch.manual_seed(0)
    config = ByteNetConfig(width=24, bottleneck=16, n_blocks=4, max_dilation=4)
    model = ByteNet(config)
    for tensor in model.parameters():
        torch.nn.init.normal_(tensor, std=0.3)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "bytenet", **config.to_dict(), "steps": 0})
    )
    return folder


@pytest.fixture(scope="session")
def esm2_folder(tmp_path_factory) -> Path:
    """A small random ESM-2."""
    transformers = pytest.importorskip("transformers")
    config = transformers.EsmConfig(
        vocab_size=len(VOCABULARY),
        mask_token_id=MASK,
        pad_token_id=PAD,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        initializer_range=0.3,
    )
    return save_model(transformers.EsmForMaskedLM, config, tmp_path_factory.mktemp("esm2"))


@pytest.fixture(scope="session")
def esmc_folder(tmp_path_factory) -> Path:
    """A small random ESM C, its heads 64 channels wide as in every ESM C."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "EsmcForMaskedLM"):
        pytest.skip(f"transformers {transformers.__version__} has no ESM C")
    config = transformers.EsmcConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=2,
        initializer_range=0.1,
    )
    return save_model(transformers.EsmcForMaskedLM, config, tmp_path_factory.mktemp("esmc"))


def save_model(kind, config, folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "tiny"
    kind(config).save_pretrained(path)
    return path
