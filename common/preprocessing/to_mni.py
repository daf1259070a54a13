"""From a scanner's space to MNI152: registration of a DWI."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

from ..phantom.mni import MNI_AFFINE, mni_maps
from .deformation import Deformation, deform
from .registration import register_affine, resample

__all__ = ["deform_dwi", "register_dwi", "shift_to_mni"]

TISSUE = {"grey": 1.1, "white": 0.95, "csf": 0.35}  # signal at b = 1000 relative to parenchyma, as in the phantom
BRIGHT = 1.6  # lesions and artefacts above that must not pull
PITCHES = (-20.0, -10.0, 0.0, 10.0, 20.0)  # degrees; heads differ in this angle most
TRIED = 3  # of them, the nearest, are worked out
LEVELS = (4, 2, 1)
GOOD = 0.80
BRAIN_HEIGHT = 130.0
MNI_CENTRE = np.array([-0.5, -16.5, 7.5])
"""`_centre` of the template's brain in mm, so that shifting needs no template."""


@cache
def _template() -> tuple[np.ndarray, np.ndarray]:
    """The MNI brain as a DWI would show it, 2 mm, and its affine."""
    maps = mni_maps()
    picture = TISSUE["grey"] * maps.grey + TISSUE["white"] * maps.white + TISSUE["csf"] * maps.csf
    affine = MNI_AFFINE.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] += 0.5
    shape = [edge // 2 * 2 for edge in picture.shape]
    picture = picture[: shape[0], : shape[1], : shape[2]]
    return picture.reshape(shape[0] // 2, 2, shape[1] // 2, 2, shape[2] // 2, 2).mean((1, 3, 5)), affine


def shift_to_mni(brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(4, 4) from mm of MNI to mm of the source that lays the centres of the brains over each other, unturned."""
    matrix = np.eye(4)
    matrix[:3, 3] = _centre(brain, affine) - MNI_CENTRE
    return matrix


def register_dwi(image: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Find the affine map from MNI152 to a DWI's space.

    Args:
        image: magnitudes (H, W, D).
        brain: bool of the same shape.
        affine: (4, 4) voxel to mm, RAS.

    Returns:
        (4, 4) from mm of MNI to mm of the source.

    Raises:
        ValueError: the brains do not lie over each other afterwards.
    """
    template, template_affine = _template()
    picture = _picture(image, brain)
    shift = shift_to_mni(brain, affine)
    starts = [shift @ _pitched(angle, MNI_CENTRE) for angle in PITCHES]
    starts.sort(key=lambda start: _mismatch(picture, affine, start))
    found = [register_affine(template, template_affine, picture, affine, start, LEVELS) for start in starts[:TRIED]]
    matrix = min(found, key=lambda one: _mismatch(picture, affine, one))
    overlap = _overlap(brain, affine, matrix)
    if overlap < GOOD:
        raise ValueError(
            f"after registration the brain overlaps that of MNI152 with Dice {overlap:.2f}; expected {GOOD} or more. "
            "Is the orientation in its header right, and the whole brain in the field of view? Otherwise register it "
            "with your own tool and import it with --space mni"
        )
    return matrix


def deform_dwi(image: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> Deformation:
    """As `register_dwi`, then deformably: ventricles and lobes lie over those of MNI152 too.

    Raises:
        ValueError: as `register_dwi`, or the deformation folds space.
    """
    return deform(*_template(), _picture(image, brain), affine, register_dwi(image, brain, affine))


def _picture(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The brain in the template's units; lesions and artefacts are no brighter than grey matter can be."""
    return np.where(brain, (image / np.median(image[brain])).clip(0, BRIGHT), 0).astype(np.float32)


def _pitched(degrees: float, centre: np.ndarray) -> np.ndarray:
    """(4, 4) turn about the left-right axis through a point."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return matrix


@cache
def _coarse_template() -> tuple[np.ndarray, np.ndarray]:
    """The template at 6 mm, and its affine."""
    template, affine = _template()
    return ndimage.gaussian_filter(template, 1.5)[::3, ::3, ::3], affine @ np.diag([3, 3, 3, 1])


def _mismatch(picture: np.ndarray, affine: np.ndarray, matrix: np.ndarray) -> float:
    fixed, coarse = _coarse_template()
    return float(((resample(picture, affine, matrix, fixed.shape, coarse, order=1) - fixed) ** 2).mean())


def _overlap(brain: np.ndarray, affine: np.ndarray, matrix: np.ndarray) -> float:
    """Dice of the two brains over the slices that the image covers."""
    template, template_affine = _template()
    inside = resample(np.ones(brain.shape, np.uint8), affine, matrix, template.shape, template_affine) > 0
    moved = resample(brain.astype(np.uint8), affine, matrix, template.shape, template_affine) > 0
    fixed = (template > 0) & inside
    return 2 * float((moved & fixed).sum()) / max(float(moved.sum() + fixed.sum()), 1.0)


def _centre(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Of the box around a mask (axes in RAS order), in mm; seen from its top: necks and missing slices lie below."""
    points = np.argwhere(mask) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
    low, high = np.percentile(points, [1, 99], axis=0)
    is_cut = mask[:, :, 0].any()
    low[2] = high[2] - BRAIN_HEIGHT if is_cut else max(low[2], high[2] - BRAIN_HEIGHT)
    return (low + high) / 2
