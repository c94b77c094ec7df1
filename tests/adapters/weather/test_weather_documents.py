"""The example of a network of one's own in the documents runs, and its geometry is right."""

from __future__ import annotations

import re
from pathlib import Path

from sci_interp_weather.networks.geometry_check import GeometryCheck


def test_a_network_of_ones_own(repository: Path, capsys) -> None:
    text = (repository / "docs" / "adapters.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(compile(code, "adapters.md", "exec"), names)
    assert capsys.readouterr().out
    check = names["check_geometry"](names["network"], names["fields"])
    assert isinstance(check, GeometryCheck) and check.near.all()
    record = names["data"].table["record"].iloc[0]
    (found,) = names["adapter"].activations(names["data"], [record], ["0"])
    assert found.values["0"].shape == (names["data"].n_tokens, 32)
