"""One subject's shape: where each point of a target grid lies in the brain that it is made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy import ndimage

from ..grids import BOX_LENGTH, BOX_START, axes_of, grid_affine
from .anatomy import DEPTHS, Brain
from .fields import interpolation_matrix, outer, smooth_field
from .mni import MNI_AFFINE, MNI_SHAPE

__all__ = ["FineGrid", "Warp", "draw_warp", "nearest_labels", "source_points"]

SLAB_MM = 6.0  # a slice is no thicker than a clinical one, even where the grid is coarser
SAMPLE_MM = 1.45
LATTICE_MM = 3.0
WARP_SCALE_MM = 45.0  # twice the standard deviation of the kernel: control points about 30 mm apart
WALL_REACH_MM = 25.0  # beyond this distance from the ventricles, moving their wall moves nothing
VENTRICLE_BOX = ((-50, 50), (-100, 60), (-45, 60))  # mm; holds the lateral ventricles of any subject
FIT_STEPS = 3
CENTRE = np.array([0.0, -18.0, 8.0])


@dataclass(frozen=True)
class Warp:
    """Plain numbers that, with a brain, give a subject's shape.

    Attributes:
        scale: size along x, y, z relative to the brain.
        rotation_deg, translation_mm: about x, y, z.
        warp_sd_mm, warp_seed: the smooth random warp.
        ventricle_ml: volume asked of the lateral ventricles.
        wall_shift_mm: how far their wall moves outwards for it.
    """

    scale: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    translation_mm: tuple[float, float, float]
    warp_sd_mm: float
    warp_seed: int
    ventricle_ml: float
    wall_shift_mm: float

    def as_dict(self) -> dict:
        return asdict(self)


class FineGrid:
    """Samples inside the voxels of the grid of `size`: evenly in plane, within a slab of a slice's thickness.

    Attributes:
        size, per_voxel: voxels, and samples in each, along x, y, z.
        axes: sample coordinates in mm along x, y, z.
        in_plane: mm between samples along x and y.
    """

    def __init__(self, size: tuple[int, int, int]) -> None:
        self.size = tuple(int(n) for n in size)
        spacing = BOX_LENGTH / np.array(self.size)
        thickness = np.array([spacing[0], spacing[1], min(spacing[2], SLAB_MM)])
        self.per_voxel = tuple(int(n) for n in np.maximum(1, np.round(thickness / SAMPLE_MM)))
        affine = grid_affine(self.size)
        self.axes = []
        for axis, (count, samples) in enumerate(zip(self.size, self.per_voxel)):
            centres = affine[axis, 3] + affine[axis, axis] * np.arange(count)
            offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * thickness[axis]
            self.axes.append((centres[:, None] + offsets).ravel())
        self.centre_axes = axes_of(affine, self.size)
        self.in_plane = tuple(float(spacing[axis] / self.per_voxel[axis]) for axis in (0, 1))

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(len(axis) for axis in self.axes)


def draw_warp(rng: np.random.Generator, brain: Brain, ventricle_ml: float) -> Warp:
    """Draw a subject's shape: size +-8 %, a smooth warp of 3-5 mm, ventricles towards `ventricle_ml`.

    The ventricles change at most threefold down and fourfold up, so that a brain with large ones keeps a shape that
    occurs.
    """
    scale = rng.uniform(0.94, 1.06) * rng.uniform(0.98, 1.02, 3)
    own = brain.ventricle_ml * float(np.prod(scale))
    warp = Warp(
        scale=tuple(float(x) for x in scale),
        rotation_deg=tuple(float(x) for x in rng.normal(0, [4, 2, 2])),
        translation_mm=tuple(float(x) for x in rng.normal(0, [1, 2, 2])),
        warp_sd_mm=float(rng.uniform(3, 5)),
        warp_seed=int(rng.integers(2**31)),
        ventricle_ml=float(np.clip(ventricle_ml, own / 3, own * 4)),
        wall_shift_mm=0.0,
    )
    return replace(warp, wall_shift_mm=_fit_wall_shift(warp, brain))


def source_points(warp: Warp, brain: Brain, axes: list[np.ndarray]) -> np.ndarray:
    """Where samples of the subject lie in the brain it is made from.

    Args:
        axes: sample coordinates of the subject along x, y, z, in mm.

    Returns:
        float32 (3, X, Y, Z), mm in MNI space.
    """
    lattice = _lattice()
    points = _without_ventricles(warp, lattice)
    points += _wall_displacement(warp.wall_shift_mm, brain, points)
    return outer([interpolation_matrix(fine, coarse) for fine, coarse in zip(axes, lattice)], points)


def _lattice() -> list[np.ndarray]:
    return [np.arange(start, start + length + LATTICE_MM, LATTICE_MM) for start, length in zip(BOX_START, BOX_LENGTH)]


def _without_ventricles(warp: Warp, lattice: list[np.ndarray]) -> np.ndarray:
    """Source points (3, ...) of the lattice after size, pose and smooth warp."""
    points = np.stack(np.meshgrid(*lattice, indexing="ij")).astype(np.float32)
    inverse = np.linalg.inv(_rotation(warp.rotation_deg) @ np.diag(warp.scale)).astype(np.float32)
    shift = (CENTRE + np.array(warp.translation_mm)).astype(np.float32).reshape(3, 1, 1, 1)
    points = np.einsum("ij,jxyz->ixyz", inverse, points - shift) + CENTRE.astype(np.float32).reshape(3, 1, 1, 1)
    rng = np.random.default_rng(warp.warp_seed)
    for axis in range(3):
        points[axis] += warp.warp_sd_mm * smooth_field(rng, lattice, WARP_SCALE_MM)
    return points


def _fit_wall_shift(warp: Warp, brain: Brain) -> float:
    """The shift with which the subject, smooth warp and interpolation included, has the volume asked for."""
    lattice = _lattice()
    points = _without_ventricles(warp, lattice)
    axes = [np.arange(low, high, 2.0) for low, high in VENTRICLE_BOX]
    matrices = [interpolation_matrix(fine, coarse) for fine, coarse in zip(axes, lattice)]
    shift = brain.wall_shift(warp.ventricle_ml / float(np.prod(warp.scale)))
    wanted = shift
    for _ in range(FIT_STEPS):
        moved = outer(matrices, points + _wall_displacement(shift, brain, points))
        found = np.isin(nearest_labels(brain, moved), (5, 6)).sum() * 8 / 1000
        shift += wanted - brain.wall_shift(found / float(np.prod(warp.scale)))
    return float(np.clip(shift, DEPTHS[0], DEPTHS[-1]))


def nearest_labels(brain: Brain, points: np.ndarray) -> np.ndarray:
    """Labels of the brain at `points` (3, ...) in mm; 0 outside its grid."""
    index = np.rint(points - MNI_AFFINE[:3, 3].astype(np.float32).reshape(3, *[1] * (points.ndim - 1))).astype(np.int32)
    inside = np.logical_and.reduce([(i >= 0) & (i < n) for i, n in zip(index, MNI_SHAPE)])
    for axis, n in enumerate(MNI_SHAPE):
        np.clip(index[axis], 0, n - 1, out=index[axis])
    return np.where(inside, brain.labels[tuple(index)], 0).astype(np.uint8)


def _rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _wall_displacement(shift: float, brain: Brain, points: np.ndarray) -> np.ndarray:
    """Radial displacement (3, ...) in mm after which the wall appears `shift` mm further out.

    A point at distance `shift` is sampled from the wall, one at `WALL_REACH_MM` from itself, linearly in between.
    """
    start = MNI_AFFINE[:3, 3].astype(np.float32)
    index = (points.reshape(3, -1) - start[:, None]) / 2
    cells = tuple(np.rint(i).astype(np.int32).clip(0, n - 1) for i, n in zip(index, brain.depth.shape))
    near = brain.depth[cells] < WALL_REACH_MM
    index = index[:, near]
    here = ndimage.map_coordinates(brain.depth, index, order=1, mode="nearest")
    stretch = (WALL_REACH_MM - here) / (WALL_REACH_MM - shift)
    move = np.where(here > shift, -shift * stretch.clip(0, 1), -shift)
    direction = np.stack([ndimage.map_coordinates(n, index, order=1, mode="nearest") for n in brain.wall_normal])
    direction /= np.maximum(np.linalg.norm(direction, axis=0), 0.3)
    result = np.zeros((3, near.size), np.float32)
    result[:, near] = move * direction
    return result.reshape(points.shape)
