"""plan: study -> bytes, hours and shards of every step, from a pilot on this machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from .axis import TokenAxis
from .errors import InputError
from .pilot import PILOT_TOKENS, Pilot, measure_pilot
from .quarantine import Tolerance
from .study import Study, read_study
from .study_shares import SHUFFLED, recipe_of

__all__ = ["PAPER_SCALES", "PaperScale", "Plan", "plan"]

_HOUR: Final = 3600.0
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class PaperScale:
    """A corpus and a network of the literature, in constants.

    Attributes
    ----------
    name : str
        Both.
    n_tokens : float
        Tokens of the corpus.
    width : int
        Channels of a layer.
    flops : float
        Operations of a forward pass, per token.
    source : str
        Where the constants come from.
    """

    name: str
    n_tokens: float
    width: int
    flops: float
    source: str


PAPER_SCALES: Final = (
    PaperScale(
        "UniRef50 x ESM-2 650M",
        19.9e9,
        1_280,
        2 * 6.5e8,
        "66 M sequences of 300 residues; two operations a parameter and token",
    ),
    PaperScale(
        "ERA5, 40 years x GraphCast mesh",
        58_440 * 40_962.0,
        512,
        2.4e13 / 40_962,
        "6-hourly, 40,962 mesh nodes; 24 TFLOP a step, estimated from its edges (16 rounds on "
        "327,660; 1.6 M from and 3.1 M to the grid) and its width of 512",
    ),
)
#: Codes of these: active features a token, and bytes of each (u16 feature, u8 level).
PAPER_K: Final = 32
PAPER_FEATURES: Final = 10_240
ENTRY_BYTES: Final = 3

OUTSIDE: Final = """\
Not in it: the other baselines, enrich, surface, the page. Without extract (a stream in its place)
the network runs again in every pass over the tokens, and no activations are stored."""
PAPER_NOTE: Final = f"""\
  hours: forward passes at the speed of matrix products here; encoding as measured, by width and
  features; codes of k = {PAPER_K} of {PAPER_FEATURES:,} features, {ENTRY_BYTES} bytes each, \
before compression"""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a study will take.

    Attributes
    ----------
    study : Study
        The study.
    n_records, n_tokens : int
        Its size, or the size that was asked for.
    workers : int
        Processes that share the shards; each as fast as this one.
    pilot : Pilot
        What was measured.
    table : DataFrame
        A row a step: ``step, tokens, tokens_per_s, hours, bytes, shards``.
    paper : DataFrame
        A row a paper scale: ``what, tokens, dense_bytes, code_bytes, forward_hours,
        encode_hours``.
    """

    study: Study
    n_records: int
    n_tokens: int
    workers: int
    pilot: Pilot
    table: pd.DataFrame
    paper: pd.DataFrame

    def format(self) -> str:
        """Return the tables as text."""
        pilot = self.pilot
        size = f"{self.n_records:,} records, {self.n_tokens:,} tokens, {pilot.width} channels"
        sample = f"{pilot.n_records} records, {pilot.n_tokens:,} tokens"
        sizes = f"{pilot.dense_bytes:.0f} bytes of activations, {pilot.code_bytes:.1f} of codes"
        text = [
            f"{self.study.path}: {size}, {self.workers} worker(s)",
            f"Measured here on {sample}: a token has {sizes}; {pilot.flops / 1e9:.0f} GFLOP/s",
            "",
            _format_table(self.table),
            "",
            OUTSIDE,
            "",
            "Paper scale, one worker like this one:",
            _format_table(self.paper),
            *(f"  {scale.name}: {scale.source}" for scale in PAPER_SCALES),
            PAPER_NOTE,
        ]
        return "\n".join(text)


def plan(
    study: Study | Path | str,
    *,
    tokens: int | None = None,
    records: int | None = None,
    workers: int = 1,
    pilot_tokens: int = PILOT_TOKENS,
) -> Plan:
    """Measure a pilot of a study, and tell what the whole takes.

    Nothing is written that stays.

    Parameters
    ----------
    study
        A study file, or one that was read.
    tokens, records
        Plan for so many in place of the study's own; one of them follows from the other by the
        mean length of the study's records.
    workers
        Processes that share the shards of annotate, extract and encode.
    pilot_tokens
        Tokens that the pilot takes, about.

    Raises
    ------
    InputError
        If a number is not positive, or both ``tokens`` and ``records`` are given.
    SciInterpError
        If the study or its data cannot be used.
    """
    given = {"tokens": tokens, "records": records, "workers": workers, "pilot_tokens": pilot_tokens}
    for name, value in given.items():
        if value is not None and value < 1:
            raise InputError(f"{name}={value} is not usable", allowed="a positive number")
    if tokens is not None and records is not None:
        raise InputError(
            f"tokens={tokens} and records={records} were given", allowed="one of the two"
        )
    study = study if isinstance(study, Study) else read_study(study)
    adapter, dataset = recipe_of(study).open_once()
    axis = TokenAxis.of(dataset, study.splits, tolerance=Tolerance(**vars(study.extract)))
    length = axis.n_tokens / axis.n_records
    if records is not None:
        n_records, n_tokens = records, round(records * length)
    elif tokens is not None:
        n_records, n_tokens = max(1, round(tokens / length)), tokens
    else:
        n_records, n_tokens = axis.n_records, axis.n_tokens
    pilot = measure_pilot(study, adapter, dataset, n_tokens=pilot_tokens)
    rows = pd.DataFrame(list(_steps(study, pilot, n_tokens, workers)), columns=_COLUMNS)
    paper = pd.DataFrame([_paper_row(study, pilot, scale) for scale in PAPER_SCALES])
    return Plan(study, n_records, n_tokens, workers, pilot, rows, paper)


_COLUMNS = ["step", "tokens", "tokens_per_s", "hours", "bytes", "shards"]
_Row = tuple[str, int, float, float, float, int]


def _steps(study: Study, pilot: Pilot, n_tokens: int, workers: int) -> Iterator[_Row]:
    """Yield the steps, and their sum."""
    n_seeds, n_decoys = study.sae.n_seeds, study.surface.n_decoys
    n_networks = 2 if SHUFFLED in study.baselines.use else 1
    controls = " and of the shuffled network" if n_networks == 2 else ""
    n_codes = n_seeds * n_networks
    dense = n_tokens * pilot.dense_bytes
    codes = n_tokens * pilot.code_bytes
    dense_shards = -(-n_tokens // pilot.dense_shard_tokens)
    code_shards = -(-n_tokens // pilot.code_shard_tokens)

    def row(
        step: str, tokens: int, speed: float, n_workers: int, size: float = 0, shards: int = 0
    ) -> _Row:
        return step, tokens, speed, tokens / speed / n_workers / _HOUR, size, shards

    decoding = 1 / (1 / pilot.forward + 1 / pilot.encode)
    rows = [
        row("annotate", n_tokens, pilot.annotate, workers),
        row(
            f"extract{controls}",
            n_tokens * n_networks,
            pilot.forward,
            workers,
            dense * n_networks,
            dense_shards * n_networks,
        ),
        row(f"train, {n_codes} autoencoders", study.sae.n_tokens * n_codes, pilot.train, 1),
        row(
            f"encode, {n_codes} autoencoders",
            n_tokens * n_codes,
            pilot.encode,
            workers,
            codes * n_codes,
            code_shards * n_codes,
        ),
        row(
            f"decoys, {n_decoys}: forward and encode",
            n_tokens * n_decoys,
            decoding,
            workers,
            codes * n_decoys,
            code_shards * n_decoys,
        ),
    ]
    yield from rows
    yield (
        "all of these",
        sum(each[1] for each in rows),
        float("nan"),
        sum(each[3] for each in rows),
        sum(each[4] for each in rows),
        sum(each[5] for each in rows),
    )


def _paper_row(study: Study, pilot: Pilot, scale: PaperScale) -> dict[str, object]:
    # One multiplication and addition for every weight of an encoder.
    share = (scale.width * PAPER_FEATURES) / (pilot.width * study.sae.features)
    return {
        "what": scale.name,
        "tokens": scale.n_tokens,
        "dense_bytes": scale.n_tokens * scale.width * 2,
        "code_bytes": scale.n_tokens * PAPER_K * ENTRY_BYTES,
        "forward_hours": scale.n_tokens * scale.flops / pilot.flops / _HOUR,
        "encode_hours": scale.n_tokens * share / pilot.encode / _HOUR,
    }


def _format_table(table: pd.DataFrame) -> str:
    shown = table.copy()
    for name in table.columns:
        if name.endswith("bytes"):
            shown[name] = [_format_bytes(value) for value in table[name]]
        elif name.endswith("hours"):
            shown[name] = [_format_hours(value) for value in table[name]]
        elif name in ("tokens", "tokens_per_s", "shards"):
            shown[name] = ["" if math.isnan(value) else f"{value:,.0f}" for value in table[name]]
    text: str = shown.to_string(index=False)
    return text


def _format_hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _format_bytes(n_bytes: float) -> str:
    if n_bytes == 0:
        return "-"
    place = 0
    while n_bytes >= 1000 and place < len(_UNITS) - 1:
        n_bytes, place = n_bytes / 1000, place + 1
    return f"{n_bytes:.3g} {_UNITS[place]}"
