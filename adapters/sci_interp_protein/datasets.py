"""open: FASTA x annotation files x cluster table -> ProteinDataset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from sci_interp.errors import InputError, UnknownNameError

from .annotations import load_annotations
from .clusters import assign_blocks
from .records import ProteinDataset, read_fasta
from .reference import read_reference
from .text_files import limited

__all__ = ["OPTIONS", "open_dataset"]

#: What may be given beside the sequences.
OPTIONS = ("features", "clusters", "structures", "residue_strings", "terms", "limit")


def open_dataset(path: Path | None, **options: object) -> ProteinDataset:
    """Read proteins, what is known of them, and their homology blocks.

    Parameters
    ----------
    path
        FASTA, plain or gzipped; None for the reference set of the package.
    **options
        Paths by the names in :data:`OPTIONS`, and ``limit``: bytes that a line, a text that is
        parsed whole, or what gzip unpacks may take; None counts as not given.

    Raises
    ------
    InputError
        If a file cannot be used, or files are given beside the reference set.
    UnknownNameError
        If there is no option of that name.
    """
    files = _parse_options({name: value for name, value in options.items() if name != "limit"})
    with limited(_parse_limit(options.get("limit"))):
        return _open_files(path, files)


def _open_files(path: Path | None, files: Mapping[str, Path]) -> ProteinDataset:
    if path is None:
        if files:
            raise InputError(
                f"{next(iter(files))} was given without sequences",
                todo="Name a FASTA file; the reference set brings its own annotations",
            )
        return _open_reference()
    records, refused = read_fasta(path)
    sequences = {record: found.sequence for record, found in records.items()}
    return ProteinDataset(
        sequences=sequences,
        blocks=assign_blocks(sequences, files.get("clusters")),
        annotations=load_annotations(
            sequences,
            features=files.get("features"),
            structures=files.get("structures"),
            residue_strings=files.get("residue_strings"),
            terms=files.get("terms"),
            refused=[each.record for each in refused],
        ),
        names={record: found.name for record, found in records.items() if found.name},
        refused=refused,
    )


def _parse_options(options: Mapping[str, object]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise UnknownNameError("option of protein data", name, OPTIONS)
        if value is None:
            continue
        if not isinstance(value, str | Path):
            raise InputError(f"{name} is {value!r}", allowed="the path of a file or folder")
        files[name] = Path(value)
    return files


def _parse_limit(value: object) -> int | None:
    # The command line and study files hand words over as paths.
    text = value.name if isinstance(value, Path) else value
    if text is None:
        return None
    try:
        number = float(str(text))
    except ValueError:
        number = math.nan
    if not 1 <= number < math.inf or isinstance(value, bool):
        raise InputError(f"limit is {value!r}", allowed="a number of bytes")
    return int(number)


def _open_reference() -> ProteinDataset:
    reference = read_reference()
    return ProteinDataset(
        reference.sequences, reference.clusters, reference.annotations, reference.names
    )
