"""What is missing is asked for, what is damaged is refused, and nothing in a file is ever run."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_world import FEATURES, NAMED, WIDTH, K, draw_weights, save_torch
from sae_world import random_sae
from safetensors.torch import save_file

import sci_interp as si
from sci_interp.errors import InputError, MissingExtraError, StoreError, UnknownNameError
from sci_interp.sae import save_sae
from sci_interp.sae.interchange import hub

W = draw_weights()
INTERPROT = {"w_enc": W["E"].t(), "w_dec": W["D"], "b_enc": W["e"], "b_pre": W["d"]}
MATRICES = {"W_enc": W["E"].t(), "b_enc": W["e"], "W_dec": W["D"], "b_dec": W["d"]}
COUNTED = {"k": torch.tensor(K), "threshold": torch.tensor(0.9)}
LINEAR = {"encoder.weight": W["E"], "encoder.bias": W["e"], "decoder.weight": W["D"].t()}
HUB = {"bias": W["d"], **LINEAR}
GROUPS = {"group_sizes": torch.tensor([8, 40])}
TIED = {"W": W["D"].t(), "b_enc": W["e"], "b_dec": W["d"]}


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.mkdir, (self.path,))


@pytest.mark.parametrize(
    ("tensors", "facts", "missing"),
    [
        (INTERPROT, {}, "k and layer and parent"),
        (INTERPROT, {"k": K, "layer": 24}, "parent"),
        (INTERPROT, {"layer": 24, "parent": "a"}, "k"),
        ({**MATRICES, **COUNTED, **GROUPS}, {**NAMED, "format": "reticular"}, "norm_factor"),
        (TIED, {**NAMED, "k": K}, "threshold"),
        (TIED, {**NAMED, "threshold": "per_token"}, "k"),
        (HUB, {"parent": "a"}, "layer"),
    ],
)
def test_missing_facts_are_asked_for_by_name(tensors, facts, missing, tmp_path) -> None:
    path = save_torch(tmp_path, "sae.pt", tensors)
    with pytest.raises(
        InputError, match=rf"does not say {missing}\. .*Give them: load_sae\(\.\.\.,"
    ):
        si.load_sae(path, **facts)


@pytest.mark.parametrize(
    ("tensors", "facts", "message"),
    [
        ({**LINEAR, "b_dec": W["d"], **COUNTED}, NAMED, r"architecture.*topk, batch_topk.*are the"),
        ({**MATRICES, **COUNTED, **GROUPS}, NAMED, "formats dictionary_learning and reticular"),
        ({**LINEAR, "b_dec": W["d"], **COUNTED}, {"architecture": "topk", "k": 7}, "says k=5"),
        (HUB, {"architecture": "topk"}, "'topk' is given, and .* is 'relu'"),
        (HUB, {"k": 0}, "k=0 is not usable"),
        (HUB, {**NAMED, "norm_factor": 2.0}, r"norm_factor=2\.0 is given, and .* has 1\.0"),
        (HUB, {**NAMED, "threshold": 0.5}, r"threshold=0\.5 is given, .* has no use for it"),
        (HUB, {**NAMED, "threshold": "per_token"}, "'per_token' is given, .* has no use for it"),
        (HUB, {**NAMED, "normalisation": "token"}, "'token' is given, .* has 'none'"),
        (INTERPROT, {**NAMED, "k": K, "architecture": "relu"}, "'relu' is given, .* has 'topk'"),
        (
            {**LINEAR, "b_dec": W["d"], **COUNTED},
            {**NAMED, "architecture": "topk", "threshold": 0.5},
            "no use for it. Leave out threshold",
        ),
        (INTERPROT, {"k": 49, **NAMED}, "k=49 is not usable with 48 features"),
        (HUB, {"norm_factor": 0.0}, "norm_factor=0.0 is not usable"),
        (HUB, {"threshold": float("nan")}, "threshold=nan is not usable"),
        ({"weight": W["E"]}, {}, "of no known format: sae.pt holds weight. Allowed: bionemo"),
        ({}, {}, "holds nothing"),
        (
            {**HUB, "bias": torch.zeros(3)},
            NAMED,
            r"'bias' .* has the shape \(3,\). Allowed: \(16\)",
        ),
        ({**HUB, "bias": [1.0]}, NAMED, "'bias' .* is no plain tensor"),
        ({**HUB, "bias": torch.full((WIDTH,), torch.nan)}, NAMED, "'bias' .* holds NaN"),
        ({**HUB, "bias": torch.zeros(WIDTH, dtype=torch.cfloat)}, NAMED, "holds torch.complex64"),
        (
            {k: v for k, v in INTERPROT.items() if k != "b_enc"},
            {**NAMED, "k": K, "format": "interprot"},
            "lacks the tensor 'b_enc'. Allowed: it holds w_enc",
        ),
        ({**HUB, "encoder.weight": W["E"].t()}, NAMED, "has the shape"),
    ],
)
def test_contradictions_and_wrong_tensors_are_named(tensors, facts, message, tmp_path) -> None:
    path = save_torch(tmp_path, "sae.pt", tensors)
    with pytest.raises(InputError, match=message):
        si.load_sae(path, **facts)


def test_unknown_names_are_listed(tmp_path) -> None:
    path = save_torch(tmp_path, "sae.pt", HUB)
    with pytest.raises(UnknownNameError, match=r"no format 'interpml'.*mean 'interplm'\?"):
        si.load_sae(path, format="interpml")
    counted = save_torch(tmp_path, "ae.pt", {**LINEAR, "b_dec": W["d"], **COUNTED})
    with pytest.raises(UnknownNameError, match=r"no architecture 'topq'"):
        si.load_sae(counted, architecture="topq")


def test_pickled_code_never_runs(tmp_path) -> None:
    ran = tmp_path / "ran"
    canary = {**HUB, "note": Canary(ran)}
    for name, legacy in (("new.pt", True), ("old.pt", False)):
        torch.save(canary, tmp_path / name, _use_new_zipfile_serialization=legacy)
    np.savez(tmp_path / "a.npz", bias=np.array([Canary(ran)], dtype=object))
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "old.pt").read_bytes())
    with (tmp_path / "saev.pt").open("wb") as handle:
        handle.write(json.dumps({"schema": 5, "cfg": {"activation": {"cls": "Relu"}}}).encode())
        handle.write(b"\n" + (tmp_path / "new.pt").read_bytes())
    for name in ("new.pt", "old.pt", "a.npz", "saev.pt"):
        with pytest.raises(
            InputError, match=r"needs more than tensors.*might run code.*safetensors"
        ):
            si.load_sae(tmp_path / name, **NAMED)
    with pytest.raises(InputError, match=r"is damaged, or no file of weights"):
        si.load_sae(tmp_path / "b.safetensors", **NAMED)
    assert not ran.exists()


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "npz"])
def test_truncated_and_flipped_files_are_refused(suffix, tmp_path) -> None:
    plain = {name: held.contiguous() for name, held in HUB.items()}
    path = tmp_path / f"sae.{suffix}"
    if suffix == "pt":
        torch.save(plain, path)
    elif suffix == "npz":
        np.savez(path, **{name: held.numpy() for name, held in plain.items()})
    else:
        save_file(plain, path)
    whole = path.read_bytes()
    for cut in (0, 1, 7, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"is damaged|no known format"):
            si.load_sae(path, **NAMED)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(0, min(len(whole), 2000))] ^= 1 << rng.integers(0, 8)
        path.write_bytes(damaged)
        try:
            si.load_sae(path, **NAMED)
        except InputError:
            continue


def test_sizes_are_looked_at_before_reading(tmp_path) -> None:
    path = save_torch(tmp_path, "sae.pt", HUB)
    with pytest.raises(InputError, match=r"takes .* GiB. Allowed: at most .*raise max_bytes"):
        si.load_sae(path, **NAMED, max_bytes=1000)
    wide = torch.zeros(1).expand(1 << 20, 1 << 20)
    bomb = save_torch(tmp_path, "bomb.pt", {**HUB, "encoder.weight": wide})
    with pytest.raises(InputError, match=r"takes 4096.0 GiB"):
        si.load_sae(bomb, **NAMED)
    deflated = tmp_path / "deflated.npz"
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as archive:
        held = io.BytesIO()
        np.save(held, np.zeros(1 << 20, np.float32))
        archive.writestr("bias.npy", held.getvalue())
    with pytest.raises(InputError, match=r"takes 0.0 GiB"):
        si.load_sae(deflated, **NAMED, max_bytes=1 << 20)
    (tmp_path / "config.json").write_text("{" + " " * (17 << 20) + "}")
    with pytest.raises(InputError, match=r"config.json takes"):
        si.load_sae(path, **NAMED)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "\0"])
def test_damaged_settings_are_refused(text, tmp_path) -> None:
    (tmp_path / "config.json").write_text(text)
    path = save_torch(tmp_path, "ae.pt", HUB)
    with pytest.raises(InputError, match=r"config.json (is damaged|does not hold a JSON object)"):
        si.load_sae(path, **NAMED)


def test_a_folder_says_what_it_holds(tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds no weights.*Copy or download it again"):
        si.load_sae(tmp_path)
    (tmp_path / "layer_3").mkdir()
    with pytest.raises(InputError, match=r"holds no weights.*Name one of its folders: layer_3"):
        si.load_sae(tmp_path)
    (tmp_path / "sae.pkl").write_bytes(b"")
    with pytest.raises(InputError, match=r"but sae\.pkl, whose reading may run code"):
        si.load_sae(tmp_path)
    for name in ("ae_normalized.pt", "ae_unnormalized.pt"):
        save_torch(tmp_path, name, HUB)
    with pytest.raises(InputError, match=r"several files.*ae_normalized\.pt, ae_unnormalized\.pt"):
        si.load_sae(tmp_path)
    save_torch(tmp_path, "ae.pt", HUB)
    assert si.load_sae(tmp_path, **NAMED).training["format"] == "interplm"


def test_own_artefacts_are_told_from_others(tmp_path) -> None:
    save_sae(random_sae(), tmp_path / "own")
    assert si.load_sae(tmp_path / "own").k == 4
    assert si.load_sae(tmp_path / "own", format="sci-interp").k == 4
    with pytest.raises(InputError, match=r"says all that it needs. Leave out layer and k"):
        si.load_sae(tmp_path / "own", k=4, layer=3)
    with pytest.raises(StoreError, match=r"not an artefact"):
        si.load_sae(tmp_path / "nothing")
    with pytest.raises(StoreError, match=r"no such folder"):
        si.load_sae("nothing")


def test_the_hub_gives_a_folder(tmp_path, monkeypatch) -> None:
    asked = []

    def snapshot_download(repository: str, **settings) -> str:
        asked.append((repository, settings["revision"], settings["allow_patterns"]))
        return str(tmp_path)

    client = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(client, "snapshot_download", snapshot_download)
    (tmp_path / "layer_3").mkdir()
    save_torch(tmp_path / "layer_3", "ae.pt", HUB)
    sae = si.load_sae("Elana/InterPLM-esm2-8m/layer_3", **NAMED, revision="v1")
    assert sae.training["format"] == "interplm"
    assert asked == [("Elana/InterPLM-esm2-8m", "v1", ["layer_3", "layer_3/*", "*.json"])]
    with pytest.raises(InputError, match=r"holds no weights.*layer_3"):
        si.load_sae("Elana/InterPLM-esm2-8m")
    assert not any("py" in pattern for pattern in asked[-1][2])
    with pytest.raises(InputError, match=r"InterPLM-esm2-8m holds no layer_9"):
        si.load_sae("Elana/InterPLM-esm2-8m/layer_9")


def test_one_layer_of_many_is_downloaded_alone(tmp_path, monkeypatch) -> None:
    client = pytest.importorskip("huggingface_hub")
    config = {"model_type": "esmc_sae", "k": K, "available_layers": [26, 27]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {"W_enc": W["E"].t().contiguous(), "W_dec": W["D"], "b_dec": W["d"]}
    tensors |= {"idf": W["s"], "max": W["s"].clone()}
    save_file(tensors, tmp_path / "layer_27.safetensors")
    asked = []

    def snapshot_download(_repository: str, **settings) -> str:
        asked.append(settings["allow_patterns"])
        return str(tmp_path)

    monkeypatch.setattr(client, "snapshot_download", snapshot_download)
    sae = si.load_sae("biohub/ESMC-600M-sae-k64", layer=27, parent="biohub/ESMC-600M")
    assert asked == [["config.json"], ["config.json", "layer_27.safetensors"]]
    assert sae.parent["layer"] == "layers.26"


def test_an_unreachable_hub_is_one_message(monkeypatch) -> None:
    client = pytest.importorskip("huggingface_hub")

    def fail(*_args, **_settings):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(client, "snapshot_download", fail)
    with pytest.raises(InputError, match=r"no folder a/b, and the hub .*: no route\. Check"):
        si.load_sae("a/b")

    def absent(name: str):
        raise ImportError(name)

    monkeypatch.setattr(hub, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"huggingface_hub"):
        si.load_sae("a/b")


def test_paths_are_no_hub_names(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    assert hub.is_hub_id("biohub/ESMC-600M-sae/layer_27.safetensors")
    for name in ("run/sae", "sae", "../a/b", "/tmp/a", "a/../b", "./a"):
        assert not hub.is_hub_id(name), name


def test_rule_for_single_tokens_takes_the_place_of_a_batch(tmp_path) -> None:
    path = save_torch(tmp_path, "ae.pt", {**LINEAR, "b_dec": W["d"], **COUNTED})
    sae = si.load_sae(path, **NAMED, architecture="batch_topk", threshold="per_token")
    assert (sae.architecture, sae.k) == ("topk", K)
    given = si.load_sae(path, **NAMED, architecture="batch_topk", threshold=0.25)
    assert (given.architecture, float(given.sparsity.threshold)) == ("batch_topk", 0.25)


def test_encode_refuses_an_unknown_scale(tmp_path) -> None:
    from sae_world import planted_source

    _, source = planted_source(width=WIDTH)
    sae = si.load_sae(save_torch(tmp_path, "ae.pt", HUB), layer="array", parent="array")
    with pytest.raises(StoreError, match=r"scale .* is not known.*sae\.measured\(activations\)"):
        si.encode(sae, source, out=tmp_path / "features", progress=False)
    with pytest.raises(InputError, match="the mean, which the file of this autoencoder lacks"):
        si.fidelity(sae, source, adapter=object(), dataset=object())
    measured = sae.measured(source)
    highest = np.zeros(FEATURES)
    start, stop = source.axis.token_range(["train", "discovery"])
    codes = sae.encode(source.read(start, stop))
    np.maximum.at(highest, codes.feature, codes.value)
    fired = highest > 0
    np.testing.assert_array_equal(measured.scale[fired], highest[fired].astype(np.float32))
    np.testing.assert_allclose(
        measured.normalisation.mean, source.read(start, stop).mean(0), atol=1e-5
    )
    assert "unmeasured" not in measured.training
    assert (sae.k, measured.k) == (1, round(len(codes.value) / (stop - start)))
    save_sae(measured, tmp_path / "kept")
    again = si.load_sae(tmp_path / "kept")
    np.testing.assert_array_equal(
        again.encode(source.read(0, 50)).value, sae.encode(source.read(0, 50)).value
    )
    assert (
        si.encode(again, source, out=tmp_path / "features", progress=False).n_features == FEATURES
    )
