"""Study files: one TOML file says what is run, on what, with which numbers.

Every key is checked before anything runs. Paths are relative to the study file.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from .errors import InputError, UnknownNameError
from .quarantine import MOST_QUARANTINED, ON_ERROR
from .schema import MAX_ENTRIES, SPLITS, Split

__all__ = [
    "ARCHITECTURES",
    "BASELINES",
    "LAYERED_ARCHITECTURES",
    "PENALISED_ARCHITECTURES",
    "PRECISIONS",
    "BaselineSettings",
    "EnrichSettings",
    "ExtractSettings",
    "ReportSettings",
    "SaeSettings",
    "Study",
    "StudySettings",
    "SurfaceSettings",
    "is_address",
    "read_study",
]

#: What the features of the SAE are compared with. Each family of the adapter's nuisances (token
#: identity, position) is a baseline of its own; covariates are left out where it knows none.
BASELINES = ("channels", "pca", "ica", "nuisances", "covariates", "shuffled", "probe")

#: Names in ``sci_interp.sae.sparsity``, which imports torch: those for one layer, of these those
#: that price activity, and those for several layers.
ARCHITECTURES = ("topk", "batch_topk", "matryoshka", "abs_topk", "relu", "gated", "jumprelu")
PENALISED_ARCHITECTURES = ("relu", "gated", "jumprelu")
PRECISIONS = ("auto", "int8", "bfloat16", "float32")
LAYERED_ARCHITECTURES = ("transcoder", "crosscoder")

_MAX_STUDY_BYTES = 2**20
_Settings = TypeVar("_Settings")


def _setting(
    default: Any = MISSING,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    limits = {"least": least, "most": most, "choices": choices}
    return field(default=default, metadata=limits)


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """The table ``[study]``."""

    adapter: str = _setting()
    out: str = _setting()
    model: str = _setting("")
    layer: str = _setting("")
    seed: int = _setting(0, least=0)


@dataclass(frozen=True, kw_only=True)
class ExtractSettings:
    """The table ``[extract]``: what becomes of records that cannot be used."""

    on_error: Literal["raise", "quarantine"] = _setting("raise", choices=ON_ERROR)
    #: Largest share of the records that may be left out.
    most_quarantined: float = _setting(MOST_QUARANTINED, least=0.0, most=0.99)


@dataclass(frozen=True, kw_only=True)
class SaeSettings:
    """The table ``[sae]``: ``n_seeds`` autoencoders, the first of which is enriched."""

    architecture: str = _setting("topk", choices=ARCHITECTURES)
    features: int = _setting(2048, least=1)
    k: int = _setting(32, least=1)
    n_tokens: int = _setting(2_000_000, least=1)
    n_seeds: int = _setting(3, least=1, most=100)
    batch_size: int = _setting(4096, least=1)
    #: 0 lets ``train`` choose.
    learning_rate: float = _setting(0.0, least=0.0)
    #: Of relu, gated and jumprelu; 0 steers it to ``k`` active features.
    penalty: float = _setting(0.0, least=0.0)
    whitening: bool = _setting(False)
    #: Arithmetic in which active features are chosen; "auto": the fastest of the processor.
    precision: Literal["auto", "int8", "bfloat16", "float32"] = _setting("auto", choices=PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class EnrichSettings:
    """The table ``[enrich]``."""

    protocol: Literal["two-stage", "interplm"] = _setting(
        "two-stage", choices=("two-stage", "interplm")
    )
    q: float = _setting(0.05, least=0.0, most=1.0)
    n_permutations: int = _setting(4_000, least=1)
    max_permutations: int = _setting(100_000, least=1)
    n_per_label: int = _setting(0, least=0)
    max_entries: int = _setting(MAX_ENTRIES, least=1)
    n_bootstrap: int = _setting(2_000, least=0)
    dependence: Literal["bh", "by", "maxt"] = _setting("bh", choices=("bh", "by", "maxt"))


@dataclass(frozen=True, kw_only=True)
class BaselineSettings:
    """The table ``[baselines]``."""

    use: tuple[str, ...] = _setting(BASELINES, choices=BASELINES)


@dataclass(frozen=True, kw_only=True)
class SurfaceSettings:
    """The table ``[surface]``."""

    q_missing: float = _setting(0.05, least=0.0, most=1.0)
    q_control: float = _setting(0.1, least=0.0)
    #: Sets of decoys, each as large as the data: more resolve smaller p-values.
    n_decoys: int = _setting(4, least=1, most=100)


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """The table ``[report]``."""

    title: str = _setting("")
    n_features: int = _setting(20, least=1, most=1000)


@dataclass(frozen=True)
class Study:
    """A study file, checked.

    Attributes
    ----------
    path : Path
        The file.
    out : Path
        Folder of all artefacts.
    study, extract, sae, enrich, baselines, surface, report
        The tables of the file.
    model_options : mapping
        The table ``[model]``: options of the adapter.
    data : mapping
        The table ``[data]``: ``path`` and further options of ``adapter.open``; strings are paths,
        or addresses with ``://``, which stay strings.
    splits : mapping or None
        The table ``[splits]``: shares of the blocks.
    """

    path: Path
    out: Path
    study: StudySettings
    extract: ExtractSettings
    sae: SaeSettings
    enrich: EnrichSettings
    baselines: BaselineSettings
    surface: SurfaceSettings
    report: ReportSettings
    model_options: Mapping[str, Any]
    data: Mapping[str, Any]
    splits: Mapping[Split, float] | None


_TABLES: Mapping[str, type[Any]] = {
    "study": StudySettings,
    "extract": ExtractSettings,
    "sae": SaeSettings,
    "enrich": EnrichSettings,
    "baselines": BaselineSettings,
    "surface": SurfaceSettings,
    "report": ReportSettings,
}
_FREE_TABLES = ("model", "data", "splits")


def read_study(path: Path | str) -> Study:
    """Read and check a study file.

    Raises
    ------
    InputError
        If the file is absent or no TOML, or a value has the wrong type or is out of range.
    UnknownNameError
        If there is a table or key that no verb knows.
    """
    path = Path(path)
    raw = _read_toml(path)
    for name, table in raw.items():
        if name not in (*_TABLES, *_FREE_TABLES):
            raise UnknownNameError("table", name, [*_TABLES, *_FREE_TABLES], where=str(path))
        if not isinstance(table, dict):
            raise InputError(f"{path}: {name!r} is {table!r}", allowed=f"a table: [{name}]")
    tables = {
        name: _read_table(kind, raw.get(name, {}), f"{path}: [{name}]")
        for name, kind in _TABLES.items()
    }
    sae = tables["sae"]
    if sae.penalty > 0 and sae.architecture not in PENALISED_ARCHITECTURES:
        raise InputError(
            f"{path}: [sae]: the architecture {sae.architecture!r} has no penalty",
            allowed=", ".join(PENALISED_ARCHITECTURES),
        )
    return Study(
        path=path,
        out=_beside(path, tables["study"].out).resolve(),
        model_options=raw.get("model", {}),
        data={key: _resolve(path, value) for key, value in raw.get("data", {}).items()},
        splits=_read_splits(path, raw.get("splits")),
        **tables,
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_STUDY_BYTES:
            raise InputError(f"{path} is larger than a study file can be", allowed="1 MiB")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", todo="Name a study file (TOML)"
        ) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not a TOML file: {error}", todo="Correct the file, or name a study file"
        ) from None


def _read_table(kind: type[_Settings], raw: Mapping[str, Any], where: str) -> _Settings:
    known: dict[str, Field[Any]] = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key in raw:
        if key not in known:
            raise UnknownNameError("key", key, known, where=where)
    for name, item in known.items():
        if item.default is MISSING and name not in raw:
            raise InputError(f"{where} lacks {name}", todo=f'Add: {name} = "..."')
    return kind(**{key: _check(known[key], value, where) for key, value in raw.items()})


def _check(item: Field[Any], value: Any, where: str) -> Any:
    checks = {"int": _is_int, "float": _is_number, "str": _is_text, "tuple[str, ...]": _is_texts}
    checks["bool"] = _is_flag
    words = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}
    kind = "str" if item.metadata["choices"] and item.name != "use" else str(item.type)
    if not checks[kind](value):
        wanted = words.get(kind, "a list of texts")
        raise InputError(f"{where}: {item.name} is {value!r}", allowed=wanted)
    least, most = item.metadata["least"], item.metadata["most"]
    if (least is not None and value < least) or (most is not None and value > most):
        upper = "" if most is None else f" and at most {most}"
        raise InputError(f"{where}: {item.name} is {value!r}", allowed=f"at least {least}{upper}")
    choices = item.metadata["choices"]
    for each in value if isinstance(value, list) else [value]:
        if choices and each not in choices:
            raise UnknownNameError("value", each, choices, where=f"{where}: {item.name}")
    return tuple(value) if isinstance(value, list) else value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # TOML can write nan and inf.
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    # No file system knows a path that holds the null character.
    return isinstance(value, str) and "\0" not in value


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(each) for each in value)


def _read_splits(path: Path, raw: Mapping[str, Any] | None) -> dict[Split, float] | None:
    if raw is None:
        return None
    shares: dict[Split, float] = {}
    for key, value in raw.items():
        name = next((split for split in SPLITS if split == key), None)
        if name is None:
            raise UnknownNameError("key", key, SPLITS, where=f"{path}: [splits]")
        if not _is_number(value):
            raise InputError(f"{path}: [splits]: {key} is {value!r}", allowed="a number")
        shares[name] = float(value)
    return shares


def is_address(value: str) -> bool:
    """Return whether a text is an address (``gs://...``) and no path of this machine."""
    return "://" in value


def _beside(path: Path, value: str) -> Path:
    return path.parent / Path(value).expanduser()


def _resolve(path: Path, value: Any) -> Any:
    if isinstance(value, str):
        if not _is_text(value):
            raise InputError(f"{path}: [data] holds {value!r}", allowed="paths without a null")
        return value if is_address(value) else _beside(path, value)
    if isinstance(value, list):
        return [_resolve(path, each) for each in value]
    return value
