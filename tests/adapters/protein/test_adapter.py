from __future__ import annotations

import gzip
import subprocess
import sys

import numpy as np
import pytest
import torch

from sci_interp.adapter import Adapter
from sci_interp.errors import InputError, UnknownNameError
from sci_interp.testing import check_adapter
from sci_interp_protein.adapter import ProteinAdapter
from sci_interp_protein.alphabet import AMINO_ACIDS
from sci_interp_protein.models import load_network
from sci_interp_protein.passes import PassSettings, run_layers
from sci_interp_protein.records import ProteinDataset

LENGTHS = (40, 7, 121, 1, 64)


@pytest.fixture(params=["bytenet_folder", "esm2_folder", "esmc_folder"])
def folder(request):
    return request.getfixturevalue(request.param)


def run(adapter, dataset, records=None, layer=None):
    layer = layer or adapter.default_layer
    found = adapter.activations(dataset, records or list(dataset.sequences), [layer])
    return {item.record: item.values[layer] for item in found}


def relative_error(left, right):
    return float(np.linalg.norm(left - right) / np.linalg.norm(right))


@pytest.fixture
def annotated(tmp_path):
    fasta = tmp_path / "some.fasta.gz"
    text = (
        ">sp|P12345|FIRST_X\nMKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ\n>other thing\nMSTNPKPQRKTKRNTNRR\n"
    )
    fasta.write_bytes(gzip.compress(text.encode()))
    features = tmp_path / "features.tsv"
    features.write_text("protein_id\tfeature\tstart\tend\tnote\nP12345\tHELIX\t3\t9\t\n")
    clusters = tmp_path / "clusters.tsv"
    clusters.write_text("P12345\tP12345\nP12345\tother\n")
    return {"path": fasta, "features": features, "clusters": clusters}


def test_every_law_of_the_protocol_holds(folder, annotated):
    adapter = ProteinAdapter(str(folder))
    assert isinstance(adapter, Adapter)
    check_adapter(adapter, adapter.open(**annotated))


def test_open_reads_sequences_features_and_clusters(bytenet_folder, annotated):
    adapter = ProteinAdapter(str(bytenet_folder))
    data = adapter.open(**annotated)
    assert data.table["block"].tolist() == ["P12345", "P12345"]
    found = {item.record: item for item in adapter.annotate(data, ["other", "P12345"])}
    assert list(found) == ["other", "P12345"]
    assert ("HELIX", "3-9", 2, 9) in found["P12345"].runs
    view = adapter.view(data, "P12345")
    assert (view.title, view.symbols[:3]) == ("P12345 · FIRST_X", ("M", "K", "T"))
    assert view.link == "https://www.uniprot.org/uniprotkb/P12345"
    assert adapter.view(data, "other").link == ""
    assert adapter.token_coordinates(data, "other")["residue"].tolist() == list(range(1, 19))


def test_open_refuses_what_it_does_not_know(bytenet_folder, annotated):
    adapter = ProteinAdapter(str(bytenet_folder))
    with pytest.raises(UnknownNameError, match=r"no option of protein data 'feature'.*'features'"):
        adapter.open(annotated["path"], feature="x.tsv")
    with pytest.raises(InputError, match="features was given without sequences"):
        adapter.open(features=annotated["features"])
    with pytest.raises(InputError, match="clusters is 3"):
        adapter.open(annotated["path"], clusters=3)


def test_features_of_other_proteins_are_refused(bytenet_folder, annotated, tmp_path):
    strangers = tmp_path / "strangers.tsv"
    strangers.write_text("protein_id\tfeature\tstart\tend\tnote\nQ99999\tHELIX\t3\t9\t\n")
    with pytest.raises(InputError, match=r"strangers\.tsv"):
        ProteinAdapter(str(bytenet_folder)).open(**annotated | {"features": strangers})


def test_activations_are_those_of_a_plain_forward_pass(folder, make_proteins):
    adapter = ProteinAdapter(str(folder), precision="float32")
    data = make_proteins(*LENGTHS)
    found = run(adapter, data)
    network = adapter._network
    for record, sequence in data.sequences.items():
        vocabulary = network.vocabulary
        row = [vocabulary.cls, *vocabulary.encode(sequence), vocabulary.eos]
        kept = {}
        module = network.root.get_submodule(adapter.default_layer)
        handle = module.register_forward_hook(
            lambda _m, _i, out, kept=kept: kept.update(x=out[0] if isinstance(out, tuple) else out)
        )
        with torch.inference_mode():
            network.run(torch.tensor([row]))
        handle.remove()
        wanted = kept["x"][0, 1:-1].numpy()
        np.testing.assert_allclose(found[record], wanted, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("budget", [1, 50, 100_000])
def test_batching_does_not_change_the_result(folder, make_proteins, budget):
    data = make_proteins(*LENGTHS)
    whole = run(ProteinAdapter(str(folder), precision="float32"), data)
    other = run(ProteinAdapter(str(folder), precision="float32", tokens_per_batch=budget), data)
    for record, values in whole.items():
        np.testing.assert_allclose(other[record], values, atol=2e-4, rtol=1e-3)


def test_bfloat16_is_close_to_float32(folder, make_proteins):
    data = make_proteins(*LENGTHS)
    exact = run(ProteinAdapter(str(folder), precision="float32"), data)
    fast_adapter = ProteinAdapter(str(folder))
    assert fast_adapter.model.dtype == "bfloat16"
    for record, values in run(fast_adapter, data).items():
        assert values.dtype == np.float32
        assert relative_error(values, exact[record]) < 0.03


def test_bfloat16_is_independent_of_padding(folder, make_proteins):
    data = make_proteins(*LENGTHS)
    adapter = ProteinAdapter(str(folder))
    together = run(adapter, data)
    for record, values in together.items():
        assert relative_error(run(adapter, data, [record])[record], values) < 0.03


def test_convolutional_windows_equal_the_full_pass(bytenet_folder, make_proteins):
    """With an overlap of twice the network's reach, every kept residue sees all it would see."""
    data = make_proteins(300)
    plain = ProteinAdapter(str(bytenet_folder), precision="float32")
    reach = plain._network.reach
    full = run(plain, data)["P0"]
    cut = ProteinAdapter(str(bytenet_folder), precision="float32", window=80, overlap=2 * reach + 1)
    np.testing.assert_allclose(run(cut, data)["P0"], full, atol=1e-4, rtol=1e-4)
    bare = ProteinAdapter(str(bytenet_folder), precision="float32", window=80, overlap=0)
    wrong = np.abs(run(bare, data)["P0"] - full).max(axis=1) > 1e-3
    starts = [0, 73, 147, 220]
    near = np.zeros(300, bool)
    for start in starts[1:]:
        near[start - 20 : start + 27] = True
    assert wrong.any()
    assert not wrong[~near].any()


def test_overlap_brings_attention_closer_to_the_full_pass(esm2_folder, make_proteins):
    data = make_proteins(300)
    full = run(ProteinAdapter(str(esm2_folder), precision="float32"), data)["P0"]

    def error(overlap):
        adapter = ProteinAdapter(str(esm2_folder), precision="float32", window=150, overlap=overlap)
        return relative_error(run(adapter, data)["P0"], full)

    errors = [error(overlap) for overlap in (0, 50, 120)]
    assert errors[2] < errors[0]
    assert max(errors) < 0.6


def test_each_record_once_whatever_is_asked(bytenet_folder, make_proteins):
    adapter = ProteinAdapter(str(bytenet_folder), window=30, overlap=10)
    data = make_proteins(*LENGTHS)
    found = list(adapter.activations(data, ["P2", "P0", "P2"], ["embed", "norm", "embed"]))
    assert sorted(item.record for item in found) == ["P0", "P2"]
    assert all(set(item.values) == {"embed", "norm"} for item in found)


def test_unknown_layer_and_record(bytenet_folder, make_proteins):
    adapter = ProteinAdapter(str(bytenet_folder))
    data = make_proteins(5)
    with pytest.raises(UnknownNameError, match=r"no layer 'block.0'.*Allowed: .*Did you mean"):
        list(adapter.activations(data, ["P0"], ["block.0"]))
    with pytest.raises(UnknownNameError, match="no layer"):
        adapter.loss(data, ["P0"], "block.0", None)
    with pytest.raises(UnknownNameError, match="no record 'P9'"):
        list(adapter.activations(data, ["P9"], ["embed"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "float16"}, "unknown precision 'float16'"),
        ({"tokens_per_batch": 0}, "tokens_per_batch is 0"),
        ({"window": 100}, "cannot overlap by 300"),
        ({"device": "abacus"}, "unknown device 'abacus'"),
        ({"device": "cuda:99"}, "cannot be moved to cuda:99"),
    ],
)
def test_settings_out_of_range(bytenet_folder, settings, message):
    with pytest.raises(InputError, match=message):
        ProteinAdapter(str(bytenet_folder), **settings)


def test_windows_beyond_learned_positions_are_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        position_embedding_type="absolute",
        max_position_embeddings=66,
    )
    transformers.EsmForMaskedLM(config).save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match=r"no positions for windows of 1022.*window=62"):
        ProteinAdapter(str(tmp_path / "m"))
    adapter = ProteinAdapter(str(tmp_path / "m"), window=62, overlap=20)
    data = ProteinDataset({"P": "M" * 100}, {"P": "P"})
    assert run(adapter, data)["P"].shape == (100, 16)


def test_data_of_another_adapter_are_refused(bytenet_folder):
    with pytest.raises(InputError, match="cannot read a list"):
        ProteinAdapter(str(bytenet_folder)).view([], "P0")


def test_replacement_sees_real_residues_only(folder, make_proteins):
    adapter = ProteinAdapter(str(folder))
    data = make_proteins(*LENGTHS)
    records = list(data.sequences)
    seen = []

    def keep(values):
        seen.append(tuple(values.shape))
        assert values.dtype == torch.float32
        return values

    plain = adapter.loss(data, records, adapter.default_layer, None, seed=1)
    same = adapter.loss(data, records, adapter.default_layer, keep, seed=1)
    assert sum(n for n, _ in seen) == sum(LENGTHS)
    assert {width for _, width in seen} == {adapter.layers()[adapter.default_layer]}
    assert same.total == pytest.approx(plain.total, rel=1e-6)
    assert same.n_tokens == plain.n_tokens


def test_loss_is_the_cross_entropy_at_hidden_residues(bytenet_folder, make_proteins):
    from sci_interp_protein.losses import hidden_positions

    adapter = ProteinAdapter(str(bytenet_folder))
    network, data = adapter._network, make_proteins(90)
    sequence = data.sequences["P0"]
    hidden = np.flatnonzero(hidden_positions("P0", sequence, 5))
    vocabulary = network.vocabulary
    row = np.array([vocabulary.cls, *vocabulary.encode(sequence), vocabulary.eos])
    shown = row.copy()
    shown[hidden + 1] = vocabulary.mask
    with torch.inference_mode():
        logits = network.logits(torch.from_numpy(shown)[None])[0].double()
    wanted = -torch.log_softmax(logits, -1)[hidden + 1, row[hidden + 1]].sum()
    found = adapter.loss(data, ["P0"], "embed", None, seed=5)
    assert found.n_tokens == len(hidden)
    assert found.total == pytest.approx(float(wanted), rel=1e-5)


def test_loss_adds_up_over_windows(bytenet_folder, make_proteins):
    data = make_proteins(300)
    cut = ProteinAdapter(str(bytenet_folder), window=80, overlap=40)
    full = ProteinAdapter(str(bytenet_folder))
    found, wanted = (a.loss(data, ["P0"], "embed", None) for a in (cut, full))
    assert found.n_tokens == wanted.n_tokens
    assert found.total == pytest.approx(wanted.total, rel=1e-4)


def test_loss_without_a_head_is_refused(esm2_folder, tmp_path, make_proteins):
    import transformers

    trunk = transformers.EsmModel.from_pretrained(esm2_folder, add_pooling_layer=False)
    trunk.save_pretrained(tmp_path / "trunk")
    adapter = ProteinAdapter(str(tmp_path / "trunk"))
    assert len(run(adapter, make_proteins(9))) == 1
    with pytest.raises(InputError, match="without its language-model head"):
        adapter.loss(make_proteins(9), ["P0"], adapter.default_layer, None)


def test_letters_beyond_the_twenty_are_never_scored(bytenet_folder):
    adapter = ProteinAdapter(str(bytenet_folder))
    data = ProteinDataset({"P": "XXBUZO"}, {"P": "P"})
    found = adapter.loss(data, ["P"], "embed", None)
    assert (found.total, found.n_tokens) == (0.0, 0)


def test_decoys_keep_composition_and_the_first_residue(bytenet_folder, make_proteins):
    adapter = ProteinAdapter(str(bytenet_folder))
    data = make_proteins(*LENGTHS)
    decoys = adapter.decoy(data, 1)
    for record, sequence in data.sequences.items():
        assert sorted(decoys.sequences[record]) == sorted(sequence)
        assert decoys.sequences[record][0] == sequence[0]
    assert decoys.sequences["P2"] != data.sequences["P2"]
    assert decoys.sequences["P2"] != adapter.decoy(data, 2).sequences["P2"]
    assert adapter.labels(decoys) == ()
    assert [(a.runs, a.known) for a in adapter.annotate(decoys, ["P0"])] == [((), ())]
    assert set("".join(decoys.sequences.values())) <= set(AMINO_ACIDS)


def test_importing_the_package_loads_no_torch():
    code = "import sys, sci_interp_protein; assert not {'torch', 'Bio'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_has_one_name():
    import sci_interp_protein

    assert sci_interp_protein.ProteinAdapter is ProteinAdapter
    with pytest.raises(AttributeError, match="no attribute 'Adapter'"):
        _ = sci_interp_protein.Adapter


def test_without_a_path_the_reference_set_is_opened(bytenet_folder):
    adapter = ProteinAdapter(str(bytenet_folder))
    data = adapter.open()
    assert data.digest == adapter.open(features=None).digest
    assert 300 <= len(data.table) <= 600
    assert adapter.view(data, data.table["record"][0]).link.startswith("https://www.uniprot.org/")
    check_adapter(adapter, data)


def test_the_default_windows_of_the_bundled_network_are_exact(make_proteins):
    network = load_network()
    settings = PassSettings("float32", 8192, 1022, 300)
    assert settings.overlap > 2 * network.reach
    data = make_proteins(1500)
    widths = {network.default_layer: network.layers[network.default_layer]}
    cut, full = (
        next(run_layers(network, data, ["P0"], widths=widths, settings=chosen)).values
        for chosen in (settings, PassSettings("float32", 8192, 2000, 300))
    )
    for layer, values in full.items():
        np.testing.assert_allclose(cut[layer], values, atol=1e-3, rtol=1e-3)
