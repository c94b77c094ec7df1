"""What tests of the report share: a result, hostile text, and a page that must stay closed."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>=1+1\u202e\x00"
    "</style></title></svg></textarea>--><svg/onload=alert(3)><base href=//evil.example>"
    "<meta http-equiv=refresh content='0;url=https://evil.example'><a href=javascript&colon;a>"
    "<style>*{background:red}</style>{{ 7 * 7 }}{% raw %}&#60;b&#62;<iframe srcdoc=x>` onclick=a "
)
LINK_COLUMNS = (
    "feature", "label", "class", "nuisance", "threshold", "n_instances", "precision",
    "instance_recall", "f1", "hybrid_f1", "log_odds", "p", "q", "replicated",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Stands for an enrichment result."""

    links: pd.DataFrame
    summary: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=lambda: {"q": 0.05, "protocol": "two-stage"})
    digest: str = "e" * 64
    replication_rate: float = float("nan")
    path: Path | None = None


def result() -> Result:
    rows = [
        (1, "DOMAIN", "site", False, 0.5, 40, 0.98, 1.0, 0.9, 0.97, 5.5, 1e-5, 2e-4, True),
        (7, "SITE", "site", False, 0.5, 20, 0.61, 1.0, 0.7, 0.75, 6.1, 1e-5, 2e-4, pd.NA),
        (5, "DOMAIN", "record", False, 0.5, 40, 1.0, 0.4, 0.1, 0.5, 3.0, 1e-5, 2e-4, False),
    ]
    links = pd.DataFrame(rows, columns=list(LINK_COLUMNS))
    links["chosen_on_hybrid_f1"] = links["hybrid_f1"]
    links["direction"] = "discovery to test"
    links["q_class"] = links["q"]
    links["replicated"] = links["replicated"].astype("boolean")
    summary = pd.DataFrame({"source": ["features", "channels"], "n_labels_site": [2, 1]})
    return Result(links, summary)


class Page(HTMLParser):
    """Collects tags, attributes and text, and what the metas and the styles hold."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.metas: list[dict[str, str | None]] = []
        self.styles: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "meta":
            self.metas.append(dict(attrs))
        if tag not in {"meta", "link", "img", "rect", "line", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
        self.text += data


def check_closed(html: str) -> Page:
    """Assert that nothing runs and nothing is loaded."""
    page = Page(html)
    assert not page.open
    assert not {"script", "iframe", "object", "embed", "form", "base", "audio", "video"} & {
        *page.tags
    }
    for tag, name, value in page.attributes:
        assert not name.startswith("on") and name != "style", (tag, name)
        if name in {"href", "src", "srcset", "xlink:href", "action", "poster"}:
            if tag == "a":
                assert value.startswith(("#", "https://example.org/")), value
            elif tag == "use":
                assert re.fullmatch(r"#base\d+", value), value
            else:
                assert value.startswith("data:"), (tag, value)
    assert not any("url(" in style or "@import" in style for style in page.styles)
    check_policy(page)
    return page


def check_policy(page: Page) -> None:
    """Assert that the page's policy lets its own style sheet through, and nothing else."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.styles]
    policy = (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    assert len(digests) == 1
    assert page.metas == [
        {"charset": "utf-8"},
        {"http-equiv": "Content-Security-Policy", "content": policy},
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
        {"name": "referrer", "content": "no-referrer"},
    ]
