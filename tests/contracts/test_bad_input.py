"""Bad input on the real command line: one clear message, status 2, and nothing half-written.

A folder holds forty proteins, small networks and what was made of them; every case is a command
line typed there, and what its message must say: what is wrong and where, what is allowed, what to
do next.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import read_tree
from safetensors.torch import save_file

from sci_interp.cli import main
from sci_interp_protein.alphabet import AMINO_ACIDS, RESIDUES
from sci_interp_protein.bytenet import ByteNet, ByteNetConfig

DATA = "--adapter protein --model net --option clusters=clusters.tsv --data"
EXTRACT = f"extract --layer blocks.1 --out no {DATA}"
ANNOTATE = f"annotate --out no {DATA} good.fasta --option"
SURFACE = f"--option features=features.tsv {DATA}"

#: Made before the mistakes.
ARTEFACTS = f"""
extract --layer blocks.1 --out acts {DATA} good.fasta
extract --layer norm --out acts-norm {DATA} good.fasta
extract --layer blocks.1 --out acts-other {DATA.replace("net", "other")} good.fasta
extract --layer blocks.1 --out acts-half {DATA} half.fasta
train acts --features 32 --k 4 --n-tokens 2000 --batch-size 256 --out sae
train acts --features 32 --k 5 --n-tokens 2000 --batch-size 256 --out sae-5
encode sae acts --out feats
encode sae-5 acts --out feats-5
encode sae acts-half --out feats-half
annotate --out known {DATA} good.fasta --option features=features.tsv
annotate --out known-half {DATA} half.fasta --option features=features.tsv
enrich feats known --n-permutations 20 --n-bootstrap 0 --out links
"""

#: A study file; its gaps take further lines and the path of the data.
STUDY = '[study]\nadapter = "protein"\nmodel = "net"\nout = "no"\n{}\n[data]\npath = "{}"\n'

LAYERS = ("Allowed: embed, blocks.0, blocks.1, norm", "blocks.1.widen")
FASTA = "Allowed: FASTA, plain or gzipped: '>id description', then lines of residue letters."
OTHER_FOLDER = "Choose another output folder"
CONTINUE = "Run the command that made it again; it continues where it stopped."

CASES = {
    # The sequences.
    f"{EXTRACT} empty.fasta": ("empty.fasta holds no protein.", FASTA, "written or downloaded"),
    f"{EXTRACT} blank.fasta": ("blank.fasta holds no protein.", FASTA),
    f"{EXTRACT} prose.fasta": ("prose.fasta line 1", "'Dear all'", FASTA, "Convert the file"),
    f"{EXTRACT} twice.fasta": (
        "twice.fasta line 81: the id 'P01' occurs more than once.",
        "Allowed: ids that differ.",
        "Give every protein an id of its own, or leave the repetition out.",
    ),
    f"{EXTRACT} letter.fasta": (
        f"record 'P01' cannot be used: letter.fasta line 3: 'J' at residue 5 is none of {RESIDUES}",
        "Correct it, or take it out of the data",
        "--on-error quarantine",
    ),
    f"{EXTRACT} gap.fasta": ("gap.fasta line 1: '-' at residue 4 is none", "remove the gaps"),
    f"{EXTRACT} header.fasta": (
        "record 'P00' cannot be used: header.fasta line 1: it has no residue.",
        "Correct it",
    ),
    f"{EXTRACT} nameless.fasta": ("nameless.fasta line 3 is a header without an id.", "Allowed:"),
    f"{EXTRACT} cut.fasta.gz": (
        "cut.fasta.gz cannot be read: it is a damaged or truncated gzip file",
        "Copy or download it again.",
    ),
    f"{EXTRACT} bytes.fasta": ("bytes.fasta line 2 is not UTF-8 text.", "Name a text file"),
    f"{EXTRACT} absent.fasta": ("absent.fasta cannot be read: No such file", "Check the path."),
    f"{EXTRACT} net": ("net cannot be read: Is a directory.", "Check the path."),
    # What stands beside them.
    f"{ANNOTATE} features=past.tsv": (
        "past.tsv line 2: HELIX 3-9999 of 'P00' ends past its last residue, ",
        "Allowed: residues 1 to ",
        "Use a feature file and a FASTA of the same release.",
    ),
    f"{ANNOTATE} features=past.gff": ("past.gff line 2: HELIX 3-9999 of 'P00'", "Allowed: resid"),
    f"{ANNOTATE} features=backwards.tsv": ("backwards.tsv line 2", "HELIX 9-3 is no range", "Corr"),
    f"{ANNOTATE} features=strange.tsv": (
        "strange.tsv is for other proteins",
        "'Q9XYZ1'",
        "'P00'",
        "Give the file that belongs to the FASTA, with the same ids.",
    ),
    f"{ANNOTATE} features=empty.fasta": ("empty.fasta is no feature file", "Allowed: TSV, GFF3"),
    f"{ANNOTATE} features=void.tsv": (
        "the first line of",
        "void.tsv is empty",
        "Allowed: protein_id",
    ),
    f"{ANNOTATE} features=absent.tsv": ("absent.tsv cannot be read", "Check the path."),
    f"{ANNOTATE} residue_strings=short.ss": (
        "short.ss: 'P00' has 3 states and ",
        "Allowed: one state for every residue",
        "Use files of the same sequences.",
    ),
    f"{ANNOTATE} feature=features.tsv": ("'feature'", "Allowed: features, ", "mean 'features'?"),
    f"{ANNOTATE} features": ("--option 'features' cannot be read", "NAME=PATH, e.g. features="),
    "extract --out no --adapter protein --model net --data good.fasta --option clusters=few.tsv": (
        "few.tsv has no cluster for 38 of 40 proteins, the first is 'P02'.",
        "Allowed: two columns, cluster and protein",
        "Cluster the same FASTA, or leave the table out.",
    ),
    # Names and numbers.
    f"extract --layer encoder.layer.3 --out no {DATA} good.fasta": (
        "there is no layer 'encoder.layer.3'.",
        *LAYERS,
    ),
    f"extract --layer block.1 --out no {DATA} good.fasta": (*LAYERS, "Did you mean 'blocks.1'?"),
    "extract --adapter protien --out no": (
        "'protien'",
        "Allowed: protein, weather.",
        "mean 'protein'?",
    ),
    "extract --adapter protein --model ./nets --out no": ("no directory ./nets", "Check the path"),
    "extract --adapter protein --model sae --out no": ("config.json cannot be read", "Check the"),
    f"{EXTRACT} good.fasta --splits train=half": ("'train=half' cannot be read", "are numbers"),
    f"{EXTRACT} good.fasta --splits train=0.5": ("{'train': 0.5}", "that add up to 1"),
    "train acts --features 8 --k 9 --out no": ("k=9 is more than the 8 features", "Allowed: k "),
    "train acts --features 8 --k 2 --learning-rate nan --out no": ("learning_rate=nan", "positive"),
    "train acts --features 8 --k 2 --out no": ("and a batch is to have 2048", "Lower the batch"),
    "enrich feats known --q 2 --out no": ("q is 2.0.", "Allowed: between 0 and 1."),
    # Activations.
    f"{EXTRACT.replace('net', 'nan')} good.fasta": (
        "the activations of record 'P",
        "layer 'blocks.1', hold NaN or infinity.",
        "or --on-error quarantine), run the network in float32, or look at its weights.",
    ),
    f"{EXTRACT.replace('net', 'huge')} good.fasta": (
        "exceed the range of float16.",
        "or --dtype bfloat16.",
    ),
    # Stores that do not belong together.
    "encode sae acts-other --out no": (
        "the encoder was made for another model: net ",
        ", not other ",
        "Encode activations of that model, or train an encoder on these.",
    ),
    "encode sae acts-norm --out no": ("another layer: 'blocks.1', not 'norm'.", "of that layer"),
    # Autoencoders of other programs.
    "encode pickled.pt acts --out no": (
        "pickled.pt needs more than tensors to be read, and its reading might run code.",
        "Allowed: safetensors, npz, or a torch file of tensors, numbers and texts.",
        "Save the state dictionary alone, where it was made.",
    ),
    "encode cut.safetensors acts --out no": ("cut.safetensors is damaged", "download it again."),
    "encode renamed.pt acts --out no": (
        "renamed.pt is of no known format: renamed.pt holds decoder, encoder.",
        "Allowed: bionemo, dictionary_learning, ",
        "Name the file of the autoencoder, or its format.",
    ),
    "encode bare.safetensors acts --out no": (
        "bare.safetensors, read as interprot, does not say k and layer and parent.",
        "Give them: load_sae(..., k=..., layer=..., parent=...).",
    ),
    "encode saelens acts-norm --out no": (
        "another layer: 'blocks.1', not 'norm'.",
        "of that layer",
    ),
    "encode saelens acts --out no": (
        "the scale of the autoencoder's features is not known",
        "Measure it first: sae = sae.measured(activations)",
    ),
    "enrich feats known-half --out no": (
        "the features and the annotations were made from different records: ",
        "40 and 30, and 'P30' is only in the features.",
        "Make both from the same dataset.",
    ),
    "enrich feats known --baseline half=feats-half --out no": ("the baseline 'half'", "'P30'"),
    "enrich acts known --out no": ("acts holds activations, not features.", "that encode made."),
    "enrich feats feats --out no": ("feats holds features, not annotations.", "annotate made."),
    f"surface feats links known --out no {SURFACE} half.fasta": (
        "known was made from another dataset than the one given.",
        "Give the same sequences and the same files beside them as to annotate.",
    ),
    f"surface feats-5 links known --out no {SURFACE} good.fasta": (
        "links was made from other features than those given.",
        "Give the features that were enriched, or run enrich on these.",
    ),
    f"surface feats links known-half --out no {SURFACE} good.fasta": ("40 and 30", "'P30'"),
    f"surface feats links known --decoys feats-half --out no {SURFACE} good.fasta": (
        "the features and the features of decoys 1 were made from different records",
    ),
    # Stores that are not whole, and folders that hold something else.
    "train acts-cut --features 32 --k 4 --out no": ("acts-cut is unfinished", CONTINUE),
    "encode sae-cut acts --out no": ("sae-cut is unfinished: its run was interrupted.", CONTINUE),
    "enrich feats-cut known --out no": ("feats-cut is unfinished", CONTINUE),
    "enrich feats known-cut --out no": ("known-cut is unfinished", CONTINUE),
    f"surface feats links-cut known --out no {SURFACE} good.fasta": ("links-cut is unf", CONTINUE),
    "encode sae acts-bad --out no": ("activation/c/0/0 is damaged", "restore it from a copy."),
    "train absent --features 32 --k 4 --out no": ("absent", "no such folder.", "extract made."),
    "show absent": ("absent is not a folder.", "Name the folder that a verb wrote with --out."),
    "show net": ("net holds no artefact of this library.", "Name the folder"),
    f"extract --layer norm --out acts {DATA} good.fasta": (
        "acts holds other work: layer was 'blocks.1' there and is 'norm' now.",
        OTHER_FOLDER,
    ),
    f"extract --layer blocks.1 --out acts {DATA.replace('net', 'other')} good.fasta": (
        "acts holds other work: model was 'net' there and is 'other' now.",
        OTHER_FOLDER,
    ),
    f"extract --layer blocks.1 --out acts {DATA} half.fasta": ("dataset was '", OTHER_FOLDER),
    f"extract --layer blocks.1 --out net {DATA} good.fasta": ("net exists and is", OTHER_FOLDER),
    f"extract --layer blocks.1 --out good.fasta/no {DATA} good.fasta": (
        "the folder good.fasta/no cannot be made: Not a directory.",
        "Choose an output folder where you may write.",
    ),
    # Studies.
    "run absent.toml": ("absent.toml cannot be read: No such file", "Name a study file (TOML)."),
    "run open.toml": ("open.toml is not a TOML file", "line 1", "Correct the file"),
    "run key.toml": ("key.toml: [study]: there is no key 'layers'.", "Did you mean 'layer'?"),
    "run table.toml": (
        "table.toml: there is no table 'sea'.",
        "Allowed: study, extract, sae,",
        "'sae'?",
    ),
    "run value.toml": ("value.toml: [sae]: k is 0.", "Allowed: at least 1."),
    "run layer.toml": ("there is no layer 'blocks.7'.", *LAYERS, "Did you mean"),
    "run twice.toml": ("twice.fasta line 81: the id 'P01' occurs more than once.",),
}


SHARDS = {"acts": "activations.zarr/activation/c/0/0", "feats": "codes.zarr/000000/value/c/0"}


def save_network(folder: Path, *, seed: int = 0, change: float = 1.0) -> None:
    """Write a random network whose output weights are multiplied by ``change``."""
    torch.manual_seed(seed)
    config = ByteNetConfig(width=16, bottleneck=8, n_blocks=2, max_dilation=2)
    weights = ByteNet(config).state_dict()
    for name, tensor in weights.items():
        torch.nn.init.normal_(tensor, std=0.3)
        if name.endswith("widen.weight"):
            tensor.mul_(change)
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    described = {"model_type": "bytenet", **config.to_dict(), "steps": 0}
    (folder / "config.json").write_text(json.dumps(described), encoding="utf-8")


def write_inputs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    proteins = {
        f"P{index:02d}": "M" + "".join(rng.choice(list(AMINO_ACIDS), rng.integers(30, 60)))
        for index in range(40)
    }
    lines = [f">{record} a protein\n{letters}\n" for record, letters in proteins.items()]
    texts = {
        "good.fasta": "".join(lines),
        "half.fasta": "".join(lines[:30]),
        "empty.fasta": "",
        "blank.fasta": "\n\n",
        "prose.fasta": "Dear all\n>P00\nMKV\n",
        "twice.fasta": "".join(lines) + ">P01 again\nMKV\n",
        "letter.fasta": ">P00\nMKV\n>P01\nMKV\nLJ\n",
        "gap.fasta": ">P00\nMKV-L\n",
        "header.fasta": ">P00\n>P01\nMKV\n",
        "nameless.fasta": ">P00\nMKV\n>\nMKV\n",
        "features.tsv": "Entry\tHelix\n" + "".join(f"{r}\tHELIX 3..12\n" for r in proteins),
        "past.tsv": "Entry\tHelix\nP00\tHELIX 3..9999\n",
        "past.gff": "##gff-version 3\nP00\tUniProtKB\tHelix\t3\t9999\t.\t.\t.\t\n",
        "backwards.tsv": "Entry\tHelix\nP00\tHELIX 9..3\n",
        "strange.tsv": "Entry\tHelix\nQ9XYZ1\tHELIX 3..9\n",
        "void.tsv": "",
        "short.ss": ">P00\nHHH\n",
        "clusters.tsv": "".join(f"{record}\t{record}\n" for record in proteins),
        "few.tsv": "P00\tP00\nP01\tP01\n",
        "open.toml": "[study\n",
        "key.toml": STUDY.format('layers = "x"', "good.fasta"),
        "table.toml": STUDY.format("[sea]\nk = 3", "good.fasta"),
        "value.toml": STUDY.format("[sae]\nk = 0", "good.fasta"),
        "layer.toml": STUDY.format('layer = "blocks.7"', 'half.fasta"\nclusters = "clusters.tsv'),
        "twice.toml": STUDY.format("", "twice.fasta"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    packed = gzip.compress(texts["good.fasta"].encode())
    (folder / "cut.fasta.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "bytes.fasta").write_bytes(b">P00\n\xff\xfe\x00")


def save_checkpoints(folder: Path) -> None:
    """Write autoencoders as other programs do, and some that are not whole."""
    width, n_features = 16, 8
    tensors = {"w_enc": torch.ones(width, n_features), "w_dec": torch.ones(n_features, width)}
    tensors |= {"b_enc": torch.zeros(n_features), "b_pre": torch.zeros(width)}
    save_file(tensors, folder / "bare.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "bare.safetensors").read_bytes()[:-9])
    torch.save({"encoder": torch.ones(2), "decoder": torch.ones(2)}, folder / "renamed.pt")
    torch.save({"encoder": torch.ones(2), "path": folder}, folder / "pickled.pt")
    (folder / "saelens").mkdir()
    names = {"w_enc": "W_enc", "w_dec": "W_dec", "b_enc": "b_enc", "b_pre": "b_dec"}
    renamed = {names[name]: tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "saelens" / "sae_weights.safetensors")
    metadata = {"sae_lens_version": "6.0.0", "model_name": "net", "hook_name": "blocks.1"}
    config = {"architecture": "standard", "metadata": metadata}
    (folder / "saelens" / "cfg.json").write_text(json.dumps(config), encoding="utf-8")


def call(line: str) -> int:
    """Run a command line in this process, and put its way of printing warnings back."""
    with warnings.catch_warnings():
        return main(line.split())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which all commands are typed."""
    folder = tmp_path_factory.mktemp("desk")
    write_inputs(folder)
    save_checkpoints(folder)
    save_network(folder / "net")
    save_network(folder / "other", seed=1)
    save_network(folder / "nan", change=float("nan"))
    save_network(folder / "huge", change=1e6)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in ARTEFACTS.strip().splitlines():
            assert call(line) == 0, line
        for name in ("acts", "sae", "feats", "known", "links"):
            shutil.copytree(name, f"{name}-cut")
            (folder / f"{name}-cut" / "manifest.json").unlink()
        for name, file in SHARDS.items():
            shutil.copytree(name, f"{name}-bad")
            damaged = folder / f"{name}-bad" / file
            damaged.write_bytes(damaged.read_bytes()[:-3])
        yield folder


def changes_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return size and time of change of everything in a folder."""
    found = {path: path.stat() for path in sorted(folder.rglob("*"))}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in found.items()}


@pytest.mark.parametrize("line", CASES)
def test_a_mistake_is_one_message_and_leaves_nothing(
    desk: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    before = changes_of(desk)
    status = call(line)
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    told = [text for text in printed.err.splitlines() if not text.startswith("== ")]
    assert len(told) == 1, printed.err
    assert told[0].startswith("sci-interp: ")
    assert told[0].endswith((".", "?"))
    for part in CASES[line]:
        assert part in told[0]
    assert changes_of(desk) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("extract --out no", "the following arguments are required: --adapter"),
        (f"{EXTRACT} good.fasta --dtype float8", "(choose from float16, bfloat16, float32)"),
        ("train acts --features many --k 4 --out no", "--features: invalid int value: many"),
        ("enrich feats known", "the following arguments are required: --out"),
        ("extrakt", "invalid choice: extrakt (choose from extract, train"),
    ],
)
def test_a_wrong_word_is_explained_under_the_usage(
    desk: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        call(line)
    assert stop.value.code == 2
    usage, _, told = capsys.readouterr().err.rpartition("sci-interp")
    assert usage.startswith("usage: sci-interp")
    assert message in told.replace("'", "")
    assert not (desk / "no").exists()


def test_a_damaged_store_is_no_result(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("enrich feats-bad known --out damaged") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "feats-bad/codes.zarr/000000/value/c/0 is damaged" in told
    assert "Delete the artefact and make it again, or restore it from a copy." in told
    assert not (desk / "damaged" / "manifest.json").exists()


def test_a_refused_command_leaves_its_folder_to_the_next(desk: Path) -> None:
    huge = EXTRACT.replace("net", "huge").replace("--out no", "--out free")
    assert call(f"{huge} good.fasta") == 2
    assert call(f"{huge} good.fasta --dtype bfloat16") == 0
    shutil.rmtree(desk / "free")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("acts", ARTEFACTS.strip().splitlines()[0]),
        ("sae", "train acts --features 32 --k 4 --n-tokens 2000 --batch-size 256 --out sae"),
        ("feats", "encode sae acts --out feats"),
        ("links", "enrich feats known --n-permutations 20 --n-bootstrap 0 --out links"),
    ],
)
def test_the_command_that_made_an_interrupted_store_makes_it_whole(
    desk: Path, name: str, line: str
) -> None:
    shutil.copytree(f"{name}-cut", f"{name}-again")
    assert call(line.replace(f"--out {name}", f"--out {name}-again")) == 0
    assert read_tree(desk / f"{name}-again") == read_tree(desk / name)
    shutil.rmtree(f"{name}-again")


def test_a_process_exits_with_the_status_and_no_traceback(desk: Path) -> None:
    script = "import sys; from sci_interp.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", script, "run", "key.toml"],
        capture_output=True,
        text=True,
        check=False,
        cwd=desk,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("sci-interp: key.toml: [study]: there is no key 'layers'.")
    assert done.stderr.count("\n") == 1
