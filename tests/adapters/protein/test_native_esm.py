from __future__ import annotations

import sys
import types
from importlib import metadata

import pytest
import torch
from safetensors.torch import save_file

from sci_interp.errors import InputError, MissingExtraError, UnknownNameError
from sci_interp.hooks import capture
from sci_interp.testing import check_adapter
from sci_interp_protein import native_esm
from sci_interp_protein.adapter import ProteinAdapter
from sci_interp_protein.models import load_network

LENGTHS = (40, 7, 121, 64)


@pytest.fixture(scope="module")
def esm():
    """The parts of the `esm` package."""
    pytest.importorskip("esm.models.esmc", reason="the package 'esm' is not installed")
    return native_esm._import_esm()


@pytest.fixture
def esmc_pair(esm, esmc_folder, tmp_path):
    """The same weights as a checkpoint of transformers and as one of the package."""
    import transformers

    model = transformers.EsmcForMaskedLM.from_pretrained(esmc_folder)
    path = tmp_path / "tiny.safetensors"
    save_file(to_native(model), path)
    return esmc_folder, path


def to_native(model) -> dict[str, torch.Tensor]:
    """Rename the weights of transformers' ESM C to those of the package."""
    weights = model.state_dict()
    renamed = {"embed.weight": weights["esmc.embed_tokens.weight"]}
    for at in range(model.config.num_hidden_layers):
        old, new = f"esmc.layers.{at}.", f"transformer.blocks.{at}."
        heads = [weights[f"{old}self_attn.{name}_proj.weight"] for name in "qkv"]
        gates = [weights[f"{old}mlp.{name}_proj.weight"] for name in ("gate", "up")]
        renamed |= {
            f"{new}attn.layernorm_qkv.0.weight": weights[f"{old}input_layernorm.weight"],
            f"{new}attn.layernorm_qkv.0.bias": weights[f"{old}input_layernorm.bias"],
            f"{new}attn.layernorm_qkv.1.weight": torch.cat(heads),
            f"{new}attn.out_proj.weight": weights[f"{old}self_attn.o_proj.weight"],
            f"{new}attn.q_ln.weight": weights[f"{old}self_attn.q_norm.weight"],
            f"{new}attn.k_ln.weight": weights[f"{old}self_attn.k_norm.weight"],
            f"{new}ffn.0.weight": weights[f"{old}post_attention_layernorm.weight"],
            f"{new}ffn.0.bias": weights[f"{old}post_attention_layernorm.bias"],
            f"{new}ffn.1.weight": torch.cat(gates),
            f"{new}ffn.3.weight": weights[f"{old}mlp.down_proj.weight"],
        }
    renamed["transformer.norm.weight"] = weights["esmc.norm.weight"]
    for new, old in {"0": "dense", "2": "layer_norm", "3": "decoder"}.items():
        for kind in ("weight", "bias"):
            renamed[f"sequence_head.{new}.{kind}"] = weights[f"lm_head.{old}.{kind}"]
    return {name: value.clone() for name, value in renamed.items()}


def run(adapter, dataset, layer):
    found = adapter.activations(dataset, list(dataset.sequences), [layer])
    return {item.record: torch.from_numpy(item.values[layer]) for item in found}


@pytest.mark.parametrize(
    ("theirs", "native"),
    [
        ("embed_tokens", "embed"),
        ("layers.0", "transformer.blocks.0"),
        ("layers.2", "transformer.blocks.2"),
        ("norm", "transformer.norm"),
    ],
)
def test_both_routes_to_esm_c_give_the_same_activations(esmc_pair, make_proteins, theirs, native):
    folder, path = esmc_pair
    data = make_proteins(*LENGTHS)
    one = run(ProteinAdapter(str(folder), precision="float32"), data, theirs)
    other = run(ProteinAdapter(f"esm:{path}", precision="float32"), data, native)
    for record, values in one.items():
        torch.testing.assert_close(other[record], values, atol=1e-4, rtol=1e-4)


def test_both_routes_to_esm_c_give_the_same_loss_and_default_layer(esmc_pair, make_proteins):
    folder, path = esmc_pair
    data = make_proteins(*LENGTHS)
    adapters = [ProteinAdapter(str(folder)), ProteinAdapter(f"esm:{path}")]
    assert [a.default_layer for a in adapters] == ["layers.1", "transformer.blocks.1"]
    losses = [a.loss(data, list(data.sequences), a.default_layer, None) for a in adapters]
    assert losses[0].total == pytest.approx(losses[1].total, rel=1e-4)


def test_native_esm_c_keeps_every_law(esmc_pair, make_proteins):
    adapter = ProteinAdapter(f"esm:{esmc_pair[1]}")
    assert adapter.model.name == "esm:tiny"
    check_adapter(adapter, make_proteins(*LENGTHS))


def test_native_esm_c_needs_no_recent_transformers(esm, tmp_path, make_proteins):
    torch.manual_seed(0)
    model = esm.esmc.ESMC(128, 2, 2, None, False)
    save_file(model.state_dict(), tmp_path / "alone.safetensors")
    check_adapter(ProteinAdapter(f"esm:{tmp_path / 'alone.safetensors'}"), make_proteins(*LENGTHS))


def test_state_dicts_are_read_without_running_code(esm, esmc_pair, tmp_path):
    from safetensors.torch import load_file

    weights = load_file(esmc_pair[1])
    torch.save(weights, tmp_path / "tiny.pth")
    assert load_network(f"esm:{tmp_path / 'tiny.pth'}").digest == (
        load_network(f"esm:{esmc_pair[1]}").digest
    )


def test_esm3_runs_on_sequences(esm, tmp_path, make_proteins):
    torch.manual_seed(0)
    tokenizers = types.SimpleNamespace(sequence=types.SimpleNamespace(mask_token_id=32))
    model = esm.esm3.ESM3(128, 2, 8, 2, None, None, None, tokenizers)
    torch.save(model.state_dict(), tmp_path / "tiny3.pth")
    name = f"esm:{tmp_path / 'tiny3.pth'}"
    with pytest.raises(InputError, match=r"cannot run under bfloat16.*float32"):
        ProteinAdapter(name)
    adapter = ProteinAdapter(name, precision="float32")
    check_adapter(adapter, make_proteins(*LENGTHS))
    tokens = torch.tensor([[0, 20, 5, 6, 7, 2]])
    with capture(model, ["transformer.blocks.1"]) as wanted, torch.inference_mode():
        model.eval()(sequence_tokens=tokens)
    with capture(adapter._network.root, ["transformer.blocks.1"]) as found, torch.inference_mode():
        adapter._network.run(tokens)
    torch.testing.assert_close(found["transformer.blocks.1"], wanted["transformer.blocks.1"])


def test_unusable_checkpoints_are_refused(esm, esmc_pair, tmp_path):
    from safetensors.torch import load_file

    weights = load_file(esmc_pair[1])
    cases = {
        "other": ({"x": torch.zeros(1)}, "neither ESM C nor ESM3"),
        "part": (
            {n: v for n, v in weights.items() if not n.startswith("sequence_head")},
            "does not fit the esm package's model",
        ),
        "no_geometry": (
            {"encoder.sequence_embed.weight": torch.zeros(64, 128)},
            "lack the geometric attention",
        ),
    }
    for name, (content, message) in cases.items():
        save_file(content, tmp_path / f"{name}.safetensors")
        with pytest.raises(InputError, match=message):
            load_network(f"esm:{tmp_path / name}.safetensors")
    for name, content in {"list": [1], "numbers": {"embed.weight": 3}}.items():
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(InputError, match="holds no table of tensors"):
            load_network(f"esm:{tmp_path / name}.pt")
    (tmp_path / "torn.pth").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"torn.pth cannot be read"):
        load_network(f"esm:{tmp_path / 'torn.pth'}")
    with pytest.raises(InputError, match=r"absent.pth cannot be read"):
        load_network("esm:absent.pth")


def test_a_pickle_that_would_run_code_does_not(esm, tmp_path):
    ran = tmp_path / "ran"

    class Canary:
        def __reduce__(self):
            return (type(ran).touch, (ran,))

    torch.save({"embed.weight": Canary()}, tmp_path / "canary.pth")
    with pytest.raises(InputError, match="cannot be read"):
        load_network(f"esm:{tmp_path / 'canary.pth'}")
    assert not ran.exists()


def test_unknown_names_list_the_known_ones(esm):
    with pytest.raises(UnknownNameError, match=r"no model of the esm package 'esmc_1b'.*esmc_300m"):
        load_network("esm:esmc_1b")


def test_a_download_that_fails_says_so(esm, monkeypatch):
    def fail(_key):
        raise OSError("no route")

    monkeypatch.setattr(esm.root, "data_root", fail)
    with pytest.raises(InputError, match="esmc_300m cannot be downloaded: no route"):
        load_network("esm:esmc_300m")


# Without the package, or with another of the same import name


def without_esm(monkeypatch, **versions):
    for name in [n for n in sys.modules if n == "esm" or n.startswith("esm.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "esm", None)

    def version(name):
        if name in versions:
            return versions[name]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(native_esm.metadata, "version", version)


def test_the_package_is_an_extra(monkeypatch):
    without_esm(monkeypatch)
    with pytest.raises(MissingExtraError, match=r"'esm' is not installed.*\[esm\]"):
        load_network("esm:esmc_300m")


def test_fair_esm_is_detected(monkeypatch):
    without_esm(monkeypatch, **{"fair-esm": "2.0.0"})
    with pytest.raises(InputError, match=r"fair-esm 2.0.0 is installed.*uninstall fair-esm"):
        load_network("esm:esmc_300m")


def test_an_unusable_installation_is_told(monkeypatch):
    without_esm(monkeypatch, esm="3.2.1")
    with pytest.raises(InputError, match=r"esm 3.2.1 cannot be imported"):
        load_network("esm:esmc_300m")
