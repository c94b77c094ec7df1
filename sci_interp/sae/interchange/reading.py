"""Files of other programs, read without running anything that they hold.

Tensors come from safetensors, ``torch.load(weights_only=True)`` and ``numpy.load`` without pickles,
settings from JSON alone; sizes are looked at first.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file

from sci_interp.errors import InputError

__all__ = ["MAX_BYTES", "Source"]

#: No weights file, and no tensor of it in float32, may be larger.
MAX_BYTES = 64 * 2**30
MAX_TEXT_BYTES = 16 * 2**20

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".npz", ".bin")
#: The weights among several files; all other names are states of a training.
PRIMARY = (
    "sae_weights.safetensors",
    "sae.safetensors",
    "ae.pt",
    "checkpoint_final.pt",
    "params.npz",
)
#: Weights in a folder of the folder, the first of which is taken.
INNER = ("checkpoints/pruned.safetensors", "checkpoints/final.safetensors")
#: What state dictionaries are wrapped in.
WRAPPERS = ("model_state_dict", "model_state", "state_dict", "sae")
PREFIXES = ("_orig_mod.", "module.", "model.", "ae.", "sae.")

#: How the readers' messages tell of objects that only code can make.
CODE_SIGNS = ("GLOBAL", "nsupported class", "allow_pickle")

_SAFE = "safetensors, npz, or a torch file of tensors, numbers and texts"
_AGAIN = "Copy or download it again"

Read = TypeVar("Read")


class Source:
    """A checkpoint: a file, or a folder of files, of another program.

    Parameters
    ----------
    path
        The file or folder.
    max_bytes
        Largest size of weights that is read.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.folder = path if path.is_dir() else path.parent
        self.max_bytes = max_bytes
        self._configs: dict[str, Mapping[str, Any]] = {}

    def has(self, name: str) -> bool:
        """Return whether a file of that name is there."""
        return (self.folder / name).is_file()

    def config(self, name: str = "config.json") -> Mapping[str, Any]:
        """Return a JSON object beside the weights; empty where there is none.

        Raises
        ------
        InputError
            If the file is damaged, too large, or no object.
        """
        if name not in self._configs:
            path = self.folder / name
            self._configs[name] = _read_settings(path) if path.is_file() else {}
        return self._configs[name]

    @cached_property
    def weights(self) -> Path:
        """The file that holds the weights.

        Raises
        ------
        InputError
            If there is none, or it is not clear which of several it is.
        """
        if not self.path.is_dir():
            return self.path
        found = sorted(each for each in self.path.iterdir() if each.suffix in SUFFIXES)
        primary = [each for each in found if each.name in PRIMARY]
        if len(found) == 1 or len(primary) == 1:
            return (primary or found)[0]
        if found:
            raise InputError(
                f"{self.path} holds several files of weights",
                allowed=", ".join(each.name for each in found[:20]),
                todo="Name one of them",
            )
        for name in INNER:
            if (self.path / name).is_file():
                return self.path / name
        inner = sorted(each.name for each in self.path.iterdir() if each.is_dir())
        pickled = [each.name for each in self.path.glob("*.pk*")]
        what = f" but {pickled[0]}, whose reading may run code" if pickled else ""
        raise InputError(
            f"{self.path} holds no weights{what}",
            allowed=f"a folder with one file of these: {', '.join(SUFFIXES)}",
            todo=f"Name one of its folders: {', '.join(inner[:20])}" if inner else _AGAIN,
        )

    @cached_property
    def entries(self) -> Mapping[str, Any]:
        """Everything in the weights file, by name."""
        return self.read(self.weights)

    @cached_property
    def state(self) -> Mapping[str, Any]:
        """The tensors by name, out of wrappers and without prefixes."""
        state = self.entries
        for name in WRAPPERS:
            if isinstance(state.get(name), Mapping):
                state = state[name]
        return strip_prefixes(state)

    @cached_property
    def header(self) -> Mapping[str, Any]:
        """The JSON object in the first line of the weights file; empty where there is none."""
        with self.weights.open("rb") as handle:
            first = handle.readline(MAX_TEXT_BYTES)
        if not first.startswith(b"{"):
            return {}
        try:
            found = json.loads(first)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def read(self, path: Path) -> Mapping[str, Any]:
        """Return the contents of a file of weights.

        Raises
        ------
        InputError
            If it is missing, damaged, too large, or needs more than tensors to be read.
        """
        if not path.is_file():
            raise InputError(f"there is no file {path}", todo="Check the path")
        size = path.stat().st_size
        if size > self.max_bytes:
            raise _too_large(path, size, self.max_bytes)
        if path.suffix == ".safetensors":
            return _guarded(path, lambda: load_file(path))
        if path.suffix == ".npz":
            return _guarded(path, lambda: dict(self._arrays(path)))
        return _guarded(path, lambda: self._torch_entries(path))

    def tensor(
        self, name: str, *shape: int | None, state: Mapping[str, Any] | None = None
    ) -> torch.Tensor:
        """Return a tensor in float32.

        Parameters
        ----------
        name
            Its name.
        shape
            The size of every dimension; None where any will do. () for a number.
        state
            Where to look instead of :attr:`state`.

        Raises
        ------
        InputError
            If it is missing, of another shape, too large, or not of finite numbers.
        """
        held = self.state if state is None else state
        if name not in held:
            raise InputError(
                f"{self.path} lacks the tensor {name!r}",
                allowed=f"it holds {', '.join(list(held)[:20])}",
                todo=_AGAIN,
            )
        return self._checked(name, held[name], shape)

    def number(self, name: str) -> float | None:
        """Return a tensor of one number; None where there is none."""
        return self.tensor(name).item() if name in self.state else None

    def measured_scale(
        self, name: str, n_features: int, *, state: Mapping[str, Any] | None = None
    ) -> torch.Tensor | None:
        """Return the largest activation of every feature; None, with a warning, where it is ones.

        Ones stand for nothing: they are what programs write before they measure. Features that
        never fired get the median of the others.
        """
        held = self.state if state is None else state
        if name not in held:
            return None
        found = self.tensor(name, n_features, state=held)
        fired = found > 0
        if fired.any() and not (found == 1).all():
            return torch.where(fired, found, found[fired].median())
        warnings.warn(
            f"{name!r} of {self.path} is all {'ones' if fired.any() else 'zeros'}, which is no "
            "measurement: encode refuses this autoencoder until sae.measured(activations) has "
            "found the scale of its features",
            stacklevel=2,
        )
        return None

    def _checked(self, name: str, found: Any, shape: tuple[int | None, ...]) -> torch.Tensor:
        where = f"the tensor {name!r} of {self.path}"
        if not isinstance(found, torch.Tensor) or found.layout != torch.strided:
            raise InputError(f"{where} is no plain tensor", todo=_AGAIN)
        fits = len(shape) == found.ndim and all(
            wanted in (None, size) for wanted, size in zip(shape, found.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise InputError(
                f"{where} has the shape {tuple(found.shape)}", allowed=f"({wanted})", todo=_AGAIN
            )
        if 4 * found.numel() > self.max_bytes:
            raise _too_large(self.path, 4 * found.numel(), self.max_bytes)
        if found.is_complex() or found.is_quantized or found.is_meta:
            raise InputError(f"{where} holds {found.dtype}", allowed="real numbers")
        real = found.detach().float().contiguous()
        if not torch.isfinite(real).all():
            raise InputError(f"{where} holds NaN or infinity", todo=_AGAIN)
        return real

    def _torch_entries(self, path: Path) -> Mapping[str, Any]:
        if zipfile.is_zipfile(path):
            self._require_small(path)
        whole: Path | io.BytesIO = path
        with path.open("rb") as handle:
            if handle.read(1) == b"{":  # one line of JSON; the torch file follows
                handle.readline(MAX_TEXT_BYTES)
                whole = io.BytesIO(handle.read())
        loaded = torch.load(whole, map_location="cpu", weights_only=True)
        if not isinstance(loaded, Mapping):
            raise TypeError(f"it holds {type(loaded).__name__}, not tensors by name")
        return loaded

    def _arrays(self, path: Path) -> Iterator[tuple[str, torch.Tensor]]:
        self._require_small(path)
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                yield name, torch.from_numpy(np.ascontiguousarray(arrays[name]))

    def _require_small(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > self.max_bytes:
            raise _too_large(path, size, self.max_bytes)


def strip_prefixes(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entries without the prefixes that compilers and wrappers put before all names."""
    for _ in range(len(PREFIXES)):
        for prefix in PREFIXES:
            if state and all(str(name).startswith(prefix) for name in state):
                state = {str(name).removeprefix(prefix): held for name, held in state.items()}
    return state


def _read_settings(path: Path) -> Mapping[str, Any]:
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise _too_large(path, size, MAX_TEXT_BYTES)
    found = _guarded(path, lambda: json.loads(path.read_text(encoding="utf-8")))
    if not isinstance(found, dict):
        raise InputError(f"{path} does not hold a JSON object", todo=_AGAIN)
    return found


def _guarded(path: Path, read: Callable[[], Read]) -> Read:
    try:
        return read()
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged bytes raise anything in foreign readers
        told = str(error).strip().rpartition("WeightsUnpickler error: ")[2]
        reason = (told or type(error).__name__).splitlines()[0].split(". ")[0]
        if any(sign in str(error) for sign in CODE_SIGNS):
            raise InputError(
                f"{path} needs more than tensors to be read, and its reading might run code",
                allowed=_SAFE,
                todo="Save the state dictionary alone, where it was made",
            ) from None
        raise InputError(
            f"{path} is damaged, or no file of weights: {reason}", allowed=_SAFE, todo=_AGAIN
        ) from None


def _too_large(path: Path, size: int, limit: int) -> InputError:
    return InputError(
        f"{path} takes {size / 2**30:.1f} GiB",
        allowed=f"at most {limit / 2**30:.3g} GiB",
        todo="If the file is what you expect, raise max_bytes",
    )
