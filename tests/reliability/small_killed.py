"""The verbs on the small run, one at a time, to be killed; imported once and forked."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import small_run

# Loaded here once, not in every attempt. None of these starts a thread.
import sci_interp.enrichment
import sci_interp.sae
import sci_interp.tokens  # noqa: F401

_KEPT = tempfile.TemporaryDirectory()
RUN = Path(_KEPT.name)
_child = os.fork()
if _child == 0:
    # What a verb is made from is made in a process of its own: Zarr starts a thread.
    small_run.make_run(RUN)
    os._exit(0)
assert os.waitpid(_child, 0)[1] == 0
with tempfile.TemporaryDirectory() as _warm:
    small_run.make("enrichment", RUN, Path(_warm) / "enrichment")  # compiles the kernels


def extract(out: Path) -> object:
    return small_run.make("activations", RUN, out)


def train(out: Path) -> object:
    return small_run.make("sae", RUN, out)


def encode(out: Path) -> object:
    return small_run.make("features", RUN, out)


def annotate(out: Path) -> object:
    return small_run.make("annotations", RUN, out)


def enrich(out: Path) -> object:
    return small_run.make("enrichment", RUN, out)
