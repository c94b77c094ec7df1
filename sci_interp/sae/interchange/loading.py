"""load_sae: a folder, a file or a name on the hub -> SparseAutoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from sci_interp.errors import InputError, SciInterpError
from sci_interp.sae.files import BUNDLED, CONFIG_FILE
from sci_interp.sae.files import load_sae as load_own
from sci_interp.sae.model import SparseAutoencoder
from sci_interp.schema import MANIFEST_FILE, REQUEST_FILE
from sci_interp.study import is_address

from .formats import find_format, reader_of
from .hub import download, is_hub_id
from .parts import Facts, Threshold, assemble
from .reading import MAX_BYTES, Source

__all__ = ["FormatName", "load_sae"]

FormatName: TypeAlias = Literal[
    "auto",
    "sci-interp",
    "bionemo",
    "dictionary_learning",
    "esmc",
    "evo2",
    "graphcast",
    "interplm",
    "interprot",
    "llamascopium",
    "openai",
    "reticular",
    "saelens",
    "saev",
    "sparsify",
]

_OWN = (CONFIG_FILE, MANIFEST_FILE, REQUEST_FILE)


def load_sae(
    path: Path | str,
    format: FormatName = "auto",  # noqa: A002 - the word that users look for
    *,
    layer: str | int | None = None,
    parent: str | None = None,
    k: int | None = None,
    norm_factor: float | None = None,
    threshold: Threshold | None = None,
    architecture: str | None = None,
    normalisation: Literal["none", "token"] | None = None,
    revision: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> SparseAutoencoder:
    """Load an autoencoder that this or another program made.

    Nothing in a file is run: a file that needs more than tensors, numbers and texts is refused.
    Facts that a file lacks are asked for by name and never guessed.

    Parameters
    ----------
    path
        A folder that ``train`` made, or its address (``s3://...``); a folder or file of another
        program; ``owner/name`` on the Hugging Face hub, or ``owner/name/folder``; or
        ``"bundled:NAME"`` for the autoencoder that comes with the embedded default of the adapter
        NAME.
    format
        Format of another program's file; ``"auto"`` tells it by settings and tensors.
    layer
        Name of the layer in the adapter that will feed it, or its number as the source counts.
    parent
        Name of the network that it was trained on.
    k
        Active features per token.
    norm_factor
        What activations are divided by before the encoder.
    threshold
        Of use, for training that selects in batches; ``"per_token"`` takes the ``k`` highest of
        every token, which is what a batch of one token gives.
    architecture
        ``"topk"`` or ``"batch_topk"``, where the tensors fit both.
    normalisation
        ``"token"`` where tokens were standardised and ``"none"`` where not, for files that do not
        say it.
    revision
        Branch, tag or commit on the hub.
    max_bytes
        Largest weights that are read.

    Returns
    -------
    SparseAutoencoder
        Its ``training`` holds ``format`` and ``special_tokens``. Where the file told nothing of
        the features' scale, ``measured`` finds it.

    Raises
    ------
    UnknownNameError
        If there is no such adapter or format.
    InputError
        If the file is missing, damaged, of another format, needs code to be read, lacks facts
        that are not given, or contradicts one that is.
    StoreError
        If an artefact of this library is unfinished, damaged, of a newer format, or incomplete.
    """
    facts = Facts(layer, parent, k, norm_factor, threshold, architecture, normalisation)
    name = str(path)
    place = Path(path)
    if name.startswith(BUNDLED) or is_address(name):
        return _load_own(name, facts)
    if not place.exists() and isinstance(path, str) and is_hub_id(name):
        place = download(name, revision, layer=layer if isinstance(layer, int) else None)
    own = not place.exists() or any((place / each).is_file() for each in _OWN)
    if format == "sci-interp" or (format == "auto" and own):
        return _load_own(place, facts)
    source = Source(place, max_bytes)
    found = find_format(source) if format == "auto" else format
    reader = reader_of(found)
    try:
        return assemble(reader.read(source, facts), facts, source, found)
    except SciInterpError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{source.path}, read as {found}, has settings that make no sense: {error}",
            todo="Copy or download it again, or name another format",
        ) from None


def _load_own(path: Path | str, facts: Facts) -> SparseAutoencoder:
    given = [name for name, held in vars(facts).items() if held is not None]
    if given:
        raise InputError(
            f"{path} is an autoencoder of this library, whose file says all that it needs",
            todo=f"Leave out {' and '.join(given)}",
        )
    return load_own(path)
