"""Diffusion-weighted signal of a labelled brain at b = 1000 s/mm2.

S = PD (1 - exp(-TR/T1)) exp(-TE/T2) exp(-b ADC) per tissue; then what a scanner does to it. Everything random is drawn
first, as plain numbers (`draw_acquisition`), and applied deterministically (`render`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from ..labels import TISSUE_OF, TISSUES
from .fields import smooth_field
from .warp import FineGrid

__all__ = ["Acquisition", "draw_acquisition", "render", "tissue_signals"]

B_VALUE = 1000.0
SCANNER_UNITS = 235.0  # median brain of ISLES 2022 in its files' units; makes the paper's floor of 35 meaningful

# T1 at 1.5 and 3 T (ms), T2 at 1.5 and 3 T (ms), ADC (1e-3 mm2/s), proton density.
# Helenius 2002 AJNR (ADC), Georgiades 2001 and Stanisz 2006 (T1, T2); PD and the rest are textbook values.
TISSUE_TABLE: dict[str, tuple[float, float, float, float, float, float]] = {
    "white matter": (760, 900, 78, 70, 0.70, 0.70),
    "cortex": (1050, 1400, 93, 90, 0.85, 0.82),
    "deep grey matter": (950, 1200, 85, 75, 0.75, 0.75),
    "cerebellum": (1000, 1300, 88, 82, 0.78, 0.78),
    "brainstem": (850, 1050, 80, 75, 0.72, 0.72),
    "csf": (4300, 4300, 2000, 2000, 3.0, 1.0),
}
PALLIDUM = (17, 18)
PALLIDUM_FACTOR = 0.85  # iron shortens its T2

SHARE_AT_3T = {"normal": 0.75, "stroke": 0.26}
"""Paper, section II.A: 67 to 23 % of the stroke scans are at 1.5 T; of the normal ones most are at 3 T (the text; its
brackets exchange the two)."""
ECHO_MS = {"normal": (90.0, 16.0), "stroke": (100.0, 2.0)}
REPETITION_MS = {"normal": (7400.0, 1300.0), "stroke": (7000.0, 1500.0)}
SNR = {1.5: (12.0, 20.0), 3.0: (20.0, 30.0)}
BIAS = {1.5: 0.10, 3.0: 0.16}

# Where air meets the brain (mm; mirrored pairs are listed twice): frontal sinus, petrous bones and temporal poles.
AIR = ((0.0, 42.0, -26.0), (-46.0, -16.0, -36.0), (46.0, -16.0, -36.0), (-36.0, 16.0, -38.0), (36.0, 16.0, -38.0))
AIR_RADII_MM = (13.0, 10.0, 7.0)


@dataclass(frozen=True)
class Acquisition:
    """One scan's physics as plain numbers.

    Attributes:
        tesla, te_ms, tr_ms, snr: snr is the median brain over the standard deviation of the noise.
        t2_scale, adc_scale, pd_scale: this subject's tissues relative to the table, in the order of `TISSUE_TABLE`.
        lesion_ratio: lesion over normal signal in grey and white matter; lesion_adc and lesion_t2 are the factors
            that make it. lesion_cov: coefficient of variation inside the lesion. lesion_edge_mm: width of its rim.
        leukoaraiosis_mm, leukoaraiosis_gain: T2 shine-through around the ventricles: reach and signal gain.
        shine_through: number of bright, old_infarcts: number of dark distractors.
        air_gain, air_shift_mm: strength of the skull-base artefacts, one number for each of `AIR`.
        bias: standard deviation of the log of the field. texture: the same within tissue.
        blur_mm: full width at half maximum of the point spread along x and y. ghost: relative level at half the field
            of view along y.
        seed: of noise and fields.
    """

    tesla: float
    te_ms: float
    tr_ms: float
    snr: float
    t2_scale: tuple[float, ...]
    adc_scale: tuple[float, ...]
    pd_scale: tuple[float, ...]
    lesion_ratio: float
    lesion_adc: float
    lesion_t2: float
    lesion_cov: float
    lesion_edge_mm: float
    leukoaraiosis_mm: float
    leukoaraiosis_gain: float
    shine_through: int
    old_infarcts: int
    air_gain: tuple[float, ...]
    air_shift_mm: tuple[float, ...]
    bias: float
    texture: float
    blur_mm: tuple[float, float]
    ghost: float
    seed: int

    def as_dict(self) -> dict:
        return asdict(self)


def draw_acquisition(rng: np.random.Generator, cohort: str) -> Acquisition:
    """Draw a scan of the normal or the stroke cohort, which differ in field strength, TE, TR, age and lesion."""
    tesla = 3.0 if rng.random() < SHARE_AT_3T[cohort] else 1.5
    te = float(np.clip(rng.normal(*ECHO_MS[cohort]), 60, 125))
    adc_scale = tuple(float(x) for x in rng.normal(1, 0.03, len(TISSUE_TABLE)))
    ratio = math.exp(rng.uniform(math.log(1.15), math.log(2.2)))
    if rng.random() < 0.06:
        ratio = float(rng.uniform(2.2, 3.0))
    lesion_adc, lesion_t2 = _lesion_factors(ratio, float(rng.uniform(0.55, 0.75)), te)
    stroke = cohort == "stroke"
    return Acquisition(
        tesla=tesla,
        te_ms=te,
        tr_ms=float(np.clip(rng.normal(*REPETITION_MS[cohort]), 3500, 12000)),
        snr=float(rng.uniform(*SNR[tesla])),
        t2_scale=tuple(float(x) for x in rng.normal(1, 0.03, len(TISSUE_TABLE))),
        adc_scale=adc_scale,
        pd_scale=tuple(float(x) for x in rng.normal(1, 0.015, len(TISSUE_TABLE))),
        lesion_ratio=float(ratio),
        lesion_adc=lesion_adc,
        lesion_t2=lesion_t2,
        lesion_cov=float(rng.uniform(0.15, 0.35)),
        lesion_edge_mm=float(rng.uniform(1.5, 3.0)),
        leukoaraiosis_mm=float(rng.gamma(2.0, 2.0 if stroke else 1.0)),
        leukoaraiosis_gain=float(rng.uniform(1.05, 1.25)),
        shine_through=int(rng.poisson(1.2 if stroke else 0.4)),
        old_infarcts=int(rng.poisson(0.35 if stroke else 0.03)),
        air_gain=tuple(float(x) for x in rng.gamma(1.2, 0.15 if tesla < 2 else 0.22, len(AIR)).clip(0, 1.0)),
        air_shift_mm=tuple(float(x) for x in rng.uniform(2, 6, len(AIR)) * rng.choice([-1, 1])),
        bias=BIAS[tesla] * float(rng.uniform(0.5, 1.2)),
        texture=float(rng.uniform(0.02, 0.05)),
        blur_mm=(float(rng.uniform(1.8, 2.3)), float(rng.uniform(2.2, 2.8))),
        ghost=float(rng.uniform(0.005, 0.03)),
        seed=int(rng.integers(2**31)),
    )


def _lesion_factors(ratio: float, adc_factor: float, te: float) -> tuple[float, float]:
    """ADC and T2 factors with that ratio in average parenchyma (ADC 0.75, T2 82 ms); T2 never falls."""
    adc, t2 = 0.75, 82.0
    if ratio < math.exp(adc * (1 - adc_factor)):
        return 1 - math.log(ratio) / adc, 1.0
    gain = math.log(ratio) - adc * (1 - adc_factor)
    return adc_factor, te / (te - min(gain, 0.75 * te / t2) * t2) if gain > 0 else 1.0


def tissue_signals(acquisition: Acquisition, lesion: bool = False) -> np.ndarray:
    """Signal of each label 0 to 27 in arbitrary units (float32, 28 values); with `lesion`, if it were infarcted."""
    by_tissue = {"background": 0.0}
    for k, (tissue, row) in enumerate(TISSUE_TABLE.items()):
        by_tissue[tissue] = _signal(acquisition, k, row, lesion and tissue != "csf")
    signals = np.array([by_tissue.get(TISSUES[t], 0.0) for t in TISSUE_OF[:28]], np.float32)
    deep = list(TISSUE_TABLE).index("deep grey matter")
    row = list(TISSUE_TABLE["deep grey matter"])
    row[2:4] = [t2 * PALLIDUM_FACTOR for t2 in row[2:4]]
    signals[list(PALLIDUM)] = _signal(acquisition, deep, tuple(row), lesion)
    return signals


def _signal(acquisition: Acquisition, k: int, row: tuple, lesion: bool) -> float:
    t1, t2 = (row[0], row[2]) if acquisition.tesla < 2 else (row[1], row[3])
    t2, adc = t2 * acquisition.t2_scale[k], row[4] * acquisition.adc_scale[k]
    pd = row[5] * acquisition.pd_scale[k]
    if lesion:
        t1, t2, adc = 1.05 * t1, t2 * acquisition.lesion_t2, adc * acquisition.lesion_adc
    relaxation = (1 - math.exp(-acquisition.tr_ms / t1)) * math.exp(-acquisition.te_ms / t2)
    return pd * relaxation * math.exp(-B_VALUE * adc * 1e-3)


def render(
    acquisition: Acquisition,
    grid: FineGrid,
    labels: np.ndarray,
    lesion: np.ndarray,
    depth: np.ndarray,
    source: np.ndarray,
    brain: np.ndarray,
) -> np.ndarray:
    """The magnitude image of one subject.

    Args:
        grid: the samples that `labels`, `lesion` and `depth` are on.
        labels: uint8, ids 0 to 27, shape `grid.shape`.
        lesion: float32 in [0, 1], above 0.5 is lesion, shape `grid.shape`.
        depth: float32 of `grid.size`: mm from the lateral ventricles.
        source: float32 (3, *grid.size): where each voxel lies in MNI mm.
        brain: bool of `grid.size`; outside the image is 0.

    Returns:
        float32 of `grid.size`, mean parenchyma near 235.
    """
    rng = np.random.default_rng(acquisition.seed)
    nx, ny, nz = grid.size
    slabs = (*labels.shape[:2], nz, grid.per_voxel[2])
    healthy = tissue_signals(acquisition)[labels].reshape(slabs).mean(-1)  # (X, Y, nz), fine in plane
    axes = [grid.axes[0], grid.axes[1], grid.centre_axes[2]]
    white = np.isin(labels, (1, 2)).reshape(slabs).mean(-1, dtype=np.float32)

    # 1. Tissue: texture, chronic small-vessel disease, then the infarct with a soft rim and an uneven core.
    image = healthy * np.exp(acquisition.texture * smooth_field(rng, axes, 7.0))
    image *= 1 + white * (_old_lesions(rng, acquisition, axes, white) + _leukoaraiosis(rng, acquisition, grid, depth))
    share = _soften(lesion.reshape(slabs).mean(-1), grid, acquisition.lesion_edge_mm)
    uneven = 0.8 * smooth_field(rng, axes, 12.0) + 0.6 * smooth_field(rng, axes, 5.0)
    if share.max() > 0:
        infarct = tissue_signals(acquisition, lesion=True)[labels].reshape(slabs).mean(-1)
        excess = (infarct - healthy) * np.exp(acquisition.lesion_cov * 1.6 * uneven).clip(0.35, 1.5)
        image += share * excess

    # 2. Echo-planar imaging: distortion at the skull base, point spread, voxels.
    image = _susceptibility(rng, acquisition, grid, image, source)
    sigma = [blur / 2.355 / step for blur, step in zip(acquisition.blur_mm, grid.in_plane)]
    image = ndimage.gaussian_filter(image, (*sigma, 0))
    image = image.reshape(nx, grid.per_voxel[0], ny, grid.per_voxel[1], nz).mean((1, 3))

    # 3. Coil and reconstruction: field, ghost, noise on the magnitude.
    image *= np.exp(acquisition.bias * smooth_field(rng, grid.centre_axes, 110.0))
    image *= SCANNER_UNITS / np.median(image[brain])
    image += acquisition.ghost * np.roll(image, ny // 2, axis=1)
    noise = rng.standard_normal((2, *image.shape)) * SCANNER_UNITS / acquisition.snr
    return np.where(brain, np.hypot(image + noise[0], noise[1]), 0).astype(np.float32)


def _soften(share: np.ndarray, grid: FineGrid, width_mm: float) -> np.ndarray:
    if share.max() <= 0:
        return share
    return ndimage.gaussian_filter(share, [width_mm / 2.355 / step for step in grid.in_plane] + [0])


def _leukoaraiosis(rng, acquisition: Acquisition, grid: FineGrid, depth: np.ndarray) -> np.ndarray:
    """Relative gain of the white matter near the ventricles, patchy, (X, Y, nz)."""
    patchy = depth - acquisition.leukoaraiosis_mm * (1 + 0.6 * smooth_field(rng, grid.centre_axes, 14.0))
    gain = (acquisition.leukoaraiosis_gain - 1) / (1 + np.exp((patchy / 1.5).clip(-30, 30)))
    return np.repeat(np.repeat(gain, grid.per_voxel[0], 0), grid.per_voxel[1], 1).astype(np.float32)


def _old_lesions(rng, acquisition: Acquisition, axes: list[np.ndarray], white: np.ndarray) -> np.ndarray:
    """Relative gain of old lesions (X, Y, nz): T2 shine-through is faintly bright, an old infarct dark."""
    gain = np.zeros(white.shape, np.float32)
    candidates = np.argwhere(white > 0.9)
    if not len(candidates):
        return gain
    kinds = [(0.12, 0.35, 2.0, 5.0)] * acquisition.shine_through + [(-0.65, -0.4, 3.0, 8.0)] * acquisition.old_infarcts
    for low, high, smallest, largest in kinds:
        centre = candidates[rng.integers(len(candidates))]
        radii = rng.uniform(smallest, largest) * np.exp(rng.normal(0, 0.25, 3))
        x, y, z = np.ix_(*[(axis - axis[c]) / r for axis, c, r in zip(axes, centre, radii)])
        gain += rng.uniform(low, high) * np.exp(-((x**2 + y**2 + z**2) ** 1.5)).astype(np.float32)
    return gain.clip(-0.7, 0.5)


def _susceptibility(rng, acquisition: Acquisition, grid: FineGrid, image: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Shift the signal along y near air and pile it up there."""
    gain, shift = np.zeros(grid.size, np.float32), np.zeros(grid.size, np.float32)
    for k, centre in enumerate(AIR):
        distance = sum(((source[axis] - centre[axis]) / AIR_RADII_MM[axis]) ** 2 for axis in range(3))
        bump = np.exp(-distance)
        gain += acquisition.air_gain[k] * bump
        shift += acquisition.air_shift_mm[k] * bump
    gain = gain * (1 + 0.5 * smooth_field(rng, grid.centre_axes, 9.0)).clip(0, 2)
    rows, columns = (np.repeat(np.arange(n), s) for n, s in zip(grid.size[:2], grid.per_voxel[:2]))
    gain, shift = gain[rows][:, columns], shift[rows][:, columns]
    touched = np.flatnonzero((np.abs(shift) > 0.2).any((0, 1)))
    result = image.copy()
    i, j = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in image.shape[:2]], indexing="ij")
    for k in touched:
        moved = [i, j + shift[:, :, k] / grid.in_plane[1]]
        result[:, :, k] = ndimage.map_coordinates(image[:, :, k], moved, order=1, mode="nearest")
    return result * (1 + gain)
