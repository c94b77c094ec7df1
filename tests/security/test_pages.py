"""What the tests of the report call closed is closed: each way out of a page is found."""

from __future__ import annotations

import base64
import hashlib

import pytest
from report_pages import HOSTILE, check_closed

STYLE = "body { color: black }"
HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{HASH}'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
PAGE = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="referrer" content="no-referrer">'
    f'<style>{STYLE}</style></head><body><a href="#here">x</a>GAP</body></html>'
)

WAYS_OUT = (
    "<script>alert(1)</script>",
    '<script src="https://evil.example/x.js"></script>',
    '<p onclick="alert(1)">x</p>',
    '<svg onload="alert(1)"></svg>',
    '<p style="background: red">x</p>',
    '<img src="https://evil.example/x.png">',
    '<img srcset="https://evil.example/x.png 2x" src="data:,">',
    '<a href="javascript:alert(1)">x</a>',
    '<a href="https://evil.example/">x</a>',
    '<a href="http://example.org/">x</a>',
    '<svg><use href="https://evil.example/x.svg#a"></use></svg>',
    '<link rel="stylesheet" href="https://evil.example/x.css">',
    "<style>@import 'https://evil.example/x.css'</style>",
    '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    '<base href="https://evil.example/">',
    '<iframe srcdoc="x"></iframe>',
    '<form action="https://evil.example"></form>',
    '<object data="https://evil.example"></object>',
    "<p><b>open</p>",
    HOSTILE,
)


def test_a_plain_page_is_closed() -> None:
    assert "x" in check_closed(PAGE).text


@pytest.mark.parametrize("way", WAYS_OUT)
def test_every_way_out_is_found(way: str) -> None:
    with pytest.raises(AssertionError):
        check_closed(PAGE.replace("GAP", way))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"'sha256-{HASH}'", "'unsafe-inline'"),
        ("default-src 'none'", "default-src *"),
        ("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'"),
        ("black", "red"),
        ("Content-Security-Policy", "Other"),
        ("no-referrer", "unsafe-url"),
    ],
)
def test_a_weaker_policy_is_found(old: str, new: str) -> None:
    assert old in PAGE
    with pytest.raises(AssertionError):
        check_closed(PAGE.replace(old, new))
