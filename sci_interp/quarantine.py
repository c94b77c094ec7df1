"""Quarantine: records that cannot be used are left out whole, counted and listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from .errors import InputError, NotFiniteError, SciInterpError, StoreError
from .refusals import Refusal
from .texts import clean

__all__ = [
    "ATTRIBUTE",
    "MOST_QUARANTINED",
    "ON_ERROR",
    "UNUSABLE",
    "OnError",
    "Quarantined",
    "Tolerance",
    "describe_quarantine",
    "from_columns",
    "from_rows",
    "peek_quarantine",
    "to_columns",
    "to_rows",
]

OnError: TypeAlias = Literal["raise", "quarantine"]
ON_ERROR: Final = ("raise", "quarantine")
#: Largest share of the records that may be left out: above it the input is bad, not a record.
MOST_QUARANTINED: Final = 0.1

#: Key under which ``records.parquet`` lists them.
ATTRIBUTE: Final = "quarantine"

#: What says that one record cannot be used; other errors are of the adapter, the disk or a setting.
UNUSABLE: Final = (InputError, NotFiniteError)

_MOST_LETTERS: Final = 300
_MOST_SHOWN: Final = 20


@dataclass(frozen=True)
class Quarantined:
    """A record that was left out.

    Attributes
    ----------
    record : str
        Its name.
    n_tokens : int
        Its tokens; none of them is used. 0 of a record that has none.
    reason : str
        Why it cannot be used.
    layer : str
        The layer whose activations cannot be used; empty where the record could not be read.
    token : int or None
        First of its tokens that is bad, counted from 0; None where that is not known.
    """

    record: str
    n_tokens: int
    reason: str
    layer: str = ""
    token: int | None = None

    @classmethod
    def of(cls, record: str, n_tokens: int, error: SciInterpError) -> Quarantined:
        """Return what an error says of a record."""
        layer, token = (
            (error.layer, error.token) if isinstance(error, NotFiniteError) else ("", None)
        )
        return cls(record, n_tokens, _shorten(error.what), layer, token)

    @classmethod
    def refused(cls, refusal: Refusal) -> Quarantined:
        """Return what was said of a record when the data were opened."""
        reason = _shorten(refusal.reason)
        return cls(refusal.record, refusal.n_tokens, reason, token=refusal.token)

    def format(self) -> str:
        """Return one line that says which record it is, why, and where it is bad."""
        is_new = self.layer and repr(self.layer) not in self.reason
        place = [f"layer {self.layer!r}"] if is_new else []
        place += [] if self.token is None else [f"token {self.token}"]
        text = f"{self.record}: {self.reason}" + (f" ({', '.join(place)})" if place else "")
        return clean(text, keep="")


@dataclass(frozen=True)
class Tolerance:
    """What becomes of records that cannot be used.

    Attributes
    ----------
    on_error : {"raise", "quarantine"}
        Stop with an error that names the record, or leave the record out and go on.
    most_quarantined : float
        Largest share of the records that may be left out.

    Raises
    ------
    InputError
        If either is something else.
    """

    on_error: str = "raise"
    most_quarantined: float = MOST_QUARANTINED

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR:
            raise InputError(
                f"on_error={self.on_error!r} is not usable", allowed=", ".join(map(repr, ON_ERROR))
            )
        if not 0 <= self.most_quarantined < 1:
            raise InputError(
                f"most_quarantined={self.most_quarantined} is not usable",
                allowed="a share of the records: 0 or more, and below 1",
            )

    @property
    def quarantines(self) -> bool:
        """Whether bad records are left out."""
        return self.on_error == "quarantine"

    def require_allowed(
        self, found: Sequence[Quarantined], n_read: int, left_out: Sequence[Quarantined]
    ) -> None:
        """Refuse records that cannot be used and that nothing leaves out, or too many of them.

        Parameters
        ----------
        found
            What could not be used when the data were opened.
        n_read
            Records of the whole input.
        left_out
            What is left out beforehand.

        Raises
        ------
        InputError
            If bad records shall stop the run, or there are more than the largest share.
        """
        if self.quarantines:
            self.require_few(found, n_read)
            return
        known = {each.record for each in left_out}
        bad = [each for each in found if each.record not in known]
        if bad:
            first = repr(bad[0].record)
            which = f"{len(bad):,} records cannot be used, the first of them {first}"
            raise InputError(
                f"{which if bad[1:] else f'record {first} cannot be used'}: {bad[0].reason}",
                todo="Correct it, or take it out of the data; or leave such records out: "
                'on_error="quarantine" (--on-error quarantine) in extract, and like= (--like) '
                "its store in the other verbs",
            )

    def require_few(self, found: Sequence[Quarantined], n_read: int) -> None:
        """Refuse an input of whose records too many are bad.

        Parameters
        ----------
        found
            What was left out.
        n_read
            Records of the whole input.

        Raises
        ------
        InputError
            If there are more than the largest share.
        """
        if not found or len(found) <= self.most_quarantined * n_read:
            return
        raise InputError(
            f"{len(found)} of {n_read} records cannot be used, more than a share of "
            f"{self.most_quarantined:g}; one of them: {found[0].format()}",
            todo="Look at the data and at the network's arithmetic; or allow more: "
            "most_quarantined=..., or --most-quarantined",
        )


def to_columns(found: Sequence[Quarantined]) -> dict[str, list[Any]]:
    """Return records that were left out as JSON columns."""
    return {each.name: [getattr(one, each.name) for one in found] for each in fields(Quarantined)}


def from_columns(columns: Mapping[str, Sequence[Any]]) -> tuple[Quarantined, ...]:
    """Return what :func:`to_columns` was given.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they hold something else.
    """
    names = [each.name for each in fields(Quarantined)]
    rows = zip(*(columns[name] for name in names), strict=True)
    return tuple(_checked(dict(zip(names, row, strict=True)), least=0) for row in rows)


def peek_quarantine(path: Path) -> tuple[tuple[Quarantined, ...], int]:
    """Return what a ``records.parquet`` says was left out, and its number of rows, unread.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        described = metadata.schema.to_arrow_schema().pandas_metadata or {}
        columns = described.get("attributes", {}).get(ATTRIBUTE, to_columns(()))
        return from_columns(columns), int(metadata.num_rows)
    except Exception as error:  # noqa: BLE001 - damaged bytes make pyarrow raise anything
        raise StoreError(f"{path} cannot be read: {error}") from None


def to_rows(found: Mapping[int, Quarantined]) -> list[dict[str, Any]]:
    """Return records that were left out, by their first token, as JSON rows."""
    return [{"start": start, **asdict(found[start])} for start in sorted(found)]


def from_rows(rows: Sequence[Mapping[str, Any]]) -> dict[int, Quarantined]:
    """Return what :func:`to_rows` was given.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they hold something else.
    """
    found = {}
    for row in rows:
        values = dict(row)
        start = values.pop("start")
        if not isinstance(start, int):
            raise TypeError(f"a record begins at {start!r}")
        found[start] = _checked(values, least=1)
    return found


def _checked(values: Mapping[str, Any], *, least: int) -> Quarantined:
    made = Quarantined(**values)
    texts = (made.record, made.reason, made.layer)
    numbers = (made.n_tokens, 0 if made.token is None else made.token)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{texts} are not texts")
    whole = all(isinstance(number, int) and number >= 0 for number in numbers)
    if not whole or made.n_tokens < least:
        raise ValueError(f"{numbers} are no numbers of tokens")
    return made


def _shorten(text: str) -> str:
    reason = " ".join(text.split())
    return reason if len(reason) <= _MOST_LETTERS else reason[: _MOST_LETTERS - 3] + "..."


def describe_quarantine(
    found: Sequence[Quarantined], n_records: int, n_tokens: int
) -> Iterator[str]:
    """Yield lines that count what was read, used and left out, and list what was left out.

    Parameters
    ----------
    found
        What was left out; nothing is said of nothing.
    n_records, n_tokens
        What is used.
    """
    if not found:
        return
    lost = sum(each.n_tokens for each in found)
    counts = (("records", n_records, len(found)), ("tokens", n_tokens, lost))
    for what, used, left in counts:
        yield f"{what.ljust(9)} {used + left:,} read = {used:,} used + {left:,} quarantined"
    for each in found[:_MOST_SHOWN]:
        yield f"  {each.format()}"
    if len(found) > _MOST_SHOWN:
        yield f"  and {len(found) - _MOST_SHOWN:,} more"
