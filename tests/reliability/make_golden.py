"""Make the golden stores: artefacts of this release that every later one reads.

    PYTHONPATH=tests/core:tests/reliability python tests/reliability/make_golden.py

They are made once for a release and kept. A release whose stores look otherwise adds a folder of
its own beside them; those before stay, and the test reads them all. Before a release its own folder
may be deleted and made again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import small_run

import sci_interp as si

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"
EXPECTED = "expected.json"


def describe(kind: str, path: Path) -> dict[str, Any]:
    """Return what a store says when it is opened: its digest, its sizes, and its values."""
    return {
        "activations": _activations,
        "sae": _sae,
        "features": _features,
        "annotations": _annotations,
        "enrichment": _enrichment,
    }[kind](path)


def _hash(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of values, whatever the bytes on disk and the width of integers."""
    state = hashlib.sha256()
    for array in arrays:
        kind = "<f4" if array.dtype.kind == "f" else "<i8"
        state.update(np.ascontiguousarray(array).astype(kind).tobytes())
    return state.hexdigest()


def _activations(path: Path) -> dict[str, Any]:
    store = si.ActivationStore.open(path)
    n = store.axis.n_tokens
    values, places = store.read(0, n), store.coordinates()
    return {
        "digest": store.digest,
        "axis": store.axis.digest,
        "shape": [n, store.width],
        "layer": store.layer,
        "model": dict(store.model),
        "first": [round(float(value), 4) for value in values[0]],
        "values": _hash(values),
        "coordinates": {name: _hash(places[name]) for name in sorted(places)},
    }


def _sae(path: Path) -> dict[str, Any]:
    sae = si.load_sae(path)
    return {
        "digest": sae.digest,
        "shape": [sae.n_features, sae.width],
        "architecture": sae.architecture,
        "k": sae.k,
        "first": [round(float(value), 4) for value in sae.weights.decoder[0]],
        "parent": dict(sae.parent),
    }


def _features(path: Path) -> dict[str, Any]:
    store = si.FeatureStore.open(path)
    codes = store.read(0, store.axis.n_tokens)
    return {
        "digest": store.digest,
        "axis": store.axis.digest,
        "n_features": store.n_features,
        "n_shards": len(list(store.shards())),
        "first": [codes.feature[:6].tolist(), codes.value[:6].tolist()],
        "values": _hash(codes.indptr, codes.feature, codes.value),
        "scale": _hash(store.scale),
    }


def _annotations(path: Path) -> dict[str, Any]:
    store = si.AnnotationStore.open(path)
    found = store.read(0, store.axis.n_tokens)
    return {
        "digest": store.digest,
        "axis": store.axis.digest,
        "labels": [label.name for label in store.labels],
        "n_runs": store.n_runs,
        "first": [int(found.start[0]), int(found.stop[0])],
        "runs": _hash(found.label, found.instance, found.start, found.stop),
        "known": _hash(found.known_group, found.known_start, found.known_stop),
    }


def _enrichment(path: Path) -> dict[str, Any]:
    result = si.load_enrichment(path)
    links = result.table
    return {
        "digest": result.digest,
        "n_rows": len(links),
        "links": links[["feature", "label", "class"]].astype(str).to_numpy().tolist()[:8],
        "f1": [round(float(value), 6) for value in links["hybrid_f1"].fillna(-1)],
        "sources": result.summary["source"].astype(str).tolist(),
    }


def main() -> None:
    """Write the stores of this release and what they say."""
    out = GOLDEN / f"v{si.__version__}"
    if out.exists():
        raise SystemExit(f"{out} exists: golden stores are made once for a release")
    small_run.make_run(out)
    expected = {kind: describe(kind, out / kind) for kind in small_run.VERBS}
    text = json.dumps(expected, indent=1, sort_keys=True) + "\n"
    (out / EXPECTED).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
