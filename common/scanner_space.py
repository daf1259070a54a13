"""A DWI from the scanner onto the grid of a segmenter, and the mask back: transforms for inference.

They hold nothing between calls, so that a server may copy them and call them from several threads.
"""

from __future__ import annotations

import glob
import json
import os
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from .datalists import items
from .grids import grid_affine, read_volume, spacing_of
from .importing.reading import BadCase, checked_dwi, itk_affine, read_dwi, read_lesion_mask
from .preprocessing.brain import brain_of
from .preprocessing.gridding import mask_back
from .preprocessing.pipeline import Options, Volume, prepare_case
from .preprocessing.registration import resample

__all__ = ["FromScannerd", "ToScannerd", "image_items", "image_root", "trained_size"]

ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
SAME_MM = 1e-3
FINE_MM = 1.8  # smaller voxels are averaged before the brain is looked for, which then takes a quarter of the time


def image_items(
    images: str | None, brain_masks: str | None = None, dataset_dir: str | None = None, split: str = "test"
) -> list[dict]:
    """What to segment: {"image": path[, "brain": path]}.

    Args:
        images: a file, a folder, or a pattern such as "scans/*_dwi.nii.gz"; None: the images of a data set.
        brain_masks: folder with a brain mask for each image, of the same file name.
        dataset_dir, split: the data set, where there are no `images`.

    Files that cannot be read at all are left out, with a warning, so that one does not stop the others.

    Raises:
        FileNotFoundError: no image there that can be read, or one without its brain mask.
    """
    if images is None:
        return items(dataset_dir, split, ["image"])
    folder = Path(images)
    found = sorted(folder.iterdir()) if folder.is_dir() else sorted(map(Path, glob.glob(str(images))))
    found = [path for path in found if path.name.endswith(ENDINGS) and _is_readable(path)]
    if not found:
        raise FileNotFoundError(f"--images {images}: no image there that can be read ({', '.join(ENDINGS)}).")
    listed = [{"image": str(path)} for path in found]
    for item in listed if brain_masks else ():
        mask = Path(brain_masks) / Path(item["image"]).name
        if not mask.is_file():
            raise FileNotFoundError(f"{mask}: not there. --brain_masks names a folder with a mask for each image.")
        item["brain"] = str(mask)
    return listed


def _is_readable(path: Path) -> bool:
    try:
        _geometry(path)
    except BadCase as error:
        warnings.warn(f"{error} It is left out.", stacklevel=3)
        return False
    return True


def image_root(images: str | None) -> str:
    """Folder that all images lie in or below; their masks lie likewise below OUT. Empty for those of a data set."""
    if images is None:
        return ""
    return os.path.commonpath([Path(item["image"]).parent.resolve() for item in image_items(images)])


def trained_size(run: str, otherwise: tuple[int, int, int]) -> list[int]:
    """Voxels of the grid that a run was trained on; `otherwise` where no run folder tells."""
    path = Path(run) / "settings.json"
    return list(json.loads(path.read_text())["settings"]["size"] if path.is_file() else otherwise)


class FromScannerd(MapTransform):
    """Read DWIs of any grid and orientation and bring them onto the grid that a segmenter was trained on.

    As an import does (`common.preprocessing`): RAS, the brain's centre on that of MNI152 (or registered), mean over
    each voxel, clipped at the brain's 99.5th percentile and a floor, [-1, 1], -1 outside the brain. An image that lies
    on the grid in [-1, 1] already is taken as it is; one of a data set on another grid (-1 outside the brain, nothing
    above 1) keeps its floor.

    What cannot be a DWI of a head becomes an empty image with a warning, so that its mask is empty as well.

    Args:
        keys: paths; they become MetaTensors (1, H, W, D) on the grid, whose meta data lead back (`ToScannerd`).
        size: voxels of the grid.
        space: shift, or register: affinely to MNI152.
        floor: see `common.preprocessing.pipeline.Options`.
        brain_key: path of a brain mask; without one the brain is found.
        volume: of 4D files, counted from 0; None: the one with the highest b-value of the .bval file beside it.

    Raises:
        BadCase: a file that cannot be read at all.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: tuple[int, int, int],
        space: str = "shift",
        floor: float = 0.1,
        brain_key: str = "brain",
        volume: int | None = None,
    ):
        super().__init__(keys)
        self.options, self.brain_key, self.volume = Options(tuple(size), space, floor), brain_key, volume

    def __call__(self, data: Mapping[Hashable, str]) -> dict:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._read(Path(result[key]), result.get(self.brain_key))
        return result

    def _read(self, path: Path, brain: str | None) -> MetaTensor:
        size, grid = self.options.size, grid_affine(self.options.size)
        if (voxels := _prepared(path, size, grid)) is not None:
            return _on_grid(voxels, grid, path, np.eye(4), size, grid, "")
        options = self.options
        try:
            if (scaled := _scaled(path)) is not None:  # an image of a data set has no magnitudes, but negative values
                notes, options = [], replace(options, floor=0.0)
                image = checked_dwi(path, scaled[0] + 1.0, scaled[1], notes)
            else:
                image, notes = read_dwi(path, self.volume)
            mask = read_lesion_mask(Path(brain), image)[0] if brain else _brain(image)
            made = prepare_case(image, {}, {}, options, mask)
        except ValueError as error:
            shape, affine = _geometry(path)
            named = f"{error}" if f"{path}" in f"{error}" else f"{path}: {error}"
            warning = f"{named}. No lesion is looked for."
            warnings.warn(warning, stacklevel=2)
            return _on_grid(np.full(size, -1, np.float32), grid, path, np.eye(4), shape, affine, warning)
        record = made.record
        return _on_grid(
            made.image, grid, path, np.array(record["matrix"]), record["shape"], np.array(record["affine"]),
            "; ".join(notes),
        )  # fmt: skip


class ToScannerd(MapTransform):
    """Turn a segmenter's logits on the grid into a lesion mask on the voxels of the file that the image came from.

    An empty image has an empty mask, whatever a network makes of it.

    Args:
        keys: logits (2, H, W, D); they become masks, uint8 {0, 1}, (1, H', W', D') with the file's shape and affine. Of
            more classes (an anatomy) the labels come back.
        image_key: the image, as `FromScannerd` made it.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image"):
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        image = result[self.image_key]
        meta, usable = image.meta, bool((image > -1).any())
        grid, matrix, affine = (np.asarray(meta[key], float) for key in ("grid", "scanner_matrix", "original_affine"))
        shape = tuple(int(edge) for edge in meta["spatial_shape"])
        for key in self.key_iterator(result):
            logits = torch.as_tensor(result[key])
            mask = (logits.argmax(0) * usable).cpu().numpy().astype(np.uint8)
            there = np.allclose(matrix, np.eye(4)) and mask.shape == shape and np.allclose(grid, affine)
            if not there and len(logits) == 2:
                mask = mask_back(mask, grid, matrix, shape, affine)
            elif not there:
                mask = resample(mask, grid, np.linalg.inv(matrix), shape, affine)
            kept = {name: value for name, value in meta.items() if name != "affine"}
            result[key] = MetaTensor(torch.from_numpy(mask)[None], affine=torch.from_numpy(affine), meta=kept)
        return result


def _on_grid(
    voxels: np.ndarray, grid: np.ndarray, path: Path, matrix: np.ndarray, shape, affine: np.ndarray, warning: str
) -> MetaTensor:
    meta = {
        "filename_or_obj": str(path),
        "spatial_shape": np.array(shape),  # of the file, as MONAI's readers mean it
        "original_affine": np.asarray(affine, float),
        "grid": np.asarray(grid, float),
        "scanner_matrix": matrix,
        "warning": warning,
    }
    image = torch.from_numpy(np.ascontiguousarray(voxels, np.float32))[None]
    return MetaTensor(image, affine=torch.from_numpy(np.asarray(grid, float)), meta=meta)


def _prepared(path: Path, size: tuple, grid: np.ndarray) -> np.ndarray | None:
    """Voxels of an image that lies on the grid in [-1, 1]; else None."""
    if not path.name.endswith((".nii", ".nii.gz")) or not path.is_file():
        return None
    try:
        header = nib.load(path)
        if header.shape != tuple(size) or not np.allclose(header.affine, grid, atol=SAME_MM):
            return None
        voxels = read_volume(path)[0]
    except (ValueError, OSError, nib.filebasedimages.ImageFileError):
        return None  # the reader for scans tells what is wrong
    return voxels if voxels.min() >= -1 and voxels.min() < 0 and voxels.max() <= 1 else None


def _scaled(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Voxels and affine of a volume in [-1, 1], -1 outside the brain; else None."""
    try:
        voxels, affine = read_volume(path)
    except (ValueError, FileNotFoundError):
        return None  # the reader for scans tells what is wrong
    return (voxels, affine) if voxels.ndim == 3 and voxels.min() == -1 and voxels.max() <= 1 else None


def _brain(image: Volume) -> Volume:
    """The brain, found on voxels that are not finer than it needs."""
    edges = np.array(image.voxels.shape)
    parts = np.round(FINE_MM / np.array(spacing_of(image.affine))).astype(int).clip(1, edges)
    kept = edges // parts * parts
    blocks = [n for edge, part in zip(kept // parts, parts) for n in (edge, part)]
    coarse = image.voxels[tuple(map(slice, kept))].reshape(blocks).mean((1, 3, 5))
    affine = image.affine @ np.diag([*parts, 1.0])
    affine[:3, 3] += image.affine[:3, :3] @ ((parts - 1) / 2)
    return Volume(brain_of(coarse, affine).astype(np.uint8), affine)


def _geometry(path: Path) -> tuple[tuple, np.ndarray]:
    """Shape and affine of a file whose content cannot be used; the mask will have them."""
    try:
        if path.name.endswith((".nii", ".nii.gz")):
            image = nib.load(path)
            return (*image.shape, 1, 1)[:3], image.affine
        header = sitk.ImageFileReader()
        header.SetFileName(str(path))
        header.ReadImageInformation()
        return (*header.GetSize(), 1, 1)[:3], itk_affine(header)
    except Exception as error:
        raise BadCase(f"{path}: cannot be read as an image ({error}). Is the copy complete?") from error
