"""Which network a name means, and how it is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sci_interp.errors import InputError, UnknownNameError

from .networks.base import Network
from .networks.forecast import BUNDLED, find_bundled, load_forecast

__all__ = ["load_network"]

_FORMS = (
    *(f"bundled:{name}" for name in BUNDLED),
    "aurora:NAME_OR_FILE",
    "sfno:FOLDER",
    "onnx:FILE",
    "a folder with config.json and model.safetensors of a bundled kind",
)


def load_network(model: str | None = None, **options: Any) -> Network:
    """Load a forecast network on the CPU, in evaluation mode.

    Parameters
    ----------
    model
        None or ``"bundled:NAME"``: a network that comes with the package. ``"aurora:NAME"`` or
        ``"aurora:FILE"``: Aurora through microsoft-aurora. ``"sfno:FOLDER"``: an operator of
        torch-harmonics. ``"onnx:FILE"``: an ONNX graph through onnxruntime. Otherwise a folder
        with a network of the bundled kind.
    **options
        Settings of :func:`~sci_interp_weather.networks.aurora_network.load_aurora` or
        :func:`~sci_interp_weather.networks.onnx_network.load_onnx`; the others have none.

    Raises
    ------
    InputError
        If the name means no network, an option is unknown, or files cannot be read.
    MissingExtraError
        If the package that reads it is not installed.
    """
    if model is None:
        model = f"bundled:{next(iter(BUNDLED))}"
    kind, _, rest = model.partition(":")
    path = Path(rest).expanduser()
    if kind == "aurora" and rest:
        from .networks.aurora_network import AuroraNetwork, load_aurora

        _check_options(model, options, load_aurora, AuroraNetwork)
        return load_aurora(rest, **options)
    if kind == "onnx" and rest:
        from .networks.onnx_network import OnnxNetwork, load_onnx

        _check_options(model, options, load_onnx, OnnxNetwork)
        return load_onnx(path, **options)
    _check_options(model, options)
    if kind == "sfno" and rest:
        from .networks.sfno import load_sfno

        return load_sfno(path, f"sfno:{path.name}")
    if kind == "bundled" and rest:
        return load_forecast(find_bundled(rest), model)
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return load_forecast(folder, folder.resolve().name)
    raise InputError(f"{model!r} means no weather network", allowed=", ".join(_FORMS))


def _check_options(model: str, options: dict[str, Any], *takers: Callable[..., Any]) -> None:
    """Refuse options that none of the takers has."""
    known = [
        name
        for taker in takers
        for name, parameter in inspect.signature(taker).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for name in options:
        if name not in known:
            raise UnknownNameError("option", name, known, where=f"the network {model}")
