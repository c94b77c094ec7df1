"""status: folder -> RunStatus: what is done, what runs and for how long, and what failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from .errors import SciInterpError, StoreError
from .folders import list_artefacts
from .holders import Holder
from .journal import Journal
from .locks import read_holder
from .manifest import is_finished, read_json, read_manifest
from .parts import count_parts
from .quarantine import peek_quarantine
from .schema import FAILURE_FILE, JOURNAL_FILE, PROGRESS_FILE, RECORDS_FILE, REQUEST_FILE
from .token_layout import journal_left_out

__all__ = ["ArtefactStatus", "RunStatus", "status"]

#: ``stopped``: no process writes it and none said why, as after a kill. ``waiting``: shards that
#: workers made, for the process that takes them into the artefact.
State: TypeAlias = Literal["done", "running", "waiting", "stopped", "failed", "damaged"]
#: No work has more parts or seconds; a file of progress may hold any number.
_MOST: Final = 2**63
CONTINUES: Final = "the command that made it continues it"


@dataclass(frozen=True)
class ArtefactStatus:
    """How far one artefact is.

    Attributes
    ----------
    path : Path
        Its folder.
    kind : str
        What it is; empty where that cannot be read.
    state : {"done", "running", "waiting", "stopped", "failed", "damaged"}
        Whether it is finished, and if not, whether a process writes it.
    n_shards : int or None
        Shards that are committed; None where it has none.
    n_shards_wanted : int or None
        Shards of the finished artefact, where that is known.
    done, total : int or None
        Items of the step that runs, or ran last: records, training steps, shards.
    per_second : float or None
        Items per second since its process began or continued it.
    seconds_left : float or None
        At that speed.
    note : str
        Who writes it, or why it stopped.
    n_quarantined : int
        Records that were left out because they cannot be used; so far, where it is unfinished.
    n_used : int or None
        Records that are used, where some were left out and it is finished.
    """

    path: Path
    kind: str
    state: State
    n_shards: int | None = None
    n_shards_wanted: int | None = None
    done: int | None = None
    total: int | None = None
    per_second: float | None = None
    seconds_left: float | None = None
    note: str = ""
    n_quarantined: int = 0
    n_used: int | None = None

    def format(self) -> str:
        """Return how far it is, in words."""
        words = (
            [] if self.n_shards is None else [_of(self.n_shards, self.n_shards_wanted, "shards")]
        )
        if self.done is not None:
            words.append(_of(self.done, self.total, "of this step"))
        if self.per_second is not None:
            words.append(f"{self.per_second:.3g} per s")
        if self.seconds_left is not None:
            words.append(f"about {_duration(self.seconds_left)} left")
        if self.n_used is not None:
            n_read = self.n_used + self.n_quarantined
            words.append(
                f"{n_read} records read = {self.n_used} used + {self.n_quarantined} quarantined"
            )
        elif self.n_quarantined:
            words.append(f"{self.n_quarantined} records quarantined so far")
        return ", ".join([*words, *filter(None, [self.note])])


@dataclass(frozen=True)
class RunStatus:
    """How far the artefacts of a run are.

    Attributes
    ----------
    path : Path
        The folder.
    artefacts : tuple of ArtefactStatus
        In the order of their paths.
    """

    path: Path
    artefacts: tuple[ArtefactStatus, ...]

    @property
    def n_by_state(self) -> dict[str, int]:
        """Number of artefacts in each state that occurs."""
        found = Counter(each.state for each in self.artefacts)
        return {state: found[state] for state in get_args(State) if found[state]}

    def format(self) -> str:
        """Return a line for the run and one for each artefact."""
        counts = ", ".join(f"{n} {state}" for state, n in self.n_by_state.items())
        names = [_name(self.path, each.path) for each in self.artefacts]
        width = max(map(len, names))
        lines = [f"{self.path}: {len(names)} artefacts, {counts}"]
        for name, each in zip(names, self.artefacts, strict=True):
            head = f"  {name.ljust(width)}  {each.kind.ljust(12)}  {each.state.ljust(7)}"
            lines.append(f"{head}  {each.format()}".rstrip())
        return "\n".join(lines)


def status(path: Path | str) -> RunStatus:
    """Say how far the artefacts of a run are; nothing is opened, and writers are not disturbed.

    A writer notes every few seconds how far it is. Verbs that are still to come are not known here:
    a study file names them.

    Parameters
    ----------
    path
        An artefact, or a folder that holds some, at any depth.

    Raises
    ------
    InputError
        If there is no such folder.
    StoreError
        If it holds no artefact.
    """
    path = Path(path)
    parts = count_parts(path)
    waiting = tuple(
        ArtefactStatus(place, "parts", "waiting", n_shards=n, note="made by workers")
        for place, n in parts.items()
    )
    try:
        folders = list_artefacts(path)
    except StoreError:
        if not parts:
            raise
        folders = ()
    return RunStatus(path, (*(_look(folder) for folder in folders), *waiting))


def _look(folder: Path) -> ArtefactStatus:
    if is_finished(folder):
        try:
            kind = read_manifest(folder).kind
        except StoreError as error:
            return ArtefactStatus(folder, "", "damaged", note=error.what)
        counts = _quarantine(folder)
        return ArtefactStatus(folder, kind, "done", n_shards=_n_committed(folder), **counts)
    held = read_holder(folder)
    try:
        request = read_json(folder / REQUEST_FILE)
    except StoreError as error:
        return ArtefactStatus(folder, "", "damaged", note=error.what)
    state, note = _state(folder, held)
    return ArtefactStatus(
        path=folder,
        kind=str(request.get("kind")),
        state=state,
        n_shards=_n_committed(folder),
        n_shards_wanted=_n_wanted(request.get("settings")),
        note=note,
        n_quarantined=_n_left_out(folder),
        **_read_progress(folder, running=state == "running"),
    )


def _state(folder: Path, held: tuple[Holder | None, bool] | None) -> tuple[State, str]:
    if held is not None:
        holder, alive = held
        who = holder.describe() if holder else "an unknown process"
        return ("running", who) if alive else ("stopped", f"{who} is gone; {CONTINUES}")
    try:
        failure = (folder / FAILURE_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return "stopped", CONTINUES
    return "failed", failure


def _n_committed(folder: Path) -> int | None:
    path = folder / JOURNAL_FILE
    if not path.is_file():
        return None
    try:
        return len(Journal(path).entries)
    except SciInterpError:
        return None


def _quarantine(folder: Path) -> dict[str, Any]:
    """Return how many records a finished artefact left out and used, where it left any out."""
    path = folder / RECORDS_FILE
    try:
        found, n_used = peek_quarantine(path) if path.is_file() else ((), 0)
    except SciInterpError:
        return {}
    return {"n_quarantined": len(found), "n_used": n_used} if found else {}


def _n_left_out(folder: Path) -> int:
    """Return how many records the committed shards of an artefact left out."""
    try:
        return len(journal_left_out(Journal(folder / JOURNAL_FILE)))
    except SciInterpError:
        return 0


def _n_wanted(settings: Any) -> int | None:
    """Return the number of shards where the request of an artefact tells it."""
    try:
        return -(-int(settings["n_tokens"]) // int(settings["shard_tokens"]))
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _read_progress(folder: Path, *, running: bool) -> dict[str, Any]:
    try:
        raw = read_json(folder / PROGRESS_FILE)
        done, seconds = int(raw["done"]), float(raw["seconds"])
        total = None if raw["total"] is None else int(raw["total"])
    except (SciInterpError, KeyError, TypeError, ValueError, OverflowError):
        return {}
    if any(value > _MOST for value in (done, total or 0, seconds)):
        return {}
    found: dict[str, Any] = {"done": done, "total": total}
    if running and done > 0 and seconds > 0:
        found["per_second"] = done / seconds
        if total is not None:
            found["seconds_left"] = (total - done) * seconds / done
    return found


def _of(done: int, total: int | None, what: str) -> str:
    return f"{done} {what}" if total is None else f"{done} of {total} {what}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _name(path: Path, folder: Path) -> str:
    return folder.name if folder == path else folder.relative_to(path).as_posix()
