"""One case from a scanner's space onto the grid of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ..grids import PAPER_SIZE, grid_affine
from .brain import brain_of, is_stripped
from .deformation import Space, linear_part
from .gridding import image_on_grid, mask_on_grid
from .intensity import scale_intensity
from .to_mni import deform_dwi, register_dwi, shift_to_mni

__all__ = ["SPACES", "Options", "Prepared", "Volume", "prepare_case"]

SPACES = ("register", "deform", "shift", "mni")


@dataclass(frozen=True)
class Volume:
    """Voxels (H, W, D) and their affine (4, 4) to mm, RAS.

    `shape` and `stored` are shape and affine of the file that it came from, whose axes may run otherwise.
    """

    voxels: np.ndarray
    affine: np.ndarray
    shape: tuple[int, int, int] | None = None
    stored: np.ndarray | None = None


@dataclass(frozen=True)
class Options:
    """How cases are prepared.

    Attributes:
        size: voxels of the grid over the MNI box.
        space: "register", affinely to MNI152; "deform", deformably after that; "shift", only centred on its brain, for
            images that lie nearly so; "mni", used as they are, for images in MNI space already.
        floor: of the intensities: what is below becomes -1. A share of the 99.5th percentile up to 1, else an
            intensity (the paper: 35, in its scanners' units).
    """

    size: tuple[int, int, int] = PAPER_SIZE
    space: str = "register"
    floor: float = 0.1

    def __post_init__(self):
        if self.space not in SPACES:
            raise ValueError(f"--space {self.space!r} is not known; expected one of {', '.join(SPACES)}.")


@dataclass(frozen=True)
class Prepared:
    """What `prepare_case` makes.

    Attributes:
        image: float32 (H, W, D) in [-1, 1], background -1.
        brain: bool (H, W, D).
        masks, extra: uint8 masks and float32 images on the same grid, under the names given.
        space: from mm of MNI to mm of the source.
        record: JSON-able; "matrix" is the linear part of `space`, "shape" and "affine" are the source's.
    """

    image: np.ndarray
    brain: np.ndarray
    masks: dict[str, np.ndarray]
    extra: dict[str, np.ndarray]
    space: Space
    record: dict


def prepare_case(
    image: Volume,
    masks: Mapping[str, Volume],
    extra: Mapping[str, Volume],
    options: Options,
    brain: Volume | None = None,
) -> Prepared:
    """Register, resample, crop and scale a DWI; its masks and further contrasts go along.

    Args:
        image: magnitudes, finite, at least 0.
        masks: lesion masks by rater, in the image's space, on any grid.
        extra: further contrasts by name, in the image's space, on any grid; not scaled.
        options: how.
        brain: brain mask in the image's space; None: found (`brain_of`).

    Raises:
        ValueError: no brain is found, the registration fails, or a lesion is lost outside the MNI box.
    """
    size, grid = tuple(options.size), grid_affine(tuple(options.size))
    found = (
        brain_of(image.voxels, image.affine)
        if brain is None
        else mask_on_grid(brain.voxels, brain.affine, np.eye(4), image.voxels.shape, image.affine) > 0
    )
    space = _space(options.space, image, found)
    inside = mask_on_grid(found, image.affine, space, size, grid) > 0
    scaled, intensity = scale_intensity(
        image_on_grid(image.voxels, image.affine, space, size, grid),
        inside,
        floor=options.floor,
        relative=options.floor <= 1,
    )
    carried = {}
    for rater, mask in masks.items():
        carried[rater] = mask_on_grid(mask.voxels, mask.affine, space, size, grid)
        if mask.voxels.any() and not carried[rater].any():
            raise ValueError(f"the lesion of {rater!r} lies outside the MNI box after preparation")
    contrasts = {name: image_on_grid(one.voxels, one.affine, space, size, grid) for name, one in extra.items()}
    record = {
        **asdict(options),
        "size": list(size),
        "brain": "given" if brain is not None else "stripped" if is_stripped(image.voxels) else "extracted",
        "brain_ml": round(float(found.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000), 1),
        "matrix": linear_part(space).tolist(),
        "shape": list(image.shape or image.voxels.shape),
        "affine": np.asarray(image.affine if image.stored is None else image.stored).tolist(),
        "intensity": intensity,
    }
    return Prepared(scaled, inside, carried, contrasts, space, record)


def _space(name: str, image: Volume, brain: np.ndarray) -> Space:
    if name == "mni":
        return np.eye(4)
    if name == "shift":
        return shift_to_mni(brain, image.affine)
    return (register_dwi if name == "register" else deform_dwi)(image.voxels, brain, image.affine)
