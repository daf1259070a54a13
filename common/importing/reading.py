"""Files as hospitals and challenges hand them out, read into volumes that can be relied on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from ..preprocessing.pipeline import Volume

__all__ = ["BadCase", "checked_dwi", "itk_affine", "read_contrast", "read_dwi", "read_label_map", "read_lesion_mask"]

NIFTI = (".nii", ".nii.gz")
ITK = (".mha", ".mhd", ".nrrd")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SMALLEST_EDGE, LARGEST_EDGE = 4, 1024
VOXEL_MM = (0.2, 20.0)
FIELD_MM = (60.0, 600.0)
MOST_LABELS = 10
APART_MM, SAME_MM = 1.0, 0.01


class BadCase(ValueError):
    """A case that cannot be used; the message says what was expected, what was found, and what to do."""


def read_dwi(path: Path, volume: int | None = None) -> tuple[Volume, list[str]]:
    """A DWI as magnitudes in RAS order, and notes on what had to be mended.

    NaN and negative voxels become 0; axes of length 1 go; of a 4D image, `volume` is taken (counted from 0), or the one
    with the highest b-value of the `.bval` file beside it.

    Raises:
        BadCase: unreadable, without orientation, not one volume, blank, or not of the size of a head.
    """
    voxels, affine, notes = _read(path, volume)
    return checked_dwi(path, voxels, affine, notes), notes


def checked_dwi(path: Path, voxels: np.ndarray, affine: np.ndarray, notes: list[str]) -> Volume:
    """Voxels of a DWI in RAS order, mended where they can be; adds to `notes`. `path` names them in errors."""
    _refuse_bad_grid(path, voxels, affine)
    bad = ~np.isfinite(voxels)
    if bad.all():
        raise BadCase(f"{path}: no voxel is a number. Export it again")
    if bad.any():
        notes.append(f"{path.name}: {int(bad.sum())} voxels are not finite; set to 0")
        voxels = np.where(bad, 0, voxels)
    if (voxels < 0).any():
        notes.append(f"{path.name}: {int((voxels < 0).sum())} voxels are negative; set to 0")
        voxels = voxels.clip(0)
    if voxels.max() == voxels.min():
        raise BadCase(f"{path}: every voxel is {voxels.max():g}. Is it the right file?")
    field = np.array(voxels.shape) * np.linalg.norm(affine[:3, :3], axis=0)
    if (field < FIELD_MM[0]).any() or (field > FIELD_MM[1]).any():
        raise BadCase(
            f"{path}: its field of view is {_words(field, ' x ')} mm; expected {FIELD_MM[0]:g} to {FIELD_MM[1]:g} mm "
            "along each axis, as of a head. Are the voxel sizes in its header right?"
        )
    ordered = _in_ras_order(voxels, affine)
    return Volume(ordered.voxels.astype(np.float32), ordered.affine, voxels.shape, affine)


def read_contrast(path: Path) -> tuple[Volume, list[str]]:
    """A further contrast (ADC, FLAIR) in RAS order, NaN as 0; else as `read_dwi`, without its checks of content."""
    voxels, affine, notes = _read(path, None)
    _refuse_bad_grid(path, voxels, affine)
    return _in_ras_order(np.nan_to_num(voxels, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32), affine), notes


def read_lesion_mask(path: Path, like: Volume) -> tuple[Volume, list[str]]:
    """A lesion mask, uint8 {0, 1}; above a half is lesion. It may lie on another grid than the image `like`.

    Raises:
        BadCase: unreadable, not a mask, or nowhere near the image.
    """
    voxels, affine, notes = _read(path, None)
    _refuse_bad_grid(path, voxels, affine)
    voxels = np.nan_to_num(voxels, nan=0.0)
    values = np.unique(voxels)
    if len(values) > MOST_LABELS and not ((values >= -1e-3) & (values <= 1 + 1e-3)).all():
        raise BadCase(
            f"{path}: holds {len(values)} values from {values[0]:g} to {values[-1]:g}; expected a mask of 0 and 1. "
            "Is it the image?"
        )
    mask = _in_ras_order((voxels > 0.5).astype(np.uint8), affine)
    apart = _apart(mask.affine, like.affine, like.voxels.shape) if mask.voxels.shape == like.voxels.shape else np.inf
    if apart < APART_MM:
        if apart > SAME_MM:
            notes.append(f"{path.name}: its affine is up to {apart:.1f} mm off the image's, which is used")
        mask = Volume(mask.voxels, like.affine)
    else:
        notes.append(f"{path.name}: lies on another grid, {_words(mask.voxels.shape)}; carried over by its affine")
    if mask.voxels.any() and not _meets(mask.voxels, mask.affine, like):
        raise BadCase(
            f"{path}: its lesion lies outside the image's field of view. Is it the mask of another image, or in "
            "another space?"
        )
    return mask, notes


def read_label_map(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A label map as integers (H, W, D) and its affine, axes in RAS order.

    Raises:
        BadCase: unreadable, or not whole numbers.
    """
    voxels, affine, _ = _read(path, None)
    _refuse_bad_grid(path, voxels, affine)
    rounded = np.rint(np.nan_to_num(voxels))
    if np.abs(voxels - rounded).max() > 1e-3:
        raise BadCase(f"{path}: holds fractions; expected a label map of whole numbers (FreeSurfer's ids)")
    ordered = _in_ras_order(rounded.astype(np.int32), affine)
    return ordered.voxels, ordered.affine


def _read(path: Path, volume: int | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Voxels (H, W, D) as float64 and their affine, as they are stored; notes."""
    path = Path(path)
    if not path.is_file():
        raise BadCase(f"{path}: no such file" + (" (a broken link)" if path.is_symlink() else ""))
    if path.stat().st_size == 0:
        raise BadCase(f"{path}: is empty (0 bytes). Copy or download it again")
    notes: list[str] = []
    try:
        voxels, affine = _itk(path) if path.suffix.lower() in ITK else _nifti(path, notes)
    except BadCase:
        raise
    except Exception as error:
        raise BadCase(f"{path}: cannot be read ({type(error).__name__}: {error}). Is the copy complete?") from error
    return _one_volume(path, voxels, volume, notes), affine, notes


def _refuse_bad_grid(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BadCase(f"{path}: its affine is not usable: {np.round(affine, 3).tolist()}. Export it again")
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if (size < VOXEL_MM[0]).any() or (size > VOXEL_MM[1]).any():
        raise BadCase(
            f"{path}: its voxels are {_words(size, ' x ')} mm; expected {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm. Is "
            "the header in mm?"
        )
    if min(voxels.shape) < SMALLEST_EDGE or max(voxels.shape) > LARGEST_EDGE:
        raise BadCase(
            f"{path}: has {_words(voxels.shape, ' x ')} voxels; expected a volume with {SMALLEST_EDGE} to "
            f"{LARGEST_EDGE} along each axis"
        )


def _in_ras_order(voxels: np.ndarray, affine: np.ndarray) -> Volume:
    """The same volume with axes that run right, anterior and superior as nearly as they can."""
    canonical = nib.as_closest_canonical(nib.Nifti1Image(voxels, affine))
    return Volume(np.asarray(canonical.dataobj), canonical.affine)


def _apart(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far two affines lay a corner of a volume apart at most, in mm."""
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])], float)
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def _nifti(path: Path, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    if not path.name.lower().endswith(NIFTI):
        raise BadCase(f"{path}: expected {', '.join(NIFTI + ITK)}")
    image = nib.load(path)
    if image.get_data_dtype().fields is not None:
        raise BadCase(f"{path}: is a colour picture; expected one value per voxel")
    (qform, q), (sform, s) = image.get_qform(coded=True), image.get_sform(coded=True)
    if not q and not s:
        raise BadCase(
            f"{path}: has no orientation (qform and sform code 0), so left and right cannot be told. Convert the "
            "DICOM series again, e.g. with dcm2niix"
        )
    if q and s and (apart := _apart(qform, sform, (*image.shape, 1, 1)[:3])) > APART_MM:
        notes.append(f"{path.name}: qform and sform differ by up to {apart:.0f} mm; the sform is used")
    return image.get_fdata(dtype=np.float64), image.affine


def _itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = sitk.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise BadCase(f"{path}: has {image.GetNumberOfComponentsPerPixel()} values per voxel; expected one")
    return sitk.GetArrayFromImage(image).T.astype(np.float64), itk_affine(image)


def itk_affine(image: sitk.Image) -> np.ndarray:
    """Voxel to mm in RAS of a 3D (or 4D) SimpleITK image, which itself counts in LPS."""
    dimension = image.GetDimension()
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3]
    affine[:3, :3] = direction * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = np.array(image.GetOrigin())[:3]
    return LPS_TO_RAS @ affine


def _one_volume(path: Path, voxels: np.ndarray, volume: int | None, notes: list[str]) -> np.ndarray:
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim > 4 or voxels.ndim < 3:
        shape = [n for n in voxels.shape if n > 1]
        if len(shape) not in (3, 4):
            raise BadCase(f"{path}: has shape {_words(voxels.shape, ' x ')}; expected a volume, or several of one head")
        voxels = voxels.reshape(shape)
    if voxels.ndim == 3:
        return voxels
    count = voxels.shape[-1]
    if volume is None:
        values = _bvalues(path)
        if values is None or len(values) != count or max(values) < 100:
            raise BadCase(
                f"{path}: holds {count} volumes, and no .bval file beside it says which is the DWI. Give --volume K, "
                "counted from 0"
            )
        volume = int(np.argmax(values))
        notes.append(f"{path.name}: of {count} volumes, number {volume} (b = {values[volume]:g}) is used")
    if not 0 <= volume < count:
        raise BadCase(f"{path}: holds {count} volumes; --volume {volume} is not among them")
    return voxels[..., volume]


def _bvalues(path: Path) -> list[float] | None:
    beside = path.with_name(path.name.split(".nii")[0] + ".bval")
    if not beside.is_file():
        return None
    try:
        return [float(word) for word in beside.read_text().split()]
    except ValueError:
        return None


def _meets(mask: np.ndarray, affine: np.ndarray, like: Volume) -> bool:
    points = np.argwhere(mask)[:: max(1, int(mask.sum()) // 500)] @ affine[:3, :3].T + affine[:3, 3]
    voxels = (points - like.affine[:3, 3]) @ np.linalg.inv(like.affine[:3, :3]).T
    return bool(((voxels > -0.5) & (voxels < np.array(like.voxels.shape) - 0.5)).all(1).any())


def _words(numbers, between: str = "x") -> str:
    return between.join(f"{number:.4g}" for number in numbers)
