"""Running bundles and loading what they trained: preflight checks, in-process training, networks from run folders."""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import ensure_tuple

from .allocation import keep_freed_memory
from .dataset_check import refuse_broken
from .environment import describe_environment

__all__ = ["Preflight", "configured", "load_network", "read_settings", "sha256", "train"]

HERE = Path(__file__).resolve()

# What `python -m monai.bundle run` takes itself; everything else on its command line must be an id of the config.
MONAI_FLAGS = {
    "run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file",
    "workflow_type", "properties_path", "help",
}  # fmt: skip


class Preflight:
    """Refuse what would go wrong later: mistyped overrides, missing folders, broken data. The first item of `run`.

    Args:
        dataset_dir: data set to check; None if the bundle trains on something else.
        output_dir: run folder; gets environment.json. None: nothing is written.
        synthetic_dir: synthetic data set to check as well, or None.
        needs: files that every case must have.
        splits: of the data set that are used.
        paths: {knob: path or None}, which must exist where given.
    """

    def __init__(
        self,
        dataset_dir: str | None,
        output_dir: str | None,
        needs: Iterable[str],
        splits: Iterable[str] = ("training", "validation"),
        paths: Mapping[str, str | None] | None = None,
        synthetic_dir: str | None = None,
    ):
        self.dataset_dir, self.output_dir, self.synthetic_dir = dataset_dir, output_dir, synthetic_dir
        self.needs, self.splits, self.paths = tuple(needs), tuple(splits), dict(paths or {})

    def __call__(self) -> None:
        """Raise ValueError or FileNotFoundError; under `python -m monai.bundle`, print the message and exit with 2."""
        try:
            refuse_unknown_flags(sys.argv)
            for knob, path in self.paths.items():
                if path and not Path(path).exists():
                    raise FileNotFoundError(f"--{knob} {path}: no such file or folder.")
            if self.dataset_dir is not None and int(os.environ.get("RANK", "0")) == 0:
                refuse_broken(self.dataset_dir, needs=self.needs, splits=self.splits)
                if self.synthetic_dir:
                    refuse_broken(self.synthetic_dir, needs=self.needs, splits=("training",))
        except (ValueError, FileNotFoundError) as error:
            if not _is_monai_command(sys.argv):
                raise
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        keep_freed_memory()
        if self.output_dir is None:
            return
        folder = Path(self.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "environment.json").write_text(json.dumps(describe_environment(), indent=1))


def refuse_unknown_flags(arguments: list[str]) -> None:
    """Raise ValueError if a `monai.bundle run` command line overrides an id that its config files lack.

    MONAI itself adds such an id to the config, where nobody reads it: `--dataset_dirr X` trains on the default data.
    """
    if not _is_monai_command(arguments):
        return
    flags = dict(_flags(arguments[2:]))
    if "config_file" not in flags:
        return
    parser = ConfigParser()
    parser.read_config(_config_files(flags["config_file"]))
    _refuse_unknown(parser, [flag for flag in flags if flag not in MONAI_FLAGS])


def train(bundle: str, overlays: Iterable[str] = (), **overrides: Any) -> None:
    """Train a bundle of this repository in this process, as `python -m monai.bundle run training` does.

    Args:
        bundle: such as "stroke_unet".
        overlays: names of config files beside train.json, such as "demo".
        overrides: ids of the config and their values; an id that the config lacks is refused.
    """
    folder = configs_of(bundle)
    files = [str(folder / f"{name}.json") for name in ("train", *overlays)]
    parser = ConfigParser()
    parser.read_config(files)
    _refuse_unknown(parser, overrides)
    workflow = ConfigWorkflow(
        files, meta_file=str(folder / "metadata.json"), logging_file=False, workflow_type="train", **overrides
    )
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:  # MONAI wraps what an expression raises
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from None
        raise


def configured(bundle: str, overlays: Iterable[str], overrides: Mapping[str, Any]) -> ConfigParser:
    """The training config of a bundle with overlays and overrides, as `train` takes them; nothing is built yet.

    Raises:
        ValueError: an override that the config lacks.
    """
    parser = ConfigParser()
    parser.read_config([str(configs_of(bundle) / f"{name}.json") for name in ("train", *overlays)])
    _refuse_unknown(parser, overrides)
    parser.update(dict(overrides))
    return parser


def configs_of(bundle: str) -> Path:
    """The configs of a bundle of this repository, or of the released bundle that carries this file along.

    Raises:
        ValueError: there is no such bundle; a released one holds itself only.
    """
    folder = HERE.parents[1] / "bundles" / bundle / "configs"
    released = HERE.parents[2] / "configs"
    if not folder.is_dir() and (released / "provenance.json").is_file():
        name = json.loads((released / "provenance.json").read_text())["bundle"]
        if name != bundle:
            raise ValueError(f"a run of {bundle} is needed here, but this released bundle holds {name} only.")
        return released
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such bundle.")
    return folder


def read_settings(run: str | Path) -> dict:
    """{"bundle", "settings"} of a run folder.

    Raises:
        FileNotFoundError: the folder is not a run.
    """
    path = Path(run) / "settings.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} is not a run folder: it has no settings.json. Train a bundle with --output_dir {run}."
        )
    return json.loads(path.read_text())


def load_network(
    run: str | Path, bundle: str | None = None, device: str | torch.device = "cpu", weights: str = "model.pt"
) -> torch.nn.Module:
    """The trained network of a run folder, in eval mode.

    Args:
        run: folder with settings.json and model.pt.
        bundle: the bundle that the caller expects; None takes any.
        device: where to put it.
        weights: file inside the run folder.

    Raises:
        FileNotFoundError: no such run, or it has not written weights yet.
        ValueError: a run of another bundle, or weights of another network.
    """
    keep_freed_memory()
    found = read_settings(run)
    if bundle is not None and found["bundle"] != bundle:
        raise ValueError(f"{run} holds a run of {found['bundle']}, but {bundle} is needed here.")
    path = Path(run) / weights
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not there (yet). Let the training finish its first epochs, or rerun its command."
        )
    parser = ConfigParser()
    parser.read_config(str(configs_of(found["bundle"]) / "inference.json"))
    parser.update({key: value for key, value in found["settings"].items() if key in parser})
    network = parser.get_parsed_content("network_def")
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    except RuntimeError as error:
        raise ValueError(f"{path}: weights do not fit the network of {found['bundle']}: {error}") from error
    return network.to(device).eval()


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_monai_command(arguments: list[str]) -> bool:
    program = Path(arguments[0])
    return program.name == "__main__.py" and program.parent.name == "bundle" and "monai" in program.parts


def _flags(arguments: list[str]) -> Iterable[tuple[str, str]]:
    """(name, value) of each --name value or --name=value; Fire takes - for _ in names."""
    for position, argument in enumerate(arguments):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            following = arguments[position + 1] if position + 1 < len(arguments) else ""
            yield name.replace("-", "_"), value if equals else following


def _config_files(value: str) -> list[str]:
    try:
        return [str(file) for file in ensure_tuple(ast.literal_eval(value))]
    except (ValueError, SyntaxError):
        return value.split(",")


def _refuse_unknown(parser: ConfigParser, names: Iterable[str]) -> None:
    for name in names:
        if name.lstrip("+") in parser:
            continue
        known = [str(key) for key in parser.get() if not str(key).startswith("_")]
        close = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean --{close[0]}?" if close else ""
        raise ValueError(f"--{name} is not an id of the config.{hint} Its knobs: {', '.join(known)}.")
