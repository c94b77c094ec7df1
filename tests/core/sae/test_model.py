"""Codes are exact, sparse, and a token's own."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae_world import random_sae

from sci_interp.codes import Codes
from sci_interp.errors import InputError, NotFiniteError, UnknownNameError
from sci_interp.sae import SparseAutoencoder
from sci_interp.sae.normalisation import Normalisation
from sci_interp.sae.sparsity import ARCHITECTURES, sparsity_of
from sci_interp.sae.tiles import has_tiles

KINDS = sorted(ARCHITECTURES)


def values_for(sae, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, sae.width)) * 0.6).astype(np.float32)


def dense(codes: Codes, n_features: int) -> np.ndarray:
    matrix = np.zeros((codes.n_tokens, n_features), np.float64)
    matrix[np.repeat(np.arange(codes.n_tokens), np.diff(codes.indptr)), codes.feature] = codes.value
    return matrix


def defined(sae, values: np.ndarray) -> np.ndarray:
    """The definition in float64: pre-activations, then the k highest or those above a floor."""
    units, weights = sae.normalisation, sae.weights
    rows = (values.astype(np.float64) - units.centre.numpy()) / units.spread.numpy()
    pre = rows @ weights.encoder.double().numpy().T + weights.encoder_bias.double().numpy()
    if sae.architecture == "gated":
        gate_bias, scale = (held.double().numpy() for held in sae.sparsity.tensors().values())
        reading = pre - weights.encoder_bias.double().numpy()
        value = np.maximum(reading * scale + weights.encoder_bias.double().numpy(), 0)
        return np.where(reading + gate_bias > 0, value, 0)
    if sae.architecture in ("relu", "crosscoder"):
        return np.maximum(pre, 0)
    if sae.architecture in ("topk", "abs_topk", "transcoder"):
        edge = np.sort(pre, axis=1)[:, -sae.k, None]
        return np.where((pre >= edge) & (pre > 0), pre, 0)
    return np.where(pre > np.maximum(sae.sparsity.threshold.double().numpy(), 0), pre, 0)


@pytest.mark.parametrize("architecture", KINDS)
def test_codes_follow_the_definition(architecture) -> None:
    sae = random_sae(architecture=architecture)
    values = values_for(sae, 300)
    codes = sae.encode(values)
    np.testing.assert_allclose(dense(codes, sae.n_features), defined(sae, values), atol=2e-5)
    assert codes.value.dtype == np.float32 and (codes.value > 0).all()
    assert codes.feature.dtype == np.uint16
    inside = np.diff(codes.indptr) > 1
    assert inside.any()
    for row in range(codes.n_tokens):
        assert (np.diff(codes.rows(row, row + 1).feature.astype(int)) > 0).all()


@settings(max_examples=15, deadline=None)
@given(
    architecture=st.sampled_from(KINDS),
    cuts=st.lists(st.integers(0, 200), max_size=4),
    seed=st.integers(0, 100),
)
def test_a_code_depends_on_its_token_alone(architecture, cuts, seed) -> None:
    sae = random_sae(architecture=architecture, width=40, n_features=200, k=6)
    values = values_for(sae, 200, seed)
    whole = sae.encode(values)
    edges = sorted({0, 200, *cuts})
    parts = [sae.encode(values[a:b]) for a, b in pairwise(edges)]
    order = np.random.default_rng(seed).permutation(200)
    mixed = sae.encode(values[order])
    joined = Codes.concatenate(parts)
    for name in ("indptr", "feature", "value"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    for place, token in enumerate(order[:20]):
        a, b = mixed.rows(place, place + 1), whole.rows(token, token + 1)
        np.testing.assert_array_equal(a.value, b.value)


@pytest.mark.parametrize("architecture", KINDS)
def test_fast_arithmetic_does_not_change_codes(architecture, monkeypatch) -> None:
    values = values_for(random_sae(), 500)
    found = []
    for kind in ("float32", "bfloat16", *["int8"] * has_tiles()):
        monkeypatch.setattr(
            "sci_interp.sae.model.fast_arithmetic", lambda *_, kind=kind, **__: kind
        )
        found.append(random_sae(architecture=architecture).encode(values))
    for name in ("indptr", "feature", "value"):
        for codes in found[1:]:
            np.testing.assert_array_equal(getattr(codes, name), getattr(found[0], name))


@pytest.mark.skipif(not has_tiles(), reason="needs a processor with AVX-512 VNNI")
def test_a_channel_that_drowns_the_others_makes_encoding_slower_and_not_another() -> None:
    def deaf() -> SparseAutoencoder:
        sae = random_sae(n_features=512)
        sae.weights.encoder[:, 0] = 0.0
        return sae

    values = values_for(deaf(), 3000)
    values[:, 0] *= 1e4
    sae = deaf()
    kinds = [product.arithmetic for product in sae._products]
    codes = sae.encode(values)
    assert (kinds[0], sae._products[0].arithmetic) == ("int8", kinds[1])
    for first in (0, 1000, 2000):
        part = deaf().encode(values[first : first + 1000])
        np.testing.assert_array_equal(part.value, codes.rows(first, first + 1000).value)


@pytest.mark.parametrize("architecture", KINDS)
def test_a_first_call_in_inference_mode_changes_nothing_later(architecture) -> None:
    values = values_for(random_sae(), 40)
    sae = random_sae(architecture=architecture)
    with torch.inference_mode():
        sae.reconstruct(torch.from_numpy(values[:10]))
    codes = sae.encode(values)
    np.testing.assert_array_equal(
        codes.value, random_sae(architecture=architecture).encode(values).value
    )


def test_decoding_adds_up_the_dictionary() -> None:
    sae = random_sae()
    values = values_for(sae, 50)
    codes = sae.encode(values)
    origin = sae.decode(Codes(np.zeros(2, np.int64), codes.feature[:0], codes.value[:0]))
    wanted = dense(codes, sae.n_features) @ sae.dictionary + origin
    np.testing.assert_allclose(sae.decode(codes), wanted, atol=1e-5)
    np.testing.assert_array_equal(sae.reconstruct(values), sae.decode(codes))
    both = sae.encode_and_reconstruct(values)
    np.testing.assert_array_equal(both[0].value, codes.value)
    np.testing.assert_array_equal(both[1], sae.decode(codes))


def test_reconstruct_keeps_kind_and_dtype_of_tensors() -> None:
    sae = random_sae()
    values = values_for(sae, 7)
    made = sae.reconstruct(torch.from_numpy(values).to(torch.bfloat16))
    assert isinstance(made, torch.Tensor) and made.dtype == torch.bfloat16
    assert isinstance(sae.reconstruct(values), np.ndarray)
    assert sae.reconstruct(values[:0]).shape == (0, sae.width)
    assert sae.encode(values[:0]).n_tokens == 0


def test_tokens_standardised_one_by_one_come_back_in_their_own_units() -> None:
    values = torch.from_numpy(values_for(random_sae(), 400)) * torch.linspace(0.1, 50, 400)[:, None]
    units = Normalisation.fit("token", values)
    torch.testing.assert_close(units.invert(units.apply(values), like=values), values)
    sae = replace(random_sae(), normalisation=units)
    louder = sae.encode((10 * values).numpy())
    np.testing.assert_allclose(sae.encode(values.numpy()).value, louder.value, rtol=1e-4)


@pytest.mark.parametrize("kind", ["scale", "channel"])
def test_normalisation_centres_scales_and_inverts(kind) -> None:
    values = torch.randn(500, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 13)
    units = Normalisation.fit(kind, values + 3)
    rows = units.apply(values + 3)
    torch.testing.assert_close(rows.mean(0), torch.zeros(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.square().sum(1).mean(), torch.tensor(12.0))
    torch.testing.assert_close(units.invert(rows), values + 3, atol=1e-4, rtol=1e-4)


def test_normalisation_refuses_what_it_cannot_do() -> None:
    with pytest.raises(InputError, match="all activations of the training tokens are equal"):
        Normalisation.fit("scale", torch.ones(10, 3))
    with pytest.raises(InputError, match="'loud' is unknown"):
        Normalisation.fit("loud", torch.ones(10, 3))


def test_encode_refuses_other_widths_and_nan() -> None:
    sae = random_sae()
    with pytest.raises(InputError, match=r"\(5, 3\) do not fit"):
        sae.encode(np.zeros((5, 3), np.float32))
    broken = values_for(sae, 5)
    broken[3, 2] = np.nan
    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        sae.encode(broken)


def test_digest_names_the_weights() -> None:
    assert random_sae().digest == random_sae().digest
    others = [random_sae(seed=1), random_sae(k=5), random_sae(architecture="batch_topk")]
    assert len({random_sae().digest, *(other.digest for other in others)}) == 4


def test_unknown_architecture_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="batch_topk"):
        sparsity_of("batchtopk", 3)
