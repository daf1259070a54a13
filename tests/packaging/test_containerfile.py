"""The container's steps, one by one, in a virtual environment that holds nothing but what they install."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.datalists import read_dataset
from common.grids import read_volume, write_volume
from common.packaging.release import release_bundle

pytestmark = pytest.mark.slow

CONTAINERFILE = Path(__file__).resolve().parents[2] / "Containerfile"
BUILD_ARGUMENTS = {"TORCH_INDEX": ""}  # pip's own index, which every machine has set up
BASE = "docker.io/library/python:3.11-slim-bookworm"


def steps() -> list[tuple[str, str]]:
    """(instruction, what follows) of each step, as an engine reads them."""
    text = re.sub(r"\\\n", " ", CONTAINERFILE.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


class Container:
    """A folder that stands for the root of a file system, and a virtual environment for its Python."""

    def __init__(self, root: Path, context: Path):
        self.root, self.context, self.workdir, self.entrypoint = root, context, Path("/"), []
        venv.create(root / "python", with_pip=True)
        kept = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "HTTP", "http"))}
        self.variables = {**kept, "PATH": f"{root / 'python' / 'bin'}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}

    def inside(self, path: str | Path) -> Path:
        return self.root / str(self.workdir / path).lstrip("/")

    def step(self, instruction: str, rest: str) -> None:
        if instruction == "FROM":
            assert rest == BASE
        elif instruction == "ARG":
            name, _, value = rest.partition("=")
            self.variables[name] = BUILD_ARGUMENTS.get(name, value)
        elif instruction == "ENV":
            self.variables |= dict(word.split("=", 1) for word in shlex.split(rest))
        elif instruction == "WORKDIR":
            self.workdir = Path(rest)
            self.inside(".").mkdir(parents=True)
        elif instruction == "COPY":
            source, target = rest.split()
            if (self.context / source).is_dir():
                shutil.copytree(self.context / source, self.inside(target), dirs_exist_ok=True)
            else:
                self.inside(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.context / source, self.inside(target))
        elif instruction == "RUN":
            self.run(["sh", "-c", rest])
        elif instruction == "ENTRYPOINT":
            self.entrypoint = json.loads(rest)
        else:
            raise AssertionError(f"{instruction}: the test does not know this instruction")

    def run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.inside("."), env=self.variables, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the container's Python is 3.11")
def test_the_steps_make_something_that_segments_a_folder(bundle_runs, bundle_data, tmp_path):
    release_bundle("stroke_unet", bundle_runs["stroke_unet"], tmp_path / "dist")
    container = Container(tmp_path / "root", tmp_path / "dist" / "stroke_unet")
    for instruction, rest in steps():
        container.step(instruction, rest)

    case = read_dataset(bundle_data).select("test")[0]
    voxels, affine = read_volume(case.image)
    wide, wider = np.pad(voxels + 1, ((2, 2), (0, 0), (1, 0))) * 300, affine.copy()
    wider[:3, 3] -= affine[:3, :3] @ (2, 0, 1)
    write_volume(tmp_path / "root" / "scans" / "one.nii.gz", wide[::-1], wider @ turned_over(wide.shape))
    command = [
        str(container.root / word[1:]) if word in ("/scans", "/masks") else word for word in container.entrypoint
    ]
    shutil.copyfile(tmp_path / "root" / "scans" / "one.nii.gz", tmp_path / "root" / "scans" / "two.nii.gz")
    container.run([*command, "--images", str(container.root / "scans" / "one*")])  # what a user adds holds

    mask, where = read_volume(tmp_path / "root" / "masks" / "one_lesion.nii.gz")
    assert mask.shape == wide.shape
    np.testing.assert_allclose(where, wider @ turned_over(wide.shape), atol=1e-4)
    table = pd.read_csv(tmp_path / "root" / "masks" / "lesions.csv", keep_default_na=False)
    assert list(table["warning"]) == [""]
    installed = container.run(["python", "-c", "import torch, monai; print(torch.__file__, monai.__version__)"])
    assert str(container.root) in installed


def turned_over(shape) -> np.ndarray:
    """(4, 4) of an axis that runs the other way."""
    matrix = np.diag([-1.0, 1, 1, 1])
    matrix[0, 3] = shape[0] - 1
    return matrix
