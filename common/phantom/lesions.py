"""Lesions: procedural ones with the numbers of real acute strokes, or masks of a library.

The numbers were measured on 1,449 manual masks of OpenNeuro ds004889 (SOOP, CC0); the share of bilateral lesions is the
paper's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from ..grids import BOX_LENGTH, BOX_START
from ..labels import PARENCHYMA
from .anatomy import Brain
from .fields import smooth_field
from .warp import nearest_labels

__all__ = ["TERRITORIES", "Lesion", "LesionField", "draw_lesion", "lesion_field", "sample_field", "territory_map"]

TERRITORIES = {"MCA": 0.67, "VB": 0.135, "PCA": 0.128, "ACA": 0.066}
SIDES = {"left": 0.45, "right": 0.43, "bilateral": 0.12}
LOG10_VOLUME = (1.0, 0.9)
VOLUME_ML = (0.05, 300.0)
LARGEST_ML = {"MCA": 300.0, "VB": 60.0, "PCA": 90.0, "ACA": 60.0}
LATTICE_MM = 2.0


@dataclass(frozen=True)
class Lesion:
    """Plain numbers that, with a brain, give a procedural lesion.

    Attributes:
        volume_ml: asked for; what the territory cannot hold is left out.
        main_share: share of the largest component, when there are several.
        roughness: how far noise moves the edge, relative to the lesion's radius.
        flatness: radii along x, y, z relative to each other.
    """

    territory: str
    side: str
    volume_ml: float
    components: int
    main_share: float
    roughness: float
    flatness: tuple[float, float, float]
    seed: int

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class LesionField:
    """A lesion in the space of its brain: `values` in [0, 1], above 0.5 inside, with its affine."""

    values: np.ndarray
    affine: np.ndarray


def draw_lesion(rng: np.random.Generator) -> Lesion:
    """Draw a procedural lesion's numbers: territory, side, volume and components."""
    territory = str(rng.choice(list(TERRITORIES), p=np.array([*TERRITORIES.values()]) / sum(TERRITORIES.values())))
    side = str(rng.choice(list(SIDES), p=[*SIDES.values()]))
    limits = (VOLUME_ML[0], min(VOLUME_ML[1], LARGEST_ML[territory]))
    volume = 0.0
    while not limits[0] <= volume <= limits[1]:
        volume = 10 ** rng.normal(*LOG10_VOLUME)
    # Geometric-like tail: a third single, median 2, 5 % with 14 or more; single more often when small.
    components = 1 if rng.random() < 0.36 - 0.06 * np.log10(volume) else 2 + min(int(rng.exponential(4.0)), 20)
    if side == "bilateral":
        components = max(components, 2)
    return Lesion(
        territory=territory,
        side=side,
        volume_ml=float(volume),
        components=int(components),
        main_share=float(1 - 0.5 * rng.beta(0.5, 2.0)),
        roughness=float(rng.uniform(0.5, 1.0)),
        flatness=tuple(float(x) for x in np.exp(rng.normal(0, 0.2, 3))),
        seed=int(rng.integers(2**31)),
    )


def territory_map(labels: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """Arterial territory of each voxel, by label and position.

    Args:
        labels: label map in MNI space (X, Y, Z).
        axes: coordinates in mm along x, y, z.

    Returns:
        uint8 (X, Y, Z): 0 not parenchyma, else 1 + index in `TERRITORIES`.
    """
    x, y, z = np.ix_(*axes)
    x = np.abs(x)
    names = list(TERRITORIES)
    result = np.where(PARENCHYMA[labels], 1 + names.index("MCA"), 0).astype(np.uint8)
    cerebrum = PARENCHYMA[labels] & ~np.isin(labels, (7, 8, 9, 10, 25))
    deep = np.isin(labels, (13, 14, 15, 16, 17, 18))
    anterior = (
        ((x < 19) & (z > 18 + 0.5 * (y < 0)) & (y > -48)) | ((x < 17) & (y > 22)) | ((x < 28) & (y > 0) & (z > 48))
    )
    posterior = (y < -62 - 0.35 * (z - 10) + 0.25 * (40 - x).clip(0)) | ((z < -6) & (x < 42) & (y < -18))
    result[cerebrum & ~deep & anterior] = 1 + names.index("ACA")
    result[cerebrum & ~deep & posterior & (z < 36)] = 1 + names.index("PCA")
    result[np.isin(labels, (11, 12, 19, 20, 23, 24))] = 1 + names.index("PCA")
    result[np.isin(labels, (7, 8, 9, 10, 25))] = 1 + names.index("VB")
    return result


def lesion_field(lesion: Lesion, brain: Brain) -> LesionField:
    """Grow the lesion in the brain it belongs to.

    Each component starts at a point of the territory and takes the voxels of parenchyma that are nearest, where noise
    makes some directions nearer than others, until its volume is reached; it never leaves territory and side.
    """
    axes = [np.arange(start + 1, start + length, LATTICE_MM) for start, length in zip(BOX_START, BOX_LENGTH)]
    labels = nearest_labels(brain, np.stack(np.meshgrid(*axes, indexing="ij")))
    territory = territory_map(labels, axes) == 1 + list(TERRITORIES).index(lesion.territory)
    rng = np.random.default_rng(lesion.seed)
    noise = 0.75 * smooth_field(rng, axes, 14.0) + 0.35 * smooth_field(rng, axes, 6.0)
    left = np.broadcast_to(axes[0][:, None, None] < 0, labels.shape)
    sides = {"left": [left], "right": [~left], "bilateral": [left, ~left] if rng.random() < 0.5 else [~left, left]}
    regions = [territory & side for side in sides[lesion.side]]

    inside = np.zeros(labels.shape, bool)
    shares = _shares(rng, lesion)
    anchor = None
    for k, share in enumerate(shares):
        region = regions[min(k, len(regions) - 1) if k < 2 else int(rng.integers(len(regions)))] & ~inside
        count = max(1, round(share * lesion.volume_ml * 1000 / LATTICE_MM**3))
        centre = _start(rng, region, axes, anchor if len(regions) == 1 else None)
        if centre is None:
            continue
        anchor = centre if anchor is None else anchor
        radius = (3 * count * LATTICE_MM**3 / (4 * np.pi)) ** (1 / 3)
        offsets = [(axis - c) / f for axis, c, f in zip(axes, centre, lesion.flatness)]
        x, y, z = np.ix_(*offsets)
        cost = np.sqrt(x**2 + y**2 + z**2) + lesion.roughness * max(radius, 2.0) * 0.6 * noise
        candidates = np.flatnonzero(region)
        count = min(count, len(candidates))
        nearest = np.argpartition(cost.ravel()[candidates], count - 1)[:count]
        inside.ravel()[candidates[nearest]] = True
    affine = np.diag([LATTICE_MM] * 3 + [1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    # Rounds the corners of the lattice; where it would take small lesions away they stay as they are.
    soft = ndimage.gaussian_filter(inside.astype(np.float32), 0.6)
    return LesionField(np.maximum(soft, 0.75 * inside), affine)


def sample_field(field: LesionField, points: np.ndarray) -> np.ndarray:
    """Values of the field at `points` (3, X, Y, Z) in mm, in [0, 1]; 0 outside."""
    inverse = np.linalg.inv(field.affine)
    values = np.zeros(points.shape[1:], np.float32)
    used = np.argwhere(field.values > 0)
    if not len(used):
        return values
    index = inverse[:3, :3].astype(np.float32) @ points.reshape(3, -1) + inverse[:3, 3:].astype(np.float32)
    near = np.all((index >= used.min(0)[:, None] - 1) & (index <= used.max(0)[:, None] + 1), axis=0)
    values.ravel()[near] = ndimage.map_coordinates(field.values, index[:, near], order=1, mode="constant")
    return values


def _shares(rng: np.random.Generator, lesion: Lesion) -> np.ndarray:
    if lesion.components == 1:
        return np.ones(1)
    rest = rng.exponential(1.0, lesion.components - 1) ** 1.5
    return np.concatenate([[lesion.main_share], (1 - lesion.main_share) * rest / rest.sum()])


def _start(rng: np.random.Generator, region: np.ndarray, axes: list[np.ndarray], anchor: np.ndarray | None):
    """A point of the region; satellites fall near the first component more often than far away."""
    candidates = np.argwhere(region)
    if not len(candidates):
        return None
    points = np.stack([axis[i] for axis, i in zip(axes, candidates.T)], axis=1)
    if anchor is None:
        return points[rng.integers(len(points))]
    weight = np.exp(-np.linalg.norm(points - anchor, axis=1) / 20.0)
    return points[rng.choice(len(points), p=weight / weight.sum())]
