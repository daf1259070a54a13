"""A small world for tests of synthesis: brains, runs of stand-in networks, and what they left on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common import mask_drawing, synthesis
from common.datalists import Case, write_dataset
from common.grids import grid_affine, minimum_lesion_voxels, write_volume
from common.noise import add_rician
from common.synthesis import draw_masks

SIZE = (24, 32, 16)
AFFINE = grid_affine(SIZE)
MINIMUM = minimum_lesion_voxels(AFFINE)


class Blobs(nn.Module):
    """A mask generator: a box whose place and size follow from the latent; some are too small."""

    latent_size = 5

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        lesion = torch.full((len(noise), *SIZE), 0.4)
        for row, (x, y, z, edge, _) in enumerate(noise.tolist()):
            start = [int(n / 2 + n / 8 * np.tanh(k)) - 2 for n, k in zip(SIZE, (x, y, z))]
            edge = int(2.5 + 2 * np.tanh(edge))
            lesion[(row, *(slice(at, at + edge) for at in start))] = 0.6
        return torch.stack([1 - lesion, lesion], 1)


class Translator(nn.Module):
    """A small network from one-hot slices to images with an instance norm in it, as in Pix2Pix."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(29, 6, 3, padding=1),
            nn.InstanceNorm2d(6, affine=True),
            nn.LeakyReLU(0.2),
            nn.Conv2d(6, 1, 3, padding=1),
        )

    def forward(self, label_map: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layers(label_map))


class Flat(Translator):
    """The id of a label as its intensity, without any noise."""

    def forward(self, label_map: torch.Tensor) -> torch.Tensor:
        return label_map.argmax(1, keepdim=True) / 100


def brain() -> np.ndarray:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    radius = np.hypot(x, y) + 0.1 * z**2
    return np.select([radius < 0.12, radius < 0.6, radius < 0.8], [5, 1, 3], 0).astype(np.uint8)


def write_data(folder: Path, size=SIZE):
    """Three normal training donors, one stroke case in training and one in test."""
    cases = []
    for number, (cohort, split) in enumerate(
        [("normal", "training")] * 3 + [("stroke", "training"), ("stroke", "test"), ("normal", "test")]
    ):
        name = f"{cohort}{number}"
        anatomy = np.roll(brain(), number - 1, axis=1)
        image = add_rician(np.where(anatomy > 0, 0.1, -1.0), anatomy > 0, 0.07, np.random.default_rng(number))
        files = {"image": image, "anatomy": anatomy}
        if cohort == "stroke":
            files["label"] = np.pad(np.ones((3, 3, 3), np.uint8), [(9, 12), (9, 20), (6, 7)])
        paths = {key: folder / key / f"{name}.nii.gz" for key in files}
        for key, voxels in files.items():
            write_volume(paths[key], voxels, AFFINE)
        sidecar = folder / f"{name}.json"
        sidecar.write_text(json.dumps({"source_brain": f"brain{number}"}))
        cases.append(Case(name, cohort, split, label=paths.pop("label", None), sidecar=sidecar, **paths))
    header = {"name": "toy", "licence": "CC0", "simulated": True, "synthetic": False, "size": size, "affine": AFFINE}
    return write_dataset(folder, header, cases)


def write_run(folder: Path, bundle: str, **settings) -> Path:
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"bundle": bundle, "settings": {"size": SIZE, **settings}}))
    (folder / "model.pt").write_bytes(bundle.encode())
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Run folders of the lesion GAN and the translator whose networks are the small ones above."""
    monkeypatch.setattr(mask_drawing, "load_network", lambda run, bundle, device: Blobs().eval())
    monkeypatch.setattr(synthesis, "load_network", lambda run, bundle, device: Translator().eval())
    return write_run(tmp_path / "gan", "lesion_wgan"), write_run(tmp_path / "itm", "pix2pix_itm", num_labels=29)


@pytest.fixture
def world(tmp_path, runs):
    """Arguments of `synthesize_images` but for `out`."""
    gan, itm = runs
    write_data(tmp_path / "data")
    masks = draw_masks(gan, 7, seed=3, out=tmp_path / "masks")
    return {"bundle": "pix2pix_itm", "model": itm, "data": tmp_path / "data", "masks": masks, "seed": 1}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}
