"""Changes of units of single tokens follow their formula, and are taken back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sci_interp.sae.normalisation import NORMALISATIONS, Normalisation


def loud_tokens() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    loudness = torch.linspace(0.5, 50, 300)[:, None]
    return loudness * (torch.randn(300, 12, generator=draw) * torch.arange(1, 13) + 3)


def by_formula(kind: str, values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(1, keepdims=True)
    if kind == "layer":
        return centred / (values.std(1, ddof=1, keepdims=True) + 1e-5)
    if kind == "unit":
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return values * np.sqrt(values.shape[1]) / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["layer", "unit", "length"])
def test_tokens_change_by_the_formula_and_come_back(kind: str) -> None:
    values = loud_tokens()
    plain = Normalisation(kind, torch.zeros(12), torch.zeros(12), torch.ones(12))
    np.testing.assert_allclose(
        plain.apply(values).numpy(), by_formula(kind, values.double().numpy()), atol=2e-6
    )
    back = plain.invert(plain.apply(values), like=values)
    torch.testing.assert_close(back, values, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("kind", ["token", "layer", "unit", "length"])
def test_fitted_tokens_are_centred_and_of_a_common_size(kind: str) -> None:
    values = loud_tokens()
    rows = Normalisation.fit(kind, values).apply(values)
    torch.testing.assert_close(rows.mean(0), torch.zeros(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.square().sum(1).mean(), torch.tensor(12.0))


def test_none_leaves_activations_alone() -> None:
    values = loud_tokens()
    units = Normalisation.fit("none", values)
    torch.testing.assert_close(units.mean, values.mean(0))
    assert torch.equal(units.apply(values), values)
    assert torch.equal(units.invert(values), values)


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_silent_tokens_stay_finite(kind: str) -> None:
    units = Normalisation.fit(kind, loud_tokens())
    silent = torch.zeros(3, 12)
    assert torch.isfinite(units.apply(silent)).all()
    assert torch.isfinite(units.invert(units.apply(silent), like=silent)).all()
