"""No code comes from data: what could do that stands nowhere in the packages and benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest
from unsafe_calls import ARGUMENTS, FUNCTIONS, METHODS, MODULES, REQUIRED, find_unsafe

FOLDERS = ("sci_interp", "adapters", "benchmarks")

UNSAFE = {
    "import pickle": "unpickles",
    "from pickle import loads": "unpickles",
    "import marshal as m": "unpickles",
    "import xml.etree.ElementTree as tree": "expands entities",
    "from lxml import etree": "expands entities",
    "from torch import hub\nhub.load('owner/name', 'net')": "runs downloaded code",
    "import torch\ntorch.hub.load('owner/name', 'net')": "runs downloaded code",
    "import torch\ntorch.load(path)": "unpickles",
    "from torch import load as read\nread(path, 'cpu')": "unpickles",
    "import torch\ntorch.load(path,\n    weights_only=False)": "unpickles",
    "import torch\ntorch.load(path, weights_only=chosen)": "unpickles",
    "import torch\ntorch.load(path, **{'weights_only': False})": "unpickles",
    "import torch\ntorch.jit.load(path)": "runs what it reads",
    "import numpy as np\nnp.load(path)": "unpickles",
    "import numpy as np\nnp.load(path, allow_pickle=True)": "unpickles",
    "import pandas as pd\npd.read_pickle(path)": "runs what it reads",
    "import yaml\nyaml.load(text)": "makes objects from text",
    "import yaml\nyaml.unsafe_load(text)": "makes objects from text",
    "from yaml import full_load\nfull_load(text)": "makes objects from text",
    "eval(text)": "runs text",
    "run = exec": "runs text",
    "import builtins\n__import__(text)": "runs text",
    "archive.extractall(folder)": "writes where an archive says",
    "import shutil\nshutil.unpack_archive(path)": "writes where an archive says",
    "load(name, trust_remote_code=True)": "runs downloaded code",
    "load(name, trust_remote_code=settings.trust)": "runs downloaded code",
    "import os\nos.system(text)": "gives text to a shell",
    "from os import popen\npopen(text)": "gives text to a shell",
    "import subprocess\nsubprocess.run(text, shell=True)": "gives text to a shell",
    "from importlib import import_module\nimport_module('pickle')": "unpickles",
    "import importlib as i\ni.import_module('torch.hub')": "runs downloaded code",
    "import importlib\nimportlib.import_module(name='xml.etree')": "expands entities",
    "import pandas\npandas.read_hdf(path)": "unpickles",
    "import torch\ntorch.serialization.add_safe_globals([cls])": "unpickles",
    "from torch.serialization import safe_globals\nsafe_globals([cls])": "unpickles",
    "import runpy\nrunpy.run_path(path)": "runs what it reads",
    "import importlib.util as u\nu.spec_from_file_location('m', path)": "runs what it reads",
    "from importlib.machinery import SourceFileLoader\nSourceFileLoader('m', path)": (
        "runs what it reads"
    ),
    "import subprocess\nsubprocess.getstatusoutput(text)": "gives text to a shell",
    "import asyncio\nasyncio.create_subprocess_shell(text)": "gives text to a shell",
}

SAFE = (
    "import torch\ntorch.load(path, map_location='cpu', weights_only=True)",
    "import numpy as np\nnp.load(path, allow_pickle=False)",
    "import yaml\nyaml.safe_load(text)",
    "model.eval()",
    "import re\nre.compile(text)",
    "load(name, trust_remote_code=False)",
    "import subprocess\nsubprocess.run(words, check=False)",
    "from importlib import import_module\nimport_module('fsspec')",
    "text = 'pickle.load(torch.load(eval))'  # exec(text)",
)


@pytest.mark.parametrize("source", UNSAFE)
def test_what_is_banned_is_found(source: str) -> None:
    found = list(find_unsafe(source))
    assert {each.why for each in found} == {UNSAFE[source]}


@pytest.mark.parametrize("source", SAFE)
def test_what_is_safe_passes(source: str) -> None:
    assert list(find_unsafe(source)) == []


def test_every_ban_has_an_example() -> None:
    whys = {*MODULES.values(), *FUNCTIONS.values(), *METHODS.values()}
    whys |= {why for _, why in ARGUMENTS.values()}
    assert whys == set(UNSAFE.values())
    together = "\n".join(UNSAFE)
    for name in (*ARGUMENTS, *REQUIRED.values(), *METHODS):
        assert name in together


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_code_comes_from_data(repository: Path, folder: str) -> None:
    paths = sorted((repository / folder).rglob("*.py"))
    assert paths
    found = [
        f"{path.relative_to(repository)}:{each.line}: {each.what} ({each.why})"
        for path in paths
        for each in find_unsafe(path.read_text(encoding="utf-8"))
    ]
    assert found == []
