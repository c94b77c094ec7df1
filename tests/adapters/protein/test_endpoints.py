"""The masked loss per protein, and an intervention on it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sci_interp.adapter import Measurable
from sci_interp.causal import intervene
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.sae import SparseAutoencoder
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.sparsity import sparsity_of
from sci_interp.sae.weights import Weights
from sci_interp_protein import ProteinAdapter
from sci_interp_protein.records import ProteinDataset

LAYER = "blocks.1"


def random_autoencoder(width: int, n_features: int = 32) -> SparseAutoencoder:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(n_features, width, generator=draw)
    rows /= rows.norm(dim=1, keepdim=True)
    zeros = torch.zeros(width)
    return SparseAutoencoder(
        weights=Weights(rows, torch.zeros(n_features), rows.clone(), zeros),
        sparsity=sparsity_of("topk", 8),
        normalisation=Normalisation("scale", zeros, zeros, torch.ones(width)),
        scale=np.ones(n_features, np.float32),
        firing_rate=np.full(n_features, 0.25, np.float32),
    )


def test_endpoints_are_the_loss_per_hidden_residue(bytenet_folder, make_proteins):
    adapter, data = (
        ProteinAdapter(str(bytenet_folder), window=80, overlap=40),
        make_proteins(150, 9),
    )
    assert isinstance(adapter, Measurable)
    assert set(adapter.endpoints(data)) == {"masked_loss"}
    found = list(adapter.measure(data, ["P1", "P0"], LAYER, None))
    assert [record for record, _ in found] == ["P1", "P0"]
    for record, values in found:
        loss = adapter.loss(data, [record], LAYER, None)
        assert values["masked_loss"] == pytest.approx(loss.total / loss.n_tokens, rel=1e-5)


def test_a_replacement_by_the_same_changes_no_bit(bytenet_folder, make_proteins):
    adapter, data = ProteinAdapter(str(bytenet_folder)), make_proteins(40, 60)
    plain, same, zero = (
        dict(adapter.measure(data, ["P0", "P1"], LAYER, fn))
        for fn in (None, lambda values: values, torch.zeros_like)
    )
    assert plain == same
    assert plain["P0"] != zero["P0"]


def test_a_protein_without_a_residue_to_hide_has_no_loss(bytenet_folder):
    adapter = ProteinAdapter(str(bytenet_folder))
    data = ProteinDataset({"P": "XXBUZO"}, {"P": "P"})
    ((_, values),) = adapter.measure(data, ["P"], LAYER, None)
    assert math.isnan(values["masked_loss"])


def test_wrong_layers_and_records_of_measurements_are_named(bytenet_folder, make_proteins):
    adapter, data = ProteinAdapter(str(bytenet_folder)), make_proteins(40)
    with pytest.raises(UnknownNameError, match=r"no layer 'blocks\.9'"):
        list(adapter.measure(data, ["P0"], "blocks.9", None))
    with pytest.raises(UnknownNameError, match="'P9'"):
        list(adapter.measure(data, ["P9"], LAYER, None))


def test_a_checkpoint_without_a_head_has_no_endpoint(esm2_folder, tmp_path, make_proteins):
    import transformers

    trunk = transformers.EsmModel.from_pretrained(esm2_folder, add_pooling_layer=False)
    trunk.save_pretrained(tmp_path / "trunk")
    adapter, data = ProteinAdapter(str(tmp_path / "trunk")), make_proteins(9)
    assert adapter.endpoints(data) == {}
    with pytest.raises(InputError, match="without its language-model head"):
        list(adapter.measure(data, ["P0"], adapter.default_layer, None))


def test_a_feature_of_a_protein_network_is_scaled(bytenet_folder, make_proteins):
    adapter, data = ProteinAdapter(str(bytenet_folder)), make_proteins(*range(30, 42))
    found = intervene(
        adapter,
        data,
        random_autoencoder(24),
        feature=3,
        layer=LAYER,
        records=list(data.sequences),
        coefficients=(-1.0, 8.0),
        progress=False,
    )
    effects = found.effects.set_index("coefficient")
    assert (effects["floor"] == 0).all()
    assert (effects["n_blocks"] == 12).all()
    sizes = found.measured.pivot_table(
        index="record", columns=["arm", "coefficient", "control"], values="value"
    )
    change = (sizes["feature"] - sizes["untouched"].to_numpy()).abs().mean()
    assert change.loc[8.0].item() > change.loc[-1.0].item() > 0
