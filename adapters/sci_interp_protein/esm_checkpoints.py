"""ESM-2 and ESM C through transformers, from the hub or from a local directory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sci_interp.errors import InputError, MissingExtraError, SciInterpError
from sci_interp.hooks import declare_torchvision_operators

from .alphabet import Vocabulary
from .network import Network

__all__ = ["CLASSES", "EsmNetwork", "EsmcNetwork", "load_esm", "read_config"]

#: Class in transformers and first version that has it, by ``model_type``.
CLASSES = {"esm": ("EsmForMaskedLM", "4.48"), "esmc": ("EsmcForMaskedLM", "5.16")}

_SAFE = "weights as *.safetensors; pickled weights (*.bin, *.pt) may run code and are refused"
#: Far beyond the largest published networks: 80 layers, a width of 5,120.
_MOST_LAYERS, _MOST = 1_000, 2**20
_HUB = "a model of the hub, or a directory with config.json and *.safetensors"


class EsmNetwork(Network):
    """ESM-2; layers ``embeddings``, ``encoder.layer.N``, ``encoder.emb_layer_norm_after``."""

    block_pattern = r"encoder\.layer\.\d+"
    landmark_pattern = r"embeddings|encoder\.emb_layer_norm_after"
    unused_pattern = r"contact_head|pooler"

    @property
    def has_head(self) -> bool:
        """Whether the checkpoint held the language-model head."""
        return self.whole is not self.root

    def logits(self, tokens: Tensor) -> Tensor:
        """Return ``(B, L, V)`` for tokens ``(B, L)``; padding is masked in the attention."""
        result: Tensor = self._call(self.whole, tokens).logits
        return result

    def run(self, tokens: Tensor) -> None:
        """Run the trunk alone."""
        self._call(self.root, tokens)

    def _call(self, module: nn.Module, tokens: Tensor) -> Any:
        real = (tokens != self.vocabulary.pad).long()
        return module(input_ids=tokens, attention_mask=real, return_dict=True)


class EsmcNetwork(EsmNetwork):
    """ESM C; layers ``embed_tokens``, ``layers.N``, ``norm``."""

    block_pattern = r"layers\.\d+"
    landmark_pattern = r"embed_tokens|norm"


def read_config(model: str) -> Mapping[str, Any]:
    """Return ``config.json`` of a local directory or of a model on the hub.

    Raises
    ------
    InputError
        If there is none, or the hub cannot be reached.
    """
    if Path(model).is_dir():
        path = Path(model) / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{path} cannot be read: {reason}", allowed=_HUB, todo="Check the path"
            ) from None
    else:
        with _plain_errors(model):
            config, _ = _transformers().PretrainedConfig.get_config_dict(model)
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"config.json of {model!r} names no model_type", allowed=_HUB)
    return config


def load_esm(model: str, config: Mapping[str, Any], name: str) -> EsmNetwork:
    """Load an ESM-2 or ESM C checkpoint with its weights in float32.

    Parameters
    ----------
    model
        Hub id or local directory; only safetensors are read, no remote code runs.
    config
        The contents of its ``config.json``.
    name
        Name of the network in manifests.

    Raises
    ------
    InputError
        If the weights are missing, pickled, incomplete, or not of a residue alphabet.
    MissingExtraError
        If transformers is not installed.
    """
    kind = str(config["model_type"])
    loader = _find_class(kind)
    _refuse_pickles(model)
    _refuse_sizes(model, config)
    with _plain_errors(model):
        vocabulary, context = _read_vocabulary(model, config), _context(config)
    with _plain_errors(model), _quiet():
        whole, report = loader.from_pretrained(
            model, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    network = EsmcNetwork if kind == "esmc" else EsmNetwork
    root = getattr(whole, whole.base_model_prefix)
    missing = [key for key in report["missing_keys"] if not _optional(key)]
    headless = any(key.startswith("lm_head") for key in missing)
    if trunk := [key for key in missing if not key.startswith("lm_head")]:
        raise InputError(
            f"the weights of {model!r} lack {trunk[0]!r} and {len(trunk) - 1} more tensors",
            todo="Download or save the checkpoint again",
        )
    return network(
        name,
        root,
        root.float() if headless else whole.float(),
        vocabulary=vocabulary,
        max_residues=context,
    )


def _optional(key: str) -> bool:
    # position_ids and inv_freq are constants that some versions of transformers store.
    return any(part in key for part in ("contact_head", "pooler", "position_ids", "inv_freq"))


def _context(config: Mapping[str, Any]) -> int | None:
    """Return the residues that fit: only learned absolute positions set a limit."""
    if config.get("model_type") == "esm" and config.get("position_embedding_type") != "rotary":
        # Positions start after the padding index; two tokens mark the ends of a protein.
        return int(config.get("max_position_embeddings", 1026)) - 4
    return None


def _transformers() -> Any:
    declare_torchvision_operators()
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "protein") from None
    return transformers


def _find_class(kind: str) -> Any:
    transformers = _transformers()
    if kind not in CLASSES:
        raise InputError(
            f"the model type {kind!r} is not supported",
            allowed="ESM-2 (esm), ESM C (esmc) and the bundled networks (bytenet)",
        )
    name, version = CLASSES[kind]
    found = getattr(transformers, name, None)
    if found is None:
        raise InputError(
            f"transformers {transformers.__version__} has no {name}",
            allowed=f"transformers >= {version}",
            todo=f"pip install 'transformers>={version}', or load ESM C with model='esm:NAME'",
        )
    return found


def _refuse_pickles(model: str) -> None:
    folder = Path(model)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth"})
        holds = f"only the pickled weights {pickled[0]}" if pickled else "no weights"
        raise InputError(
            f"{folder} holds {holds}",
            allowed=_SAFE,
            todo="Save the model with save_pretrained, which writes safetensors",
        )


def _refuse_sizes(model: str, config: Mapping[str, Any]) -> None:
    """Refuse sizes of no ESM network: modules are made before any weight is compared with them."""
    for name, value in config.items():
        most = _MOST_LAYERS if "layers" in name else _MOST
        if type(value) in (int, float) and not abs(value) <= most:
            raise InputError(
                f"config.json of {model!r} gives {name} as {value!r}",
                allowed=f"at most {most:,}",
                todo="Download or save the checkpoint again",
            )


def _read_vocabulary(model: str, config: Mapping[str, Any]) -> Vocabulary:
    """Return the letter order: of ``vocab.txt`` beside local weights, else that of the family."""
    path = Path(model) / "vocab.txt"
    vocabulary = Vocabulary()
    if path.is_file():
        try:
            vocabulary = Vocabulary(tuple(path.read_text(encoding="utf-8").split()))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}", todo="Check the file") from None
    size = int(config.get("vocab_size") or 0)
    if vocabulary.missing or size < len(vocabulary.tokens):
        lacks = vocabulary.missing[0] if vocabulary.missing else f"token {size}"
        raise InputError(f"the vocabulary of {model!r} is not one of residues: it lacks {lacks!r}")
    stated = (config.get("pad_token_id", 1), config.get("mask_token_id", vocabulary.mask))
    expected = (vocabulary.pad, vocabulary.mask)
    if any(a not in (None, b) for a, b in zip(stated, expected, strict=True)):
        raise InputError(
            f"config.json of {model!r} gives padding and mask the indices {stated}",
            allowed=f"{expected}, as in the residue vocabulary of the ESM family",
        )
    return vocabulary


@contextlib.contextmanager
def _plain_errors(model: str) -> Iterator[None]:
    try:
        yield
    except SciInterpError:
        raise
    except Exception as error:  # noqa: BLE001 - transformers raises anything
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"the model {model!r} cannot be loaded: {reason}",
            allowed=f"{_HUB}; {_SAFE}",
            todo="Check the name and the network connection, or name a downloaded directory",
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' loading report and bars from the terminal."""
    logging: Any = _transformers().utils.logging
    before = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
