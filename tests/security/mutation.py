"""Damage to bytes: bits flipped, stretches cut, doubled, or put in."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

__all__ = ["KINDS", "PIECES", "VALUES", "Change", "damage", "draw_changes"]

Kind = Literal["flip", "cut", "double", "insert", "value"]
KINDS: tuple[Kind, ...] = ("flip", "cut", "double", "insert", "value")

#: What parsers trip over: separators, odd numbers, brackets, characters that are none.
PIECES: tuple[bytes, ...] = (
    *(b"\t", b"\n", b"\r\n", b"\0", b" ", b",", b";", b'"', b"'", b"|", b">", b"//\n", b"#"),
    *(b"-1", b"0", b"9" * 30, b"1e999", b"nan", b"-inf", b"\xd9\xa3", b"?", b"<", b"null", b"true"),
    *(b"[", b"]", b"{", b"}", b"[" * 3000, b'{"":', b"..", b"../", b"/", b"\\", b"%s", b"\x1b[2J"),
    *(b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc2\x85", b"\x1f\x8b", b"PK\x03\x04", b"\x80"),
)

#: What is put in place of a value of JSON.
VALUES: tuple[bytes, ...] = (
    *(b"null", b"true", b"0", b"-1", b"1", b"2", b"0.5", b"1e308", b"NaN", b"-Infinity", b"[]"),
    *(b"4294967296", b"9223372036854775808", b"1" + b"0" * 40, b'""', b'"x"', b'"0"', b'"../x"'),
    *(
        b'"/etc/passwd"',
        b'"a\\u0000"',
        b'"\\ud800"',
        b"{}",
        b"[[]]",
        b'[""]',
        b'{"a": 1}',
        b"[1, -1]",
    ),
    *(b'"float64"', b'"F64"', b'"I8"', b'"zlib"', b'"gzip"', b"[1048576, 1048576]", b'"|O"'),
)


class Change(NamedTuple):
    """One change.

    Attributes
    ----------
    kind
        What is done.
    place : float
        Where, as a share of the length.
    n_bytes : int
        How many bytes it takes, or which bit of the byte is flipped.
    piece : bytes
        What is put in; for ``value`` what stands in place of a value, where the bytes are JSON,
        lines of JSON, or begin with it as safetensors do.
    """

    kind: Kind
    place: float
    n_bytes: int
    piece: bytes


def damage(data: bytes, changes: Sequence[Change]) -> bytes:
    """Return ``data`` after all changes, one upon the other."""
    for kind, place, n_bytes, piece in changes:
        at = int(place * len(data))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << n_bytes % 8)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + n_bytes :]
        elif kind == "double":
            data = data[: at + n_bytes] + data[at:]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "value":
            data = _with_value(data, place, piece)
    return data


def _with_value(data: bytes, place: float, piece: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    if 0 < length <= len(data) - 8 and data[8:9] == b"{":
        header = _with_value(data[8 : 8 + length], place, piece)
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    try:
        whole = [json.loads(data)]
    except (ValueError, RecursionError):
        try:
            whole = [json.loads(line) for line in data.splitlines()]
        except (ValueError, RecursionError):
            return data
    places = list(_places(whole))
    if places:
        holder, key = places[int(place * len(places))]
        holder[key] = json.loads(piece)
    return b"\n".join(json.dumps(each).encode("utf-8", "surrogatepass") for each in whole)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every value in lists and objects by what holds it, and where."""
    keys = range(len(value)) if isinstance(value, list) else list(value)
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def draw_changes(rng: random.Random) -> list[Change]:
    """Draw one to six changes; short ones are more frequent."""
    kinds = KINDS if rng.random() < 0.5 else ("value",)
    return [_draw_change(rng, rng.choice(kinds)) for _ in range(rng.choice((1, 1, 1, 2, 3, 6)))]


def _draw_change(rng: random.Random, kind: Kind) -> Change:
    if kind == "value":
        piece = rng.choice(VALUES)
    else:
        piece = rng.choice(PIECES) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 12))
    return Change(kind, rng.random(), rng.choice((1, 2, 3, 8, 40, 300)), piece)
