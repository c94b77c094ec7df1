"""verify: folder -> Verification: every artefact in it is hashed again.

Five things are compared: the bytes of every file with the digest in its artefact's manifest; the
manifest with its own digest, its seal, its canonical form and the request beside it; the committed
shards of unfinished artefacts with their journal; the tokens that were read with those that are
used and those of records that were left out; and, where the user kept the digest of the whole run,
all manifests with that. All but the last find damage and every change by someone who does not
write the manifest anew; only the last finds a change by someone who does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .axis import TokenAxis
from .errors import StoreError
from .folders import list_artefacts
from .journal import Journal
from .locks import read_holder
from .manifest import (
    VERBS,
    Manifest,
    digest_file,
    digest_json,
    format_manifest,
    is_finished,
    parse_manifest,
    read_json,
)
from .progress import track
from .schema import JOURNAL_FILE, MANIFEST_FILE, RECORDS_FILE, REQUEST_FILE
from .tokens import ActivationStore

__all__ = ["Fault", "Verification", "verify"]

CHANGED = "its bytes are not those that were written"
MISSING = "it is missing"
ADDED = "it was added: readers would take it for data"
UNFINISHED = "it is unfinished, or its manifest was taken away"

#: Inputs under these names are artefacts of these kinds, by the digests of their manifests.
NAMED_AS_KINDS = {"activations", "annotations", "enrichment", "features"}


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written.

    Attributes
    ----------
    artefact : Path
        The artefact's folder.
    file : str
        The file, by path inside the artefact.
    what : str
        What is wrong with it.
    """

    artefact: Path
    file: str
    what: str


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found.

    Attributes
    ----------
    path : Path
        The folder.
    artefacts : tuple of Path
        The artefacts in it.
    n_files, n_bytes : int
        What was hashed.
    faults : tuple of Fault
        Everything that is damaged, missing, changed or unfinished.
    notes : tuple of str
        What cannot be checked, or is no damage.
    remedies : mapping of Path to str
        How to make each faulty artefact again.
    digest : str
        SHA-256 over all manifests: of a copy kept elsewhere it tells whether anything was changed.
    """

    path: Path
    artefacts: tuple[Path, ...]
    n_files: int
    n_bytes: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    remedies: Mapping[Path, str]
    digest: str

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def format(self) -> str:
        """Return the findings as lines of text."""
        size = f"{self.n_files} files, {self.n_bytes / 1e6:.1f} MB hashed"
        lines = [f"{self.path}: {len(self.artefacts)} artefacts, {size}"]
        lines += [f"  fault  {each.artefact / each.file}: {each.what}" for each in self.faults]
        lines += [f"  note   {note}" for note in self.notes]
        lines += [f"  remedy {text}" for text in self.remedies.values()]
        if self.faults:
            lines.append(f"{len(self.faults)} faults; what has none may be used")
        else:
            lines.append(f"intact; digest of the whole {self.digest}")
        return "\n".join(lines)


def verify(path: Path | str, *, digest: str = "", progress: bool = True) -> Verification:
    """Hash every artefact under a folder again, and say what is not as it was written.

    Parameters
    ----------
    path
        An artefact, or a folder that holds some, at any depth.
    digest
        What an earlier verification said of the whole; a difference is a fault.
    progress
        Show progress on standard error.

    Raises
    ------
    InputError
        If there is no such folder.
    StoreError
        If the folder holds no artefact.
    """
    path = Path(path)
    artefacts = list_artefacts(path)
    checks = [_Check(folder) for folder in artefacts]
    for check in track(checks, "verify", show=progress):
        check.run()
    faults = [fault for check in checks for fault in check.faults]
    found = _digest_of(path, artefacts)
    if digest and digest != found:
        faults.append(Fault(path, "", f"its digest is {found}, and {digest} was expected"))
    return Verification(
        path=path,
        artefacts=artefacts,
        n_files=sum(check.n_files for check in checks),
        n_bytes=sum(check.n_bytes for check in checks),
        faults=tuple(faults),
        notes=(*(note for check in checks for note in check.notes), *_missing_inputs(checks)),
        remedies={check.folder: check.remedy() for check in checks if check.faults},
        digest=found,
    )


class _Check:
    """The check of one artefact."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.n_files = self.n_bytes = 0
        self.manifest: Manifest | None = None

    def run(self) -> None:
        if is_finished(self.folder):
            self._check_manifest()
        else:
            found = read_holder(self.folder)
            if found is not None and found[1]:
                who = found[0].describe() if found[0] else "another process"
                self._fault(MANIFEST_FILE, f"{UNFINISHED}; it is being written by {who}")
            else:
                self._fault(MANIFEST_FILE, UNFINISHED)
            self._check_journal()

    def remedy(self) -> str:
        """Say how to make the artefact again."""
        command = self.manifest.command_in(self.folder) if self.manifest else ""
        if all(fault.what.startswith(UNFINISHED) for fault in self.faults):
            return f"{self.folder}: give the command that made it again; it continues"
        again = f"give again: {command}" if command else f"{_verb(self._kind())} again"
        return (
            f"{self.folder}: restore these files from a copy, or delete the folder and {again}"
            "; what was made from it before stays valid"
        )

    def _kind(self) -> str:
        if self.manifest is not None:
            return self.manifest.kind
        try:
            return str(read_json(self.folder / REQUEST_FILE).get("kind"))
        except StoreError:
            return ""

    def _check_manifest(self) -> None:
        path = self.folder / MANIFEST_FILE
        try:
            manifest = parse_manifest(path)
        except StoreError:
            self._fault(MANIFEST_FILE, CHANGED)
            self._check_journal()
            return
        self.manifest = manifest
        if manifest.seal:
            if path.read_bytes() != format_manifest(manifest).encode():
                self._fault(MANIFEST_FILE, CHANGED)
        else:
            self.notes.append(
                f"{path} has no seal, as those of early versions: its versions cannot be checked"
            )
        self._compare(manifest.files)
        self._find_added(manifest.files)
        if not any(fault.file == REQUEST_FILE for fault in self.faults):
            self._check_request(manifest)
        if RECORDS_FILE in manifest.files and not self.faults:
            self._check_records(manifest)

    def _check_request(self, manifest: Manifest) -> None:
        request = {part: getattr(manifest, part) for part in ("kind", "inputs", "settings")}
        try:
            agrees = request == read_json(self.folder / REQUEST_FILE)
        except StoreError:
            agrees = False
        if not agrees:
            self._fault(MANIFEST_FILE, "it does not agree with its request")

    def _check_records(self, manifest: Manifest) -> None:
        """Check that what was read is what is used and what was left out, and say how much."""
        try:
            if manifest.kind == "activations":
                axis = ActivationStore.open(self.folder).axis
            else:
                axis = TokenAxis.read(self.folder)
        except StoreError as error:
            self._fault(RECORDS_FILE, error.what)
            return
        counts = list(axis.describe_quarantine())[:2]
        if counts:
            self.notes.append(f"{self.folder}: " + "; ".join(counts))

    def _check_journal(self) -> None:
        """Check what is committed, by the journal alone."""
        if not (self.folder / JOURNAL_FILE).is_file():
            return
        try:
            files = Journal(self.folder / JOURNAL_FILE).files
        except StoreError as error:
            self._fault(JOURNAL_FILE, error.what)
            return
        self._compare(files)

    def _compare(self, digests: Mapping[str, str]) -> None:
        for name, digest in sorted(digests.items()):
            path = self.folder / name
            try:
                found = digest_file(path)
                self.n_bytes += path.stat().st_size
            except FileNotFoundError:
                self._fault(name, MISSING)
                continue
            except OSError as error:
                self._fault(name, f"it cannot be read: {error.strerror or error}")
                continue
            self.n_files += 1
            if found != digest:
                self._fault(name, CHANGED)

    def _find_added(self, digests: Mapping[str, str]) -> None:
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if not path.is_file() or name in digests or name == MANIFEST_FILE:
                continue
            if any(part.endswith(".zarr") for part in name.split("/")[:-1]):
                self._fault(name, ADDED)
            else:
                self.notes.append(f"{path} is not part of the artefact")

    def _fault(self, file: str, what: str) -> None:
        self.faults.append(Fault(self.folder, file, what))


def _verb(kind: str) -> str:
    return f"call {VERBS[kind]} with the same arguments" if kind in VERBS else "make it"


def _digest_of(path: Path, artefacts: tuple[Path, ...]) -> str:
    manifests = {
        folder.relative_to(path).as_posix(): digest_file(folder / MANIFEST_FILE)
        for folder in artefacts
        if is_finished(folder)
    }
    return digest_json(manifests)


def _missing_inputs(checks: list[_Check]) -> Iterator[str]:
    """Yield which artefacts were made from one that is not in the folder, though its like is."""
    made = [check for check in checks if check.manifest is not None]
    known = {check.manifest.digest for check in made if check.manifest}
    kinds = {check.manifest.kind for check in made if check.manifest} & NAMED_AS_KINDS
    for check in made:
        assert check.manifest is not None
        for name, digest in sorted(check.manifest.inputs.items()):
            if name in kinds and digest not in known:
                yield f"{check.folder} was made from other {name} than lie here: {digest[:12]}"
