"""Words as records."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sci_interp.errors import InputError

WORDS = ("abacus", "bassoon", "cellar", "dynamo", "ember", "ferry", "gazebo", "harbour")


@dataclass(frozen=True)
class Words:
    """Words by id."""

    text: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of ids and letters."""
        return hashlib.sha256(repr(sorted(self.text.items())).encode()).hexdigest()

    @property
    def table(self) -> pd.DataFrame:
        """One record per word; words with the same first letter are related."""
        words = list(self.text.values())
        return pd.DataFrame(
            {
                "record": list(self.text),
                "block": [word[0] for word in words],
                "n_tokens": [len(word) for word in words],
            }
        )


def read_words(path: Path | str | None) -> Words:
    """Read one word a line; without a path, eight of them."""
    words = WORDS if path is None else tuple(Path(path).read_text("utf-8").split())
    if not words:
        raise InputError(f"{path} holds no word", todo="Write one word a line")
    return Words({f"word{index}": word for index, word in enumerate(words)})
