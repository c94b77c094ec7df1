"""Ask for known vulnerabilities of every pinned version, by pip-audit where it reaches its source.

    python benchmarks/reliability/audit.py

The status is 1 if a version is known to be vulnerable. Versions that could not be asked about, for
example where the package index is a mirror, are counted and said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints-cpu.txt"
COMMAND = ("-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json")


def summarise(report: Mapping[str, Any]) -> tuple[str, bool]:
    """Return what a report of pip-audit says, and whether no version is vulnerable."""
    asked = [each for each in report["dependencies"] if "skip_reason" not in each]
    n_skipped = len(report["dependencies"]) - len(asked)
    lines = [f"{len(asked)} versions were asked about, {n_skipped} could not be"]
    for each in asked:
        for found in each["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            lines.append(f"{each['name']} {each['version']}: {found['id']}, fixed in {fixed}")
    return "\n".join(lines), len(lines) == 1


def main() -> int:
    """Audit the constraints and print the summary."""
    words = [sys.executable, *COMMAND, "-r", str(CONSTRAINTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        text, clean = summarise(json.loads(done.stdout))
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"pip-audit did not run to its end, nothing is known: {reason[:300]}")
        return 0 if "ConnectionError" in done.stderr else 2
    print(text)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
