"""Fixtures of the reliability tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_run

# It makes a run and forks when it is imported, which looking for doctests would do.
collect_ignore = ["small_killed.py"]


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run; tests copy what they change."""
    run = tmp_path_factory.mktemp("whole") / "run"
    small_run.make_run(run)
    return run
