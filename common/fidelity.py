"""How close synthetic cases are to real ones: contrast of lesions, what a segmenter recovers, shapes of masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import ndimage, stats
from torch import nn

from .datalists import Dataset
from .grids import read_volume, voxel_ml
from .labels import LESION, PARENCHYMA, TISSUE_OF, TISSUES
from .prediction import read_lesion, segment_dataset

__all__ = [
    "QUARTILES", "contrast_faithful", "contrast_of", "ks_distances", "lesion_contrast", "mask_features", "mean_ks",
    "recovered_dice", "tissue_sd",
]  # fmt: skip

RING_MM = 10.0
QUARTILES = (25, 50, 75)
BILATERAL_SHARE = 0.05
CORNERS = ndimage.generate_binary_structure(3, 3)


def tissue_sd(dataset: Dataset) -> dict[str, float]:
    """Standard deviation of each tissue (`labels.TISSUES`) over all its healthy voxels in the real training images.

    Raises:
        ValueError: the set is synthetic, or no training case has an anatomy.
    """
    path = dataset.folder / "dataset.json"
    if dataset.synthetic:
        raise ValueError(f"{path} is a synthetic set; the spread of tissues is measured on the real one.")
    sums = np.zeros((3, len(TISSUES)))  # voxels, sum, sum of squares
    for case in dataset.select("training"):
        if case.anatomy is None:
            continue
        image, tissue = read_volume(case.image)[0], TISSUE_OF[read_volume(case.anatomy)[0].astype(np.uint8)]
        healthy = read_volume(case.label)[0] == 0 if case.label else np.ones(image.shape, bool)
        values, where = image[healthy].astype(float), tissue[healthy]
        sums += [np.bincount(where, values**power, len(TISSUES)) for power in range(3)]
    if not sums[0].any():
        raise ValueError(f"{path}: no training case has an anatomy, so the spread of tissues cannot be measured.")
    voxels = sums[0].clip(min=1)
    variance = sums[2] / voxels - (sums[1] / voxels) ** 2
    return {name: float(sd) for name, sd in zip(TISSUES, np.sqrt(variance.clip(min=0)))}


def lesion_contrast(
    image: np.ndarray,
    anatomy: np.ndarray,
    lesion: np.ndarray,
    spacing: tuple[float, float, float],
    tissue_sd: dict[str, float],
) -> float:
    """How far a lesion stands out: (median of the lesion - median of the same tissue around it) / SD of that tissue.

    The tissue is the parenchyma that lies under most of the lesion; around it means within 10 mm of the lesion.

    Args:
        image: (H, W, D) in [-1, 1].
        anatomy: healthy label map (H, W, D); a painted lesion (28) does not tell what lies beneath it.
        lesion: binary mask (H, W, D).
        spacing: voxel edge lengths in mm.
        tissue_sd: of real training images, from `tissue_sd`.

    Returns:
        standard deviations; NaN if the lesion is empty, lies in no parenchyma or has none of its tissue around it.
    """
    lesion = np.asarray(lesion) > 0
    if not lesion.any():
        return float("nan")
    image, anatomy, lesion = (volume[_box(lesion, spacing)] for volume in (image, anatomy.astype(np.uint8), lesion))
    beneath = anatomy[lesion & PARENCHYMA[anatomy] & (anatomy != LESION)]
    if not len(beneath):
        return float("nan")
    tissue = int(np.bincount(TISSUE_OF[beneath]).argmax())
    near = ndimage.distance_transform_edt(~lesion, sampling=spacing) <= RING_MM
    ring = near & ~lesion & (TISSUE_OF[anatomy] == tissue)
    spread = tissue_sd[TISSUES[tissue]]
    if not ring.any() or spread == 0:
        return float("nan")
    return float((np.median(image[lesion]) - np.median(image[ring])) / spread)


def _box(lesion: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, ...]:
    """The part of the volume that holds the lesion and its ring."""
    margins = np.ceil(RING_MM / np.asarray(spacing)).astype(int)
    box = ndimage.find_objects(lesion.astype(np.uint8))[0]
    return tuple(slice(max(edge.start - margin, 0), edge.stop + margin) for edge, margin in zip(box, margins))


def contrast_of(dataset: Dataset, tissue_sd: dict[str, float], split: str = "training") -> list[float]:
    """Lesion contrast of each case of a split with lesion and anatomy, where it is defined.

    Args:
        dataset: real or synthetic.
        tissue_sd: of the *real* training images, in both cases.
        split: of the data set; a synthetic one has training cases only.
    """
    values = []
    for case in dataset.select(split, has_lesion=True):
        if case.anatomy is None:
            continue
        image, anatomy, lesion = (read_volume(path)[0] for path in (case.image, case.anatomy, case.label))
        values.append(lesion_contrast(image, anatomy, lesion, dataset.spacing, tissue_sd))
    return [value for value in values if np.isfinite(value)]


def contrast_faithful(real: Sequence[float], synthetic: Sequence[float], bound: float) -> bool:
    """Whether p25, p50 and p75 of the synthetic contrasts each lie within `bound` standard deviations of the real ones.

    Raises:
        ValueError: one of the lists is empty.
    """
    if not len(real) or not len(synthetic):
        raise ValueError(
            f"Lesion contrast was measured on {len(real)} real and {len(synthetic)} synthetic lesions; both needed."
        )
    gaps = np.percentile(synthetic, QUARTILES) - np.percentile(real, QUARTILES)
    return bool((np.abs(gaps) <= bound).all())


def recovered_dice(
    network: nn.Module, dataset: Dataset, count: int | None = None, split: str = "training"
) -> list[float]:
    """Dice of a fixed segmenter against the lesions of a data set: painted ones if it is synthetic, true ones if real.

    Args:
        network: a segmenter, see `prediction.segment`.
        dataset: real or synthetic.
        count: only the first so many cases with a lesion.
        split: of the data set; on the real one, a split that the segmenter was not trained on.

    Returns:
        one value of 0 to 1 per case that has a lesion.
    """
    cases = dataset.select(split, has_lesion=True)[:count]
    grid = dataset.size, dataset.affine
    scores = []
    for case, found in segment_dataset(network, cases, grid=grid):
        lesion = read_lesion(case, grid)
        both = int(found.sum()) + int(lesion.sum())
        if lesion.any():
            scores.append(float(2 * (found & lesion).sum() / both))
    return scores


def mask_features(mask: np.ndarray, affine: np.ndarray) -> dict[str, float | int | str]:
    """What a lesion mask is like.

    Args:
        mask: binary (H, W, D), in MNI space.
        affine: (4, 4), RAS, in mm; x < 0 is left.

    Returns:
        `volume_ml`; `components`, 26-connected; `side`: left, right, bilateral (the smaller share is above 5 % of the
        volume), or none for an empty mask.
    """
    mask = np.asarray(mask) > 0
    if not mask.any():
        return {"volume_ml": 0.0, "components": 0, "side": "none"}
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    components = ndimage.label(mask[box], CORNERS)[1]
    per_sagittal = mask.sum((1, 2))
    x = affine[0, 0] * np.arange(len(per_sagittal)) + affine[0, 3]
    voxels = int(per_sagittal.sum())
    left, right = per_sagittal[x < 0].sum() / voxels, per_sagittal[x > 0].sum() / voxels
    side = "bilateral" if min(left, right) > BILATERAL_SHARE else "left" if left > right else "right"
    return {"volume_ml": voxels * voxel_ml(affine), "components": int(components), "side": side}


def ks_distances(a: Sequence[dict], b: Sequence[dict]) -> dict[str, float]:
    """How differently the features of two sets of masks are distributed, 0 (alike) to 1 (apart).

    Args:
        a, b: from `mask_features`, at least one each.

    Returns:
        `volume` and `components`: Kolmogorov-Smirnov statistic, which the logarithm of the volume would not change;
        `side`: total variation, which is the same idea for values without an order.
    """
    distances = {
        name: float(stats.ks_2samp([mask[key] for mask in a], [mask[key] for mask in b], method="asymp").statistic)
        for name, key in (("volume", "volume_ml"), ("components", "components"))
    }
    shares = [Counter(mask["side"] for mask in masks) for masks in (a, b)]
    sides = set(shares[0]) | set(shares[1])
    distances["side"] = sum(abs(shares[0][side] / len(a) - shares[1][side] / len(b)) for side in sides) / 2
    return distances


def mean_ks(a: Sequence[dict], b: Sequence[dict]) -> float:
    """Mean of `ks_distances`: the key metric of the lesion GAN."""
    return float(np.mean(list(ks_distances(a, b).values())))
