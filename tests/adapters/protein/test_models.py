from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from sci_interp.errors import InputError, MissingExtraError, UnknownNameError
from sci_interp.hooks import capture
from sci_interp_protein import esm_checkpoints
from sci_interp_protein.alphabet import VOCABULARY, Vocabulary
from sci_interp_protein.models import load_network
from sci_interp_protein.network import Network
from sci_interp_protein.passes import PassSettings, run_layers

SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"


def tokens_of(*sequences: str) -> torch.Tensor:
    vocabulary = Vocabulary()
    rows = [[vocabulary.cls, *vocabulary.encode(s), vocabulary.eos] for s in sequences]
    length = max(map(len, rows))
    return torch.tensor([row + [vocabulary.pad] * (length - len(row)) for row in rows])


@pytest.fixture(params=["bytenet_folder", "esm2_folder", "esmc_folder"])
def folder(request):
    return request.getfixturevalue(request.param)


def test_identity_is_the_weights_and_the_folder_name(folder, tmp_path):
    network = load_network(str(folder))
    copied = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    again = load_network(str(copied))
    assert (network.name, network.digest) == (again.name, again.digest)
    assert network.name == folder.name
    assert not any(p.requires_grad for p in network.whole.parameters())
    assert {p.dtype for p in network.whole.parameters()} == {torch.float32}


def test_layers_are_per_token_and_blocks_come_first(folder):
    network = load_network(str(folder))
    tokens = tokens_of(SEQUENCE, SEQUENCE[:7])
    with capture(network.root, network.layers) as found, torch.inference_mode():
        network.run(tokens)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        name: (*tokens.shape, width) for name, width in network.layers.items()
    }
    assert network.default_layer in list(network.layers)[:6]


def test_default_layer_is_two_thirds_deep(bytenet_folder, esm2_folder):
    assert load_network(str(bytenet_folder)).default_layer == "blocks.1"
    assert load_network(str(esm2_folder)).default_layer == "encoder.layer.1"


def test_padding_never_reaches_a_residue(folder):
    network = load_network(str(folder))
    short = "MKTAYIAK"
    with torch.inference_mode():
        alone = network.logits(tokens_of(short))[0]
        padded = network.logits(tokens_of(short, SEQUENCE * 3))[0, : len(alone)]
    torch.testing.assert_close(alone, padded, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "last", "block"),
    [
        ("esm2_folder", "encoder.emb_layer_norm_after", "encoder.layer.{}"),
        ("esmc_folder", "norm", "layers.{}"),
    ],
)
def test_hooked_blocks_agree_with_hidden_states(request, name, last, block):
    """transformers' last hidden state is normalised; every earlier one is a block's output."""
    network = load_network(str(request.getfixturevalue(name)))
    tokens = tokens_of(SEQUENCE)
    blocks = [block.format(i) for i in range(3)]
    with capture(network.root, [*blocks, last]) as found, torch.inference_mode():
        states = network.root(tokens, output_hidden_states=True).hidden_states
    assert len(states) == 4
    for at, layer in enumerate(blocks[:-1]):
        torch.testing.assert_close(found[layer], states[at + 1])
    torch.testing.assert_close(found[last], states[-1])


def test_esm2_logits_are_those_of_transformers(esm2_folder):
    import transformers

    model = transformers.EsmForMaskedLM.from_pretrained(esm2_folder).eval()
    tokens = tokens_of(SEQUENCE, SEQUENCE[:9])
    network = load_network(str(esm2_folder))
    with torch.inference_mode():
        wanted = model(tokens, attention_mask=(tokens != 1).long()).logits
        torch.testing.assert_close(network.logits(tokens), wanted)


def test_shuffling_permutes_every_tensor_and_nothing_else(folder):
    network = load_network(str(folder))
    digest = network.digest
    shuffled = network.shuffled(3)
    assert shuffled.digest == network.shuffled(3).digest
    assert len({digest, shuffled.digest, network.shuffled(4).digest}) == 3
    assert (network.digest, shuffled.name) == (digest, f"{network.name} (weights shuffled, seed 3)")
    before = dict(network.whole.named_parameters())
    for name, after in shuffled.whole.named_parameters():
        torch.testing.assert_close(
            after.flatten().sort().values, before[name].flatten().sort().values
        )
    with torch.inference_mode():
        tokens = tokens_of(SEQUENCE)
        assert not torch.allclose(network.logits(tokens), shuffled.logits(tokens))


def test_tied_weights_stay_tied_when_shuffled(esm2_folder):
    model = load_network(str(esm2_folder)).shuffled(0).whole
    assert model.lm_head.decoder.weight is model.esm.embeddings.word_embeddings.weight


def test_reach_of_a_convolutional_network_is_exact(bytenet_folder):
    network = load_network(str(bytenet_folder))
    assert network.reach == 16
    tokens = tokens_of(SEQUENCE * 2)
    other = tokens.clone()
    other[0, 0] = Vocabulary().encode("W")[0]
    with torch.inference_mode():
        changed = (network.logits(tokens) != network.logits(other)).any(-1)[0]
    assert changed[network.reach]
    assert not changed[network.reach + 1 :].any()


def test_a_checkpoint_without_head_has_layers_and_no_loss(esm2_folder, tmp_path):
    import transformers

    whole = load_network(str(esm2_folder))
    trunk = transformers.EsmModel.from_pretrained(esm2_folder, add_pooling_layer=False)
    trunk.save_pretrained(tmp_path / "trunk")
    network = load_network(str(tmp_path / "trunk"))
    assert not network.has_head
    assert whole.has_head
    assert network.digest == load_network(str(tmp_path / "trunk")).digest
    tokens = tokens_of(SEQUENCE)
    values = []
    for one in (network, whole):
        with capture(one.root, ["encoder.layer.1"]) as found, torch.inference_mode():
            one.run(tokens)
        values.append(found["encoder.layer.1"])
    torch.testing.assert_close(*values)


# What is refused, and with which words


def test_unknown_bundled_model_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"no bundled model 'x'.*Allowed: bytenet"):
        load_network("bundled:x")


def test_a_hub_model_that_cannot_be_reached():
    with pytest.raises(InputError, match="'facebook/no-such-model' cannot be loaded") as caught:
        load_network("facebook/no-such-model")
    assert "network connection" in str(caught.value)


@pytest.mark.parametrize("name", ["./absent", "/absent/folder", "~/absent-folder", "a/b/c"])
def test_a_missing_directory_is_told_from_a_hub_id(name):
    with pytest.raises(InputError, match="there is no directory"):
        load_network(name)


def test_a_file_is_no_directory(esm2_folder):
    with pytest.raises(InputError, match="is no directory"):
        load_network(str(esm2_folder / "model.safetensors"))
    with pytest.raises(InputError, match=r"is no directory.*esm:"):
        load_network("weights.pth")


def config_of(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.fixture
def spoiled(esm2_folder, tmp_path):
    """A copy of the checkpoint that a test may spoil."""
    return shutil.copytree(esm2_folder, tmp_path / "spoiled")


def test_missing_and_damaged_config(spoiled):
    (spoiled / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json cannot be read"):
        load_network(str(spoiled))
    (spoiled / "config.json").write_text("[]")
    with pytest.raises(InputError, match="names no model_type"):
        load_network(str(spoiled))
    (spoiled / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json cannot be read"):
        load_network(str(spoiled))


def test_other_kinds_of_model(spoiled):
    config_of(spoiled, model_type="bert")
    with pytest.raises(InputError, match="model type 'bert' is not supported"):
        load_network(str(spoiled))


def test_pickled_weights_are_refused(spoiled):
    torch.save({"x": torch.zeros(1)}, spoiled / "pytorch_model.bin")
    (spoiled / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"only the pickled weights pytorch_model.bin"):
        load_network(str(spoiled))
    (spoiled / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        load_network(str(spoiled))


def test_truncated_and_incomplete_weights(spoiled):
    path = spoiled / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(path).items()}
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_network(str(spoiled))
    dropped = {name: value for name, value in weights.items() if ".layer.2." not in name}
    save_file(dropped, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 'esm.encoder.layer.2"):
        load_network(str(spoiled))


def test_other_alphabets_are_refused(spoiled):
    (spoiled / "vocab.txt").write_text("\n".join(["<cls>", "<pad>", "AAAAAA", "CCCCCC"]))
    with pytest.raises(InputError, match="not one of residues: it lacks '<eos>'"):
        load_network(str(spoiled))
    (spoiled / "vocab.txt").write_text("\n".join(VOCABULARY))
    load_network(str(spoiled))
    config_of(spoiled, vocab_size=20)
    with pytest.raises(InputError, match="not one of residues"):
        load_network(str(spoiled))
    config_of(spoiled, vocab_size=33, mask_token_id=4)
    with pytest.raises(InputError, match="padding and mask the indices"):
        load_network(str(spoiled))


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_hidden_layers", 2**20), ("hidden_size", 2**32), ("layer_norm_eps", float("inf"))],
)
def test_sizes_of_no_esm_network_are_refused_before_it_is_made(spoiled, name, value):
    config_of(spoiled, **{name: value})
    with pytest.raises(InputError, match=f"gives {name} as {value}"):
        load_network(str(spoiled))


def test_an_older_transformers_has_no_esm_c(esmc_folder, monkeypatch):
    monkeypatch.setitem(esm_checkpoints.CLASSES, "esmc", ("EsmcOfTheFuture", "99.0"))
    with pytest.raises(InputError, match=r"no EsmcOfTheFuture.*>= 99.0"):
        load_network(str(esmc_folder))


def test_transformers_is_an_extra(esm2_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"'transformers' is not installed.*\[protein\]"):
        load_network(str(esm2_folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 32}, r"does not fit the sizes.*narrow.weight has the shape \(16, 24\)"),
        ({"width": 10**9}, "does not fit the sizes"),
        ({"n_blocks": 10**9}, "has 4 blocks, config.json says 1000000000"),
        ({"n_blocks": 3}, "has 4 blocks, config.json says 3"),
        ({"width": 0}, "gives no usable width: 0"),
        ({"width": True}, "gives no usable width: True"),
        ({"kernel": "5"}, "gives no usable kernel: '5'"),
        ({"n_letters": None}, "gives no usable n_letters: None"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(bytenet_folder, tmp_path, changes, message):
    folder = shutil.copytree(bytenet_folder, tmp_path / "spoiled")
    config_of(folder, **changes)
    with pytest.raises(InputError, match=message):
        load_network(str(folder))


def test_damaged_weights_of_a_bundled_kind(bytenet_folder, tmp_path):
    folder = shutil.copytree(bytenet_folder, tmp_path / "spoiled")
    for damage in (lambda path: path.write_bytes(b"short"), lambda path: path.unlink()):
        damage(folder / "model.safetensors")
        with pytest.raises(InputError, match=r"model.safetensors cannot be read"):
            load_network(str(folder))


def test_the_default_is_bundled():
    network = load_network()
    assert network.name == "bundled:bytenet"
    assert network.digest == load_network("bundled:bytenet").digest


class Unpadded(Network):
    """A network whose blocks give ``(n_real_tokens, D)``, as flash attention does."""

    block_pattern = "block"
    landmark_pattern = "head"

    def __init__(self) -> None:
        module = torch.nn.ModuleDict(
            {"block": torch.nn.Embedding(33, 4), "head": torch.nn.Linear(4, 33)}
        )
        super().__init__("unpadded", module, module)

    def logits(self, tokens):
        real = tokens != self.vocabulary.pad
        x = self.root["block"](tokens[real])
        return self.root["head"](torch.zeros(*tokens.shape, 4).masked_scatter(real[..., None], x))


def test_unpadded_outputs_are_refused(make_proteins):
    network = Unpadded()
    with pytest.raises(InputError, match="no block of unpadded gives one vector per token"):
        _ = network.layers
    settings = PassSettings("float32", 100, 50, 10)
    with pytest.raises(InputError, match=r"layer 'block' gives .*flash attention"):
        list(
            run_layers(network, make_proteins(5, 9), ["P0"], widths={"block": 4}, settings=settings)
        )
    found = list(
        run_layers(network, make_proteins(5, 9), ["P0"], widths={"head": 33}, settings=settings)
    )
    assert found[0].values["head"].shape == (5, 33)
