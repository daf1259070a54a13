"""Libraries of lesion masks in MNI space: an NPZ, or a folder of NIfTI files (a GAN's or a user's own)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from .datalists import SPLITS
from .grids import BOX_START, grid_affine, read_volume

__all__ = ["MaskLibrary", "read_masks", "resample_mask"]

SPLIT_SEED = 20
VALIDATION_SHARE_OF_NPZ = 0.3  # 60 of SOOP's 200 `val_masks`; the other 140 are for testing only
FOLDER_SHARES = {"training": 0.70, "validation": 0.09, "test": 0.21}


class MaskLibrary(NamedTuple):
    """Lesion masks of one split: `masks` uint8 (N, H, W, D) in {0, 1}, and one id for each."""

    masks: np.ndarray
    ids: list[str]


def read_masks(path: str | Path, size: tuple[int, int, int], split: str = "training") -> MaskLibrary:
    """Read the masks of one split and put them on the grid of `size`.

    An NPZ holds `train_masks` (the training split) and `val_masks` (its subjects are divided 30 : 70 between
    validation and test), bit-packed in rows, with `shape`, `affine` and `train_subjects`, `val_subjects`. A folder
    holds one NIfTI file in MNI space per subject; files are divided 70 : 9 : 21. Both divisions are drawn with a
    fixed seed. Masks that are empty on the grid are left out.

    Args:
        path: NPZ file or folder.
        size: voxels of the grid (H, W, D) over the MNI box.
        split: training, validation or test.

    Raises:
        FileNotFoundError: no such file or folder, or a folder without NIfTI files.
        ValueError: unknown split, a file that is no mask library, or no mask left.
    """
    path = Path(path)
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}; expected one of {SPLITS}.")
    if path.is_dir():
        pairs = _folder_masks(path, split)
    elif path.is_file():
        pairs = _npz_masks(path, split)
    else:
        raise FileNotFoundError(f"{path}: no such mask library. Give an NPZ file or a folder of NIfTI masks.")
    masks, ids = [], []
    for mask_id, mask, affine in pairs:
        on_grid = resample_mask(mask, affine, size)
        if on_grid.any():
            masks.append(on_grid)
            ids.append(mask_id)
    if not masks:
        raise ValueError(f"{path}: no mask of split {split!r} meets the MNI box. Are the masks in MNI space, in mm?")
    return MaskLibrary(np.stack(masks), ids)


def resample_mask(mask: np.ndarray, affine: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Put a mask in MNI space on the grid of `size`, by the share of each voxel that it covers.

    A voxel more than half covered is lesion. Where that would lose more than half of a lesion's volume (one thinner
    than the voxels), the best covered voxels are taken instead, as many as its volume asks for, at least one.

    Args:
        mask: (X, Y, Z), above 0.5 is lesion; `affine` must be free of rotation and shear.

    Returns:
        uint8 of shape `size` in {0, 1}; empty if the mask is empty or outside the MNI box.

    Raises:
        ValueError: the affine turns or shears.
    """
    target = grid_affine(size)
    lesion = np.asarray(mask) > 0.5
    if lesion.shape == tuple(size) and np.allclose(affine, target, atol=1e-3):
        return lesion.astype(np.uint8)
    linear = np.asarray(affine)[:3, :3]
    if np.abs(linear - np.diag(np.diag(linear))).max() > 1e-3 * np.abs(linear).max():
        raise ValueError("A mask in MNI space must have an affine without rotation; reorient and resample it first.")
    if not lesion.any():
        return np.zeros(size, np.uint8)
    box = ndimage.find_objects(lesion.astype(np.uint8))[0]  # most of the volume is empty
    covered = lesion[box].astype(np.float64)
    for axis in range(3):
        overlap = _overlap(lesion.shape[axis], linear[axis, axis], affine[axis][3], size[axis], axis)[:, box[axis]]
        covered = np.moveaxis(np.tensordot(overlap, covered, axes=(1, axis)), 0, axis)
    result = covered > 0.5
    wanted = round(covered.sum())
    if covered.sum() > 1e-9 and result.sum() < 0.5 * covered.sum():
        best = np.argsort(covered, axis=None, kind="stable")[::-1][: max(1, wanted)]
        result.flat[best] = covered.flat[best] > 0
    return result.astype(np.uint8)


def _overlap(count: int, step: float, start: float, target_count: int, axis: int) -> np.ndarray:
    """(target_count, count): share of each target voxel that lies in each source voxel, along one axis."""
    target = grid_affine((target_count,) * 3)[axis]
    width = target[axis]
    low = (BOX_START[axis] + width * np.arange(target_count))[:, None]
    centre = start + step * np.arange(count)
    left, right = centre - abs(step) / 2, centre + abs(step) / 2
    return (np.minimum(low + width, right) - np.maximum(low, left)).clip(0) / width


def _npz_masks(path: Path, split: str):
    try:
        with np.load(path) as file:
            content = {key: file[key] for key in file.files}
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as NPZ ({error}). Is the copy complete?") from error
    part = "train" if split == "training" else "val"
    missing = [key for key in ("affine", "shape", f"{part}_masks", f"{part}_subjects") if key not in content]
    if missing:
        raise ValueError(f"{path}: lacks {missing}; expected affine, shape, train_masks, val_masks and *_subjects.")
    packed, subjects = content[f"{part}_masks"], content[f"{part}_subjects"]
    shape = tuple(int(n) for n in content["shape"])
    rows = np.arange(len(packed))
    if split != "training":
        order = np.random.default_rng(SPLIT_SEED).permutation(len(packed))
        cut = round(VALIDATION_SHARE_OF_NPZ * len(packed))
        rows = np.sort(order[:cut] if split == "validation" else order[cut:])
    for row in rows:
        mask = np.unpackbits(packed[row])[: int(np.prod(shape))].reshape(shape)
        yield f"{part}-{subjects[row]}", mask, content["affine"]


def _folder_masks(folder: Path, split: str):
    paths = sorted([*folder.glob("*.nii.gz"), *folder.glob("*.nii")])
    if not paths:
        raise FileNotFoundError(f"{folder}: no *.nii.gz or *.nii masks here.")
    order = np.random.default_rng(SPLIT_SEED).permutation(len(paths))
    ends = np.round(np.cumsum([FOLDER_SHARES[name] for name in SPLITS]) * len(paths)).astype(int)
    start, end = dict(zip(SPLITS, zip([0, *ends], ends)))[split]
    for row in sorted(order[start:end]):
        mask, affine = read_volume(paths[row])
        if mask.ndim != 3:
            raise ValueError(f"{paths[row]}: expected a 3D mask, found shape {mask.shape}.")
        try:
            yield paths[row].name.split(".")[0], *_ras(mask, affine)
        except ValueError as error:
            raise ValueError(f"{paths[row]}: {error}") from error


def _ras(mask: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for axis in range(3):
        if affine[axis, axis] < 0:
            mask = np.flip(mask, axis)
            affine = affine.copy()
            affine[:3, 3] += affine[:3, axis] * (mask.shape[axis] - 1)
            affine[:3, axis] *= -1
    return mask, affine
