"""The default brain: a label map made from the MNI152 maps inside nilearn's wheel.

nilearn ships the skull-stripped T1 average and the grey- and white-matter probabilities of the symmetric ICBM 2009a
template (McGill University; free to use with its copyright notice). They know tissue, not structure; structures are
drawn here by tissue and position in MNI millimetres. The shapes are plausible, not an atlas.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

__all__ = ["MNI_AFFINE", "MNI_SHAPE", "SULCAL_THRESHOLDS", "default_labels", "mni_brain", "mni_coordinates", "mni_maps"]

MNI_SHAPE = (197, 233, 189)
MNI_AFFINE = np.array([[1.0, 0, 0, -98], [0, 1.0, 0, -134], [0, 0, 1.0, -72], [0, 0, 0, 1]])

SULCAL_THRESHOLDS = (0.40, 0.28, 0.18)
"""CSF probabilities above which the template's blurred sulci count as CSF: a young, a middle-aged and an old brain."""


class MniMaps(NamedTuple):
    """T1 in 0-255 and tissue probabilities in [0, 1], all of shape `MNI_SHAPE`; zero outside the brain."""

    t1: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    csf: np.ndarray


@cache
def mni_maps() -> MniMaps:
    """The template's maps, without the loose bits of neck and orbit that its brain mask holds.

    Raises:
        ModuleNotFoundError: nilearn is not installed, as where a released bundle runs by itself.
    """
    try:
        import nilearn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the MNI152 template, which registration needs, comes with nilearn: pip install nilearn"
        ) from error
    maps = Path(nilearn.__file__).parent / "datasets" / "data"
    t1, grey, white = (
        np.asarray(nib.load(maps / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz").dataobj)
        for kind in ("t1", "gm", "wm")
    )
    parts, count = ndimage.label(t1 > 0)
    largest = 1 + int(np.argmax(ndimage.sum_labels(np.ones_like(parts), parts, range(1, count + 1))))
    brain = ndimage.binary_fill_holes(parts == largest)
    grey, white = (np.where(brain, x, 0).astype(np.float32) / 255 for x in (grey, white))
    return MniMaps(np.where(brain, t1, 0), grey, white, np.where(brain, 1 - grey - white, 0).clip(0, 1))


def mni_brain() -> np.ndarray:
    """The template's brain mask, ventricles and sulci included, bool of shape `MNI_SHAPE`."""
    return mni_maps().t1 > 0


def mni_coordinates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (right), y (anterior) and z (superior) in mm of the template's voxels, ready to broadcast."""
    x, y, z = (np.arange(n, dtype=np.float32) + start for n, start in zip(MNI_SHAPE, MNI_AFFINE[:3, 3]))
    return x[:, None, None], y[None, :, None], z[None, None, :]


def default_labels(sulcal_threshold: float) -> np.ndarray:
    """Label map of the template brain.

    Args:
        sulcal_threshold: CSF probability above which a voxel outside the ventricles is CSF; lower is older.

    Returns:
        uint8 of shape `MNI_SHAPE`, ids of common/labels.py, 0 to 27, on `MNI_AFFINE`.
    """
    maps = mni_maps()
    brain = maps.t1 > 0
    x = mni_coordinates()[0]
    right = np.broadcast_to(x >= 0, MNI_SHAPE)
    cerebellum, stem = _hindbrain()
    ventricle, third_fourth = _ventricles()
    white = maps.white > maps.grey

    labels = np.zeros(MNI_SHAPE, np.uint8)
    labels[brain] = np.where(white, 1, 3)[brain]
    labels[cerebellum] = np.where(white, 7, 9)[cerebellum]
    for first, shape in _deep_structures(maps, ventricle):
        labels[shape & brain & ~cerebellum] = first
    labels[(labels > 0) & right] += 1  # ids of a pair are (left, right)
    labels[stem] = 25
    labels[brain & (maps.csf > sulcal_threshold) & ~_deep(maps)] = 27
    labels[brain & (maps.csf > 0.5)] = 27
    labels[third_fourth] = 26
    labels[ventricle] = np.where(right, 6, 5)[ventricle]
    return labels


def _ellipsoid(centre: tuple, radii: tuple, tilt: float = 0.0) -> np.ndarray:
    """Both mirror images of an ellipsoid; `tilt` in degrees turns its long axis outwards going back."""
    x, y, z = mni_coordinates()
    x, y, z = np.abs(x) - centre[0], y - centre[1], z - centre[2]
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    along, across = cos * y - sin * x, sin * y + cos * x
    return (across / radii[0]) ** 2 + (along / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1


def _tube(points: list[tuple], radii: list[float]) -> np.ndarray:
    """Both mirror images of a chain of balls along a polyline."""
    x, y, z = mni_coordinates()
    inside = np.zeros(MNI_SHAPE, bool)
    for start, end, first, last in zip(points, points[1:], radii, radii[1:]):
        for t in np.linspace(0, 1, 12):
            a, b, c = (1 - t) * np.array(start) + t * np.array(end)
            inside |= (np.abs(x) - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < ((1 - t) * first + t * last) ** 2
    return inside


def _deep(maps: MniMaps) -> np.ndarray:
    """The core of the cerebrum, where faint CSF is a blurred ventricle wall and not a sulcus."""
    return _ellipsoid((0, -12, 8), (34, 48, 30))


def _deep_structures(maps: MniMaps, ventricle: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(left id, shape of both sides), later ones painted over earlier ones."""
    grey = maps.grey > 0.4
    near_ventricle = ndimage.binary_dilation(ventricle, iterations=8)
    _, y, z = mni_coordinates()
    x = np.abs(mni_coordinates()[0])
    caudate_head = _ellipsoid((12, 14, 5), (7, 12, 14))
    caudate_body = near_ventricle & (x > 8) & (x < 22) & (y > -22) & (y < 10) & (z > 10) & (z < 28)
    return [
        (23, _ellipsoid((9, -14, -8), (8, 9, 6)) & (maps.csf < 0.5)),
        (15, _ellipsoid((26, 1, 1), (8, 19, 13), tilt=10) & grey),
        (13, (caudate_head | caudate_body) & grey),
        (17, _ellipsoid((19, -4, -1), (5, 9, 7), tilt=20)),
        (11, _ellipsoid((11, -19, 8), (9.5, 15, 9), tilt=18) & (maps.csf < 0.5)),
        (19, _tube([(23, -11, -20), (29, -25, -13), (28, -36, -3)], [6, 5, 4]) & (maps.white < 0.8)),
        (21, _ellipsoid((23, -3, -20), (7, 6, 7))),
    ]


@cache
def _ventricles() -> tuple[np.ndarray, np.ndarray]:
    """Lateral ventricles, and third with fourth ventricle."""
    maps = mni_maps()
    x, y, z = mni_coordinates()
    x = np.abs(x)
    third = (maps.csf > 0.4) & (x < 5) & (y > -34) & (y < 6) & (z > -14) & (z < 11)
    fourth = (maps.csf > 0.4) & (x < 14) & (y > -54) & (y < -34) & (z > -46) & (z < -20)
    body = (x < 32) & (y > -34) & (y < 42) & (z > -4) & (z < 36)
    atrium = (x > 9) & (x < 38) & (y > -76) & (y < -24) & (z > -8) & (z < 34)
    temporal_horn = (x > 23) & (x < 41) & (y > -42) & (y < -4) & (z > -26) & (z < -3)
    quadrigeminal = (x < 16) & (y < -28) & (z < 14)
    allowed = (body | atrium | temporal_horn) & ~third & ~quadrigeminal
    parts, _ = ndimage.label((maps.csf > 0.35) & allowed)
    seeds = np.unique(parts[np.broadcast_to((x > 4) & (x < 16) & (y > 5) & (y < 30) & (z > 0) & (z < 22), MNI_SHAPE)])
    horns = np.unique(parts[np.broadcast_to(temporal_horn, MNI_SHAPE)])
    wanted = [part for part in {*seeds, *horns} if part and (parts == part).sum() > 60]
    return np.isin(parts, wanted), third | fourth


@cache
def _hindbrain() -> tuple[np.ndarray, np.ndarray]:
    """Cerebellum and brainstem: flooded from markers, the CSF of the tentorium is the dam."""
    maps, brain = mni_maps(), mni_brain()
    x, y, z = mni_coordinates()
    x = np.abs(x)
    stem = (
        ((x / 15) ** 2 + ((y + 24) / 13) ** 2 < 1) & (z > -20) & (z < -5)
        | ((x / 19) ** 2 + ((y + 25) / 14.5) ** 2 < 1) & (z > -44) & (z <= -20)
        | ((x / 13) ** 2 + ((y + 39 - (z + 57) * 0.6) / 12) ** 2 < 1) & (z <= -44)
    ) & brain  # fmt: skip
    tentorium = -9 - 0.30 * x + 0.28 * (y + 55) * (y < -55)
    markers = np.zeros(MNI_SHAPE, np.int16)
    markers[brain & (z > tentorium + 9)] = 1
    markers[brain & (y > -26) & ~stem] = 1
    markers[brain & (z < tentorium - 9) & (y < -42)] = 2
    markers[~brain] = 3
    cost = (200 * maps.csf + 55 * np.abs(maps.grey - 0.5)).astype(np.uint8)
    cerebellum = (ndimage.watershed_ift(cost, markers) == 2) & brain & ~stem
    return cerebellum, stem & (maps.csf < 0.5)
