"""Every dim, column and file name, once."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

TOKEN: Final = "token"
CHANNEL: Final = "channel"
LABEL: Final = "label"
RECORD: Final = "record"
BLOCK: Final = "block"
INSTANCE: Final = "instance"
EVENT: Final = "event"
GROUP: Final = "group"
SPLIT: Final = "split"
START: Final = "start"
STOP: Final = "stop"
WEIGHT: Final = "weight"
STRATUM: Final = "stratum"
EXCHANGE: Final = "exchange"
N_TOKENS: Final = "n_tokens"

Split: TypeAlias = Literal["train", "discovery", "test", "vault"]
SPLITS: Final[tuple[Split, ...]] = ("train", "discovery", "test", "vault")

#: Columns of ``records.parquet``: half-open token ranges on the common axis.
RECORD_COLUMNS: Final = (RECORD, BLOCK, START, STOP, SPLIT, WEIGHT, STRATUM, EXCHANGE)
#: Columns of ``labels.parquet``. A nuisance label explains a feature but is no finding.
LABEL_COLUMNS: Final = (LABEL, GROUP, "nuisance", "definition", "extent")
#: Columns of ``runs.parquet``: half-open token ranges; an instance may have several runs.
RUN_COLUMNS: Final = (LABEL, INSTANCE, START, STOP)
#: Columns of ``events.parquet``: instances that belong to an event of several records.
EVENT_COLUMNS: Final = (INSTANCE, EVENT)
#: Columns of ``known.parquet``: token ranges in which a label group was assessed.
KNOWN_COLUMNS: Final = (GROUP, START, STOP)

RECORDS_FILE: Final = "records.parquet"
MANIFEST_FILE: Final = "manifest.json"
REQUEST_FILE: Final = "request.json"
JOURNAL_FILE: Final = "journal.jsonl"
#: Of an artefact that is being written: who writes, how far it is, and why it stopped. Named like
#: temporary files: no part of the artefact.
LOCK_FILE: Final = "lock.tmp"
PROGRESS_FILE: Final = "progress.tmp"
FAILURE_FILE: Final = "failure.tmp"

SHARD_TOKENS: Final = 65_536
CHUNK_TOKENS: Final = 1_024
MAX_SHARD_BYTES: Final = 128 * 2**20

#: Key under which an encoder states the blocks it was fitted on, by their places in [0, 1).
BLOCKS_SEEN: Final = "blocks_seen"

#: Activity entries that enrichment holds at once, five bytes each.
MAX_ENTRIES: Final = 2**21

#: Quantised codes: level q in 1..255 stands for ``scale * 2 ** ((q - 255) / LEVELS_PER_OCTAVE)``.
MAX_LEVEL: Final = 255
LEVELS_PER_OCTAVE: Final = 32

#: Thresholds of the counting kernel: lowest level of each bin (1 = any activity).
BIN_FLOORS: Final = (1, 64, 96, 112, 128, 144, 160, 176, 192, 208, 216, 224, 232, 240, 248, 255)

LinkClass: TypeAlias = Literal[
    "site", "regional", "record", "positional", "none", "not identifiable", "not tested"
]
LINK_CLASSES: Final[tuple[LinkClass, ...]] = (
    "site",
    "regional",
    "record",
    "positional",
    "none",
    "not identifiable",
    "not tested",
)
