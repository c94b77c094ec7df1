"""Free memory goes back to the system, and other C libraries are left alone."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from sci_interp import allocator


def test_memory_is_released_where_the_c_library_can(monkeypatch):
    calls = []
    monkeypatch.setattr(allocator, "_trim", lambda: calls.append)
    allocator.release_free_memory()
    assert calls == [0]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator, "_trim", lambda: None)
    assert allocator.release_free_memory() is None


def test_what_arrow_keeps_is_released_where_it_was_imported(monkeypatch):
    calls = []
    pool = SimpleNamespace(release_unused=lambda: calls.append("released"))
    arrow = SimpleNamespace(default_memory_pool=lambda: pool)
    monkeypatch.setitem(sys.modules, "pyarrow", arrow)
    allocator.release_free_memory()
    # A module that is still being imported has no pool yet.
    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace())
    allocator.release_free_memory()
    monkeypatch.delitem(sys.modules, "pyarrow")
    allocator.release_free_memory()
    assert calls == ["released"]


def test_a_library_without_the_call_is_no_error(monkeypatch):
    allocator._trim.cache_clear()
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    try:
        assert allocator._trim() is None
    finally:
        allocator._trim.cache_clear()
