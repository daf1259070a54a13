"""Every command in the documentation names things that exist."""

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from scripts.data import IMPORTERS
from scripts.synthesize import COMMANDS

DOCUMENTS = [Path("README.md"), Path("CONTRIBUTING.md"), *sorted(Path("docs").glob("*.md"))]
DOCUMENTS += sorted(Path("bundles").glob("*/docs/README.md"))
FUNCTIONS = {
    "data": {
        name: f"data.{name}"
        for name in ("phantom", "check", "split", "describe", "restore", "anatomy", "nnunet", "derivatives")
    }
    | IMPORTERS,
    "synthesize": COMMANDS,
    "bench": {"": "bench.main"},
    "package": {name: f"package.{name}" for name in ("release", "verify", "publish", "export")},
    "label": {name: f"label.{name}" for name in ("app", "serve")},
    "evaluate": {"": "evaluate.main"},
    "study": {
        "plan": "study.plan",
        "run": "study.run",
        "stage": "study.stage",
        "status": "study.status",
        "report": "study.report",
    },
}


def commands(start):
    lines = [line.split("  #")[0].strip() for path in DOCUMENTS for line in path.read_text().splitlines()]
    return sorted({line[line.index(start) :] for line in lines if re.match(rf"(\S+=\S+ |torchrun.*)?.*{start}", line)})


def plain(start):
    """Whole lines of code blocks, without prose around them."""
    return [line for line in commands(start) if "`" not in line and "..." not in line and "|" not in line]


def flags(words):
    return [word[2:].split("=")[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize("line", plain("python -m scripts."))
def test_a_scripts_command_and_its_flags_exist(line):
    _, _, module, *words = shlex.split(line)
    known = FUNCTIONS[module.removeprefix("scripts.")]
    name = known[words[0] if "" not in known else ""]
    if callable(name):
        assert [flag for flag in flags(words) if flag not in inspect.signature(name).parameters] == []
        return
    file, name = name.split(":") if ":" in name else (f"scripts.{name.split('.')[0]}", name.split(".")[1])
    function = getattr(importlib.import_module(file), name)
    assert [flag for flag in flags(words) if flag not in inspect.signature(function).parameters] == []


@pytest.mark.parametrize("line", plain("-m monai.bundle run"))
def test_a_bundle_command_names_files_knobs_and_an_entry_that_exist(line):
    words = shlex.split(line)
    files = words[words.index("--config_file") + 1]
    files = ast.literal_eval(files) if files.startswith("[") else [files]
    parser = ConfigParser()
    parser.read_config(files)
    assert words[words.index("run") + 1] in parser
    assert [flag for flag in flags(words) if flag != "config_file" and flag not in parser] == []


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z0-9]+):", Path("Makefile").read_text(), re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"`?make ([a-z0-9]+)\b", path.read_text())}
    assert named & {"demo", "test", "benchmark"}
    assert {name for name in named if name not in targets and f"`make {name}" in Path("README.md").read_text()} == set()


def test_every_link_leads_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path}: {target}"
