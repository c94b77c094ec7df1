"""Which network a name means, and how it is loaded."""

from __future__ import annotations

from pathlib import Path

from sci_interp.errors import InputError

from .bundled import BUNDLED, find_bundled, load_bytenet
from .network import Network

__all__ = ["load_network"]

_BUNDLED = "bundled:"
_NATIVE = "esm:"
_NATIVE_SUFFIXES = {".safetensors", ".pth", ".pt"}


def load_network(model: str | None = None) -> Network:
    """Load a protein language model on the CPU, in float32 and evaluation mode.

    Parameters
    ----------
    model
        None or ``"bundled:NAME"``: a network that comes with the package.
        ``"esm:NAME"`` (``"esm:esmc_300m"``) or ``"esm:FILE"``: ESM C or ESM3 through the ``esm``
        package. Otherwise a hub id, or a directory with ``config.json`` and ``*.safetensors``,
        of ESM-2, ESM C or a bundled kind.

    Raises
    ------
    InputError
        If the model cannot be found, read, or is of another kind.
    MissingExtraError
        If the package that reads it is not installed.
    """
    if model is None:
        model = _BUNDLED + next(iter(BUNDLED))
    if model.startswith(_BUNDLED):
        return _load_folder(str(find_bundled(model.removeprefix(_BUNDLED))), model)
    if model.startswith(_NATIVE):
        from .native_esm import load_native

        return load_native(model.removeprefix(_NATIVE))
    path = Path(model).expanduser()
    if path.is_dir():
        return _load_folder(str(path), path.resolve().name)
    if path.is_file() or path.suffix in _NATIVE_SUFFIXES:
        raise InputError(
            f"{model} is no directory",
            allowed="a directory with config.json and *.safetensors, or a hub id",
            todo=f"Native checkpoints of the esm package are loaded as '{_NATIVE}{model}'",
        )
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise InputError(
            f"there is no directory {model}",
            allowed="a hub id, or a directory with config.json and *.safetensors",
            todo="Check the path, or leave the model out for the one that comes with the package",
        )
    return _load_folder(model, model)


def _load_folder(model: str, name: str) -> Network:
    from .esm_checkpoints import load_esm, read_config

    config = read_config(model)
    if config["model_type"] == "bytenet":
        return load_bytenet(Path(model), config, name)
    return load_esm(model, config, name)
