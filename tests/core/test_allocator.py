"""Free memory goes back to the system, and other C libraries are left alone."""

from __future__ import annotations

from sci_interp import allocator


def test_memory_is_released_where_the_c_library_can(monkeypatch):
    calls = []
    monkeypatch.setattr(allocator, "_trim", lambda: calls.append)
    allocator.release_free_memory()
    assert calls == [0]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator, "_trim", lambda: None)
    assert allocator.release_free_memory() is None


def test_a_library_without_the_call_is_no_error(monkeypatch):
    allocator._trim.cache_clear()
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    try:
        assert allocator._trim() is None
    finally:
        allocator._trim.cache_clear()
