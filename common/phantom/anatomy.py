"""Brains in MNI space: the default ones, and users' FreeSurfer label maps registered to them."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from ..grids import read_volume
from ..labels import PARENCHYMA, TISSUE_OF, TISSUES, from_freesurfer
from ..preprocessing.registration import dice_overlap, register_affine, resample, similarity_from_points
from .mni import MNI_AFFINE, MNI_SHAPE, SULCAL_THRESHOLDS, default_labels, mni_brain

__all__ = ["Brain", "MINIMUM_OVERLAP", "cache_folder", "default_brains", "read_brains"]

CACHE_VERSION = 5  # raise it when what is computed here or in mni.py changes
MINIMUM_OVERLAP = 0.9
LANDMARKS = (1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 20, 21, 22)
FAR_MM = 30
DEPTHS = np.arange(-12, 12.01, 0.25, dtype=np.float32)
REGISTRATION_CONTRAST = {"white matter": 1.0, "cortex": 0.6, "csf": 0.25, "background": 0.0}


@dataclass(frozen=True)
class Brain:
    """A label map in MNI space, with what is needed to make its ventricles larger or smaller.

    Attributes:
        name: file name without ending, or that of the default brain.
        source: SHA-256 of the file, None for a default brain.
        labels: uint8 `MNI_SHAPE` on `MNI_AFFINE`, ids 0 to 27; 0 outside the skull-stripped brain.
        depth: float32 on every second voxel: distance from the lateral ventricles' wall in mm, negative inside.
        shells: ml of the lateral ventricles if their wall were moved outwards by each of `DEPTHS` mm.
        overlap: Dice with the template's brain mask.
    """

    name: str
    source: str | None
    labels: np.ndarray
    depth: np.ndarray
    shells: np.ndarray
    overlap: float

    @cached_property
    def wall_normal(self) -> np.ndarray:
        """float32 (3, ...) on the voxels of `depth`: which way leads out of the lateral ventricles."""
        return np.stack(np.gradient(ndimage.gaussian_filter(self.depth, 1.0), 2.0))

    @property
    def ventricle_ml(self) -> float:
        """Volume of the lateral ventricles in MNI space."""
        return float(np.interp(0, DEPTHS, self.shells))

    def wall_shift(self, ventricle_ml: float) -> float:
        """mm by which the wall must move outwards for that volume."""
        return float(np.interp(ventricle_ml, self.shells, DEPTHS))


def cache_folder() -> Path:
    """Where registered brains are kept, between runs and projects: `$XDG_CACHE_HOME` or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stroke-dwi-synthesis"


def default_brains() -> list[Brain]:
    """Three ages of the template brain; `source` is None, so they may be shared between splits."""
    brains = []
    for threshold in SULCAL_THRESHOLDS:
        name = f"mni152-csf{round(100 * threshold)}"
        brains.append(_cached(name, None, f"{name}-v{CACHE_VERSION}", lambda t=threshold: default_labels(t)))
    return brains


def read_brains(folder: str | Path, workers: int = 1) -> list[Brain]:
    """Read a folder of FreeSurfer label maps (`*.nii.gz`, `*.nii`) and register each to the MNI box.

    Registered brains are cached by the SHA-256 of their file. A registration takes about 12 s; `workers` processes
    share them.

    Raises:
        FileNotFoundError: the folder is missing or holds no label maps.
        ValueError: a file is no label map, or does not overlap the template after registration.
    """
    folder = Path(folder)
    paths = sorted([*folder.glob("*.nii.gz"), *folder.glob("*.nii")])
    if not paths:
        raise FileNotFoundError(f"{folder}: no *.nii.gz or *.nii label maps here. Give the folder that holds them.")
    bar = partial(tqdm, total=len(paths), desc="brains in MNI space", unit="brain", leave=False)
    if workers == 1:
        return list(bar(map(read_brain, paths)))
    with ProcessPoolExecutor(workers) as pool:
        return list(bar(pool.map(read_brain, paths)))


def read_brain(path: Path) -> Brain:
    """One brain of `read_brains`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    brain = _cached(path.name.split(".")[0], digest, f"{digest[:32]}-v{CACHE_VERSION}", lambda: _registered(path))
    if brain.overlap < MINIMUM_OVERLAP:
        raise ValueError(
            f"{path}: after registration its brain overlaps the MNI brain with Dice {brain.overlap:.2f}; expected at "
            f"least {MINIMUM_OVERLAP}. Is it a whole brain with a correct affine? Fix it or take it out of the folder."
        )
    return brain


def _cached(name: str, source: str | None, key: str, make) -> Brain:
    path = cache_folder() / f"{key}.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{os.getpid()}.{path.name}")
        np.savez_compressed(temporary, **_prepare(make()))
        temporary.replace(path)
    with np.load(path) as file:
        overlap = float(file["overlap"])
        return Brain(name, source, file["labels"], file["depth"].astype(np.float32), file["shells"], overlap)


def _prepare(labels: np.ndarray) -> dict:
    ventricle = np.isin(labels, (5, 6))
    if not ventricle.any():
        raise ValueError("The label map has no lateral ventricles (FreeSurfer 4 and 43); it is no whole brain.")
    low, high = (edge(np.argwhere(ventricle), axis=0) for edge in (np.min, np.max))
    near = tuple(slice(max(0, a - FAR_MM), b + FAR_MM) for a, b in zip(low, high))
    depth = np.full(labels.shape, FAR_MM, np.float32)  # beyond that, the distance does not matter
    depth[near] = ndimage.distance_transform_edt(~ventricle[near]) - ndimage.distance_transform_edt(ventricle[near])
    depth -= 0.5 * np.sign(depth)  # the wall lies between two voxels
    within = np.histogram(depth[labels > 0], [-np.inf, *DEPTHS])[0]
    shells = np.cumsum(within) / 1000
    return {
        "labels": labels,
        "depth": depth[::2, ::2, ::2].astype(np.float16),
        "shells": shells,
        "overlap": dice_overlap(labels > 0, mni_brain()),
    }


def _registered(path: Path) -> np.ndarray:
    """A label map on the template's grid, without the CSF that lies outside the brain's envelope."""
    voxels, affine = read_volume(path)
    labels = _strip(from_freesurfer(voxels, str(path)))
    fixed = default_labels(SULCAL_THRESHOLDS[1])
    landmarks = [k for k in LANDMARKS if (labels == k).any()]
    if len(landmarks) < 6:
        raise ValueError(f"{path}: holds {len(landmarks)} of {len(LANDMARKS)} deep structures; expected a whole brain.")
    start = similarity_from_points(_centroids(fixed, MNI_AFFINE, landmarks), _centroids(labels, affine, landmarks))
    matrix = register_affine(_contrast(fixed), MNI_AFFINE, _contrast(labels), affine, start)
    return resample(labels, affine, matrix, MNI_SHAPE, MNI_AFFINE)


def _centroids(labels: np.ndarray, affine: np.ndarray, ids: list[int]) -> np.ndarray:
    """(N, 3) centres of labels in mm."""
    voxels = np.array(ndimage.center_of_mass(np.ones_like(labels), labels, ids))
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def _strip(labels: np.ndarray) -> np.ndarray:
    """What a brain extraction leaves: the envelope of the parenchyma, its inner gaps filled with CSF."""
    brain = PARENCHYMA[labels] & (labels != 25)
    parts, count = ndimage.label(brain)
    brain = parts == 1 + int(np.argmax(ndimage.sum_labels(brain, parts, range(1, count + 1))))
    padding = 14
    outside = ndimage.distance_transform_edt(np.pad(~brain, padding, constant_values=True))
    closed = ndimage.distance_transform_edt(outside < 12)[padding:-padding, padding:-padding, padding:-padding] > 10.5
    stem = (labels == 25) & (np.arange(labels.shape[2]) > np.argwhere(brain)[:, 2].min() - 6)
    envelope = ndimage.binary_fill_holes(closed | brain) | stem
    stripped = np.where(envelope, labels, 0).astype(np.uint8)
    stripped[envelope & (labels == 0)] = 27
    return stripped


def _contrast(labels: np.ndarray) -> np.ndarray:
    """A picture of a label map in which tissues differ, the same way for every brain.

    It leaves out the stem, whose length depends on the field of view.
    """
    values = np.array([REGISTRATION_CONTRAST.get(tissue, 0.75) for tissue in TISSUES], np.float32)
    picture = values[TISSUE_OF[labels]]
    picture[labels == 25] = 0
    return picture
