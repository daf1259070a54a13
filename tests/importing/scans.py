"""Small heads in a scanner's space, written in every layout that users have; they owe nothing to the importer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

SHAPE, VOXEL = (48, 56, 20), np.array([4.0, 4.0, 7.5])


def affine_of(codes: str = "RAS", degrees: float = 0.0) -> np.ndarray:
    """Voxel to mm with the axes of `codes`, turned about the left-right axis; the head's centre lies at (3, -5, 10)."""
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    signs = np.array([1 if code in "RAS" else -1 for code in codes])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(signs * VOXEL)
    affine[:3, 3] = np.array([3, -5, 10]) - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def points_of(affine: np.ndarray, shape=SHAPE) -> np.ndarray:
    """(H, W, D, 3) mm of the voxels' centres."""
    return np.stack(np.indices(shape), -1) @ affine[:3, :3].T + affine[:3, 3]


@dataclass
class Scan:
    """A stripped DWI and a lesion in the *right front upper* of the brain, in mm of the scanner."""

    affine: np.ndarray
    image: np.ndarray
    mask: np.ndarray


LESION_MM = np.array([3, -5, 10]) + np.array([30.0, 25.0, 15.0])


def scan(codes: str = "RAS", degrees: float = 0.0, seed: int = 0) -> Scan:
    rng = np.random.default_rng(seed)
    affine = affine_of(codes, degrees)
    away = (points_of(affine) - np.array([3, -5, 10])) / np.array([66, 84, 62])
    radius = np.linalg.norm(away, axis=-1)
    image = np.where(radius < 1, 300 + 20 * rng.standard_normal(SHAPE), 0)
    image[radius < 0.25] = 100  # ventricles
    mask = np.linalg.norm(points_of(affine) - LESION_MM, axis=-1) < 14
    image[mask] = 600
    return Scan(affine, image.clip(0), mask.astype(np.uint8))


def save(path: Path, voxels: np.ndarray, affine: np.ndarray, dtype=np.float32, **header) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(voxels).astype(dtype), affine)
    image.set_qform(header.pop("qform", affine), header.pop("qcode", 1))
    image.set_sform(header.pop("sform", affine), header.pop("scode", 1))
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def save_mha(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T.astype(np.float32)))
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


def isles22_a(root: Path, number: int, one: Scan, mask: bool = True) -> None:
    """As on Zenodo."""
    name = f"sub-strokecase{number:04d}"
    stem = f"{name}_ses-0001"
    save(root / name / "ses-0001" / "dwi" / f"{stem}_dwi.nii.gz", one.image, one.affine, np.float64)
    save(root / name / "ses-0001" / "dwi" / f"{stem}_adc.nii.gz", one.image / 300, one.affine)
    save(root / name / "ses-0001" / "anat" / f"{stem}_FLAIR.nii.gz", np.ones((30, 30, 30)), np.diag([7, 7, 7, 1]))
    if mask:
        save(root / "derivatives" / name / "ses-0001" / f"{stem}_msk.nii.gz", one.mask, one.affine, np.uint16)


def isles22_b(root: Path, number: int, one: Scan) -> None:
    """As in its repository: flat, lower case."""
    stem = f"sub-strokecase{number:04d}_ses-0001"
    folder = root / "rawdata" / f"sub-strokecase{number:04d}" / "ses-0001"
    save(folder / f"{stem}_dwi.nii.gz", one.image, one.affine)
    save(folder / f"{stem}_flair.nii.gz", one.image, one.affine)
    other = root / "derivatives" / f"sub-strokecase{number:04d}" / "ses-0001"
    save(other / f"{stem}_msk.nii.gz", one.mask, one.affine, np.uint16)


def isles22_c(root: Path, name: str, one: Scan) -> None:
    """As its Docker containers get it."""
    save_mha(root / "images" / "dwi-brain-mri" / f"{name}.mha", one.image, one.affine)
    save_mha(root / "images" / "adc-brain-mri" / f"{name}.mha", one.image / 300, one.affine)


def isles15(root: Path, number: int, one: Scan, truth: bool = True) -> None:
    for kind, voxels in (("MR_DWI", one.image), ("MR_Flair", one.image), ("OT", one.mask)):
        if kind != "OT" or truth:
            name = f"VSD.Brain.XX.O.{kind}.{70000 + number}"
            save(root / str(number) / name / f"{name}.nii", voxels, one.affine)


def soop(root: Path, number: int, one: Scan, acute: bool = True) -> None:
    folder = root / f"sub-{number}"
    save(folder / "dwi" / f"sub-{number}_rec-TRACE_dwi.nii.gz", one.image, one.affine)
    save(folder / "dwi" / f"sub-{number}_rec-ADC_dwi.nii.gz", one.image / 300, one.affine)
    masks = root / "derivatives" / "lesion_masks" / f"sub-{number}" / "dwi"
    save(masks / f"sub-{number}_space-TRACE_desc-lesion_mask.nii.gz", np.ones(SHAPE), one.affine, np.uint8)
    if acute:
        save(masks / f"sub-{number}_space-TRACE_desc-lesionAcute_mask.nii.gz", one.mask, one.affine, np.uint8)


def bids(root: Path, name: str, session: str, one: Scan, raters: int = 1) -> None:
    stem = f"sub-{name}" + (f"_ses-{session}" if session else "")
    folder = root / f"sub-{name}" / (f"ses-{session}" if session else "") / "dwi"
    save(folder / f"{stem}_dwi.nii.gz", one.image, one.affine)
    for rater in range(1, raters + 1):
        other = root / "derivatives" / f"rater{rater}" / folder.relative_to(root)
        save(other / f"{stem}_space-orig_label-lesion_mask.nii.gz", one.mask, one.affine, np.uint8)
