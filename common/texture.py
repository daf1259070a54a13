"""Texture of images: grain within the slices as a power spectrum, and how steadily tissue goes on from slice to slice.

Both look at healthy tissue away from its borders, where anatomy ends and texture begins, so that a real and a synthetic
image of one label map are measured at the same voxels. All levels are in the image's units, [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from .datalists import Case
from .grids import read_volume
from .labels import LESION, PARENCHYMA, TISSUE_OF, inject
from .noise import noise_level

__all__ = ["FREQUENCIES", "Texture", "power_spectrum", "slice_steps", "texture", "textures", "texture_ratios"]

BAND_EDGES = np.linspace(1 / 16, 0.5, 8)  # what varies more slowly is shading, and goes with the surface
FREQUENCIES = (BAND_EDGES[1:] + BAND_EDGES[:-1]) / 2
"""Middles of the bands of `power_spectrum`, in cycles per pixel."""

ENOUGH_VOXELS = 30
SURFACE_TERMS = 6  # of a quadratic surface: 1, x, y, x^2, xy, y^2
SMOOTHING = 2.0  # pixels
NEIGHBOURHOOD = (3, 3, 1)


class Texture(NamedTuple):
    """Of one image: `noise_level`, `power_spectrum` and `slice_steps`."""

    noise: float
    power: np.ndarray
    steps: float


def texture(image: np.ndarray, label_map: np.ndarray) -> Texture:
    """Texture of an image (H, W, D) in [-1, 1] on a label map (H, W, D), ids 0 to 28; lesions do not count."""
    return Texture(noise_level(image, label_map), power_spectrum(image, label_map), slice_steps(image, label_map))


def textures(cases: Iterable[Case]) -> list[Texture]:
    """Texture of each case that has an anatomy, in order."""
    found = []
    for case in cases:
        if case.anatomy is None:
            continue
        label_map = read_volume(case.anatomy)[0].astype(np.uint8)
        if case.label is not None:
            label_map = inject(label_map, read_volume(case.label)[0])
        found.append(texture(read_volume(case.image)[0], label_map))
    return found


def texture_ratios(fake: Texture, real: Texture) -> dict[str, float]:
    """How much of a real image's texture another one has: 1 is alike, 0 is none.

    Returns:
        "noise"; "coarse" and "fine", amplitudes of the slower and the faster half of the spectrum; "steps", above 1 if
        slices flicker.
    """
    half = len(FREQUENCIES) // 2
    parts = {"coarse": slice(0, half), "fine": slice(half, None)}
    amplitudes = {
        name: float(np.sqrt(fake.power[part].mean() / real.power[part].mean())) for name, part in parts.items()
    }
    return {"noise": fake.noise / real.noise, **amplitudes, "steps": fake.steps / real.steps}


def power_spectrum(image: np.ndarray, label_map: np.ndarray) -> np.ndarray:
    """How much an image varies within its tissues, from coarse to fine, averaged over the directions in the plane.

    Off each tissue in each slice a quadratic surface is taken: the tissue's level and the coil's shading. Nothing else
    is filtered, and what is left is set to 0 outside the tissue, whose voxels share the power out among them (less the
    terms of the surface). So white noise of standard deviation s has power s ** 2 at all `FREQUENCIES`; but for the
    lowest ones in tissues of less than some hundred voxels, where the surface takes a part.

    Args:
        image: (H, W, D) in [-1, 1].
        label_map: (H, W, D), ids 0 to 28; lesions do not count.

    Returns:
        (bands,), variances; NaN if no slice has 30 voxels inside a tissue.
    """
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape[:2]), indexing="ij"))
    band = np.digitize(radius, BAND_EDGES)  # 0 below the first band, and the corners above the last
    places = np.bincount(band.ravel(), minlength=len(BAND_EDGES) + 1)
    power, freedom = np.zeros(len(places)), 0
    for residual, own_freedom in _residuals(image, label_map):
        squares = np.abs(np.fft.fft2(residual)) ** 2
        power += np.bincount(band.ravel(), squares.ravel(), len(places)) / places.clip(min=1)
        freedom += own_freedom
    return power[1:-1] / freedom if freedom else np.full(len(FREQUENCIES), np.nan)


def _residuals(image: np.ndarray, label_map: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Of each tissue in each slice: what a quadratic surface leaves of it (H, W), 0 elsewhere, and its freedom."""
    tissue = _inner_tissue(label_map)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape[:2]), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    for z in range(image.shape[2]):
        for one in np.unique(tissue[:, :, z]):
            where = tissue[:, :, z] == one
            if one == 0 or where.sum() < ENOUGH_VOXELS:
                continue
            values = image[:, :, z][where].astype(float)
            residual = np.zeros(where.shape)
            residual[where] = values - terms[where] @ np.linalg.lstsq(terms[where], values, rcond=None)[0]
            yield residual, int(where.sum()) - SURFACE_TERMS


def slice_steps(image: np.ndarray, label_map: np.ndarray) -> float:
    """How far tissue steps from one slice to the next: the flicker of an image that was painted slice by slice.

    Grain differs from slice to slice in any scan and would hide the flicker, or be taken for it. So the image is first
    averaged in the plane, over the voxels of the same tissue around each (a Gaussian of 2 pixels). The mean absolute
    difference of neighbouring slices is then taken where both hold the same tissue.

    It is a level to compare with that of a real image on the same or like label maps, whose anatomy and shading change
    from slice to slice as well: more is flicker, less is smoother than a scan.

    Args:
        image: (H, W, D) in [-1, 1].
        label_map: (H, W, D), ids 0 to 28; lesions do not count.

    Returns:
        a difference in units of the image; NaN if no tissue goes on from one slice to the next.
    """
    tissue = _inner_tissue(label_map)
    mean = np.zeros(image.shape)
    for one in np.unique(tissue[tissue > 0]):
        where = tissue == one
        shares, sums = (
            ndimage.gaussian_filter(volume.astype(float), (SMOOTHING, SMOOTHING, 0))
            for volume in (where, where * image)
        )
        mean[where] = sums[where] / shares[where]
    goes_on = (tissue[:, :, 1:] == tissue[:, :, :-1]) & (tissue[:, :, 1:] > 0)
    steps = np.abs(np.diff(mean, axis=2))[goes_on]
    return float(steps.mean()) if steps.size else float("nan")


def _inner_tissue(label_map: np.ndarray) -> np.ndarray:
    """Tissue of healthy parenchyma whose neighbours in the slice are all of that tissue; 0 elsewhere."""
    tissue = np.where(PARENCHYMA[label_map] & (label_map != LESION), TISSUE_OF[label_map], 0)
    lowest, highest = (rank(tissue, NEIGHBOURHOOD) for rank in (ndimage.minimum_filter, ndimage.maximum_filter))
    return np.where(lowest == highest, tissue, 0)
