"""Progress lines: everything is yielded, and told to the stream that was given."""

from __future__ import annotations

import io

import pytest

from sci_interp import progress
from sci_interp.progress import track


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_items_pass_through_in_order():
    for show in (True, False):
        assert list(track(range(5), "count", show=show, stream=io.StringIO())) == [0, 1, 2, 3, 4]


def test_nothing_is_written_when_it_is_not_asked_for(capsys):
    list(track(range(5), "count", show=False))
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_last_line(capsys):
    list(track(range(5), "count"))
    assert capsys.readouterr().err == "count: 5 of 5, 0 s\n"
    list(track(iter("abc"), "letters"))
    assert capsys.readouterr().err == "letters: 3, 0 s\n"
    list(track(iter("abc"), "letters", total=4))
    assert "3 of 4" in capsys.readouterr().err


def test_a_terminal_gets_one_line_that_is_rewritten(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    stream = Terminal()
    list(track("abc", "letters", stream=stream))
    lines = stream.getvalue().split("\r\x1b[K")
    assert lines[1] == "letters: 1 of 3, 1 s, about 2 s to go"
    assert lines[-1] == "letters: 3 of 3, 4 s\n"


def test_errors_of_the_work_are_not_swallowed():
    def work():
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(track(work(), "fail", stream=io.StringIO()))
