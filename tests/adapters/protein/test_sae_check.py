"""The bundled autoencoder fits the layer that it names, and another layer is found out."""

from __future__ import annotations

import pytest

import sci_interp as si


def test_the_bundled_autoencoder_fits_its_layer_alone() -> None:
    plm = si.load_adapter("protein")
    data = plm.open()
    sae = si.load_sae("bundled:protein")
    found = sae.check(plm, data, n_records=4)
    assert found.layer == sae.parent["layer"]
    assert len(found.fvu) == 3
    other = next(name for name in found.fvu if name != found.layer)
    with pytest.raises(si.SciInterpError, match=f"fits layer '{found.layer}' and not '{other}'"):
        sae.check(plm, data, other, n_records=4)
