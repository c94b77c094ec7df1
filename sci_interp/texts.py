"""Text from files as a reader may see it: nothing in it moves a cursor or turns a line around."""

from __future__ import annotations

import unicodedata

__all__ = ["clean"]

#: Control, format and surrogate characters, and separators of lines and paragraphs.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def clean(text: str, keep: str = "\n") -> str:
    r"""Return ``text`` with the characters replaced that act instead of being seen.

    They could reorder a page, break its encoding, rewrite what a terminal shows, or forge a line.

    Parameters
    ----------
    text
        Any text.
    keep
        Characters among them that stay.

    >>> clean("P1\x1b[2J"), clean("a\nb", keep="")
    ('P1\ufffd[2J', 'a\ufffdb')
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\ufffd" if unicodedata.category(sign) in _UNSEEN and sign not in keep else sign
        for sign in text
    )
