from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from common.datalists import Case, write_dataset
from common.fidelity import (
    contrast_faithful,
    contrast_of,
    ks_distances,
    lesion_contrast,
    mask_features,
    mean_ks,
    recovered_dice,
    tissue_sd,
)
from common.grids import voxel_ml, write_volume
from common.labels import LESION, TISSUES

SIZE = (17, 18, 9)
SPACING = (4.0, 5.0, 6.0)
AFFINE = np.diag([*SPACING, 1.0])
AFFINE[:3, 3] = -32, -40, -20  # the middle sagittal plane, 8, is at x = 0
SD = dict.fromkeys(TISSUES, 0.1)


def half_and_half() -> tuple[np.ndarray, np.ndarray]:
    """Left half white matter at 0.1, right half cortex at 0.3."""
    anatomy = np.ones(SIZE, np.uint8)
    anatomy[9:] = 4
    return np.where(anatomy == 1, 0.1, 0.3), anatomy


def write_cases(folder, images: list[np.ndarray], lesion: np.ndarray, anatomy: np.ndarray, synthetic: bool = False):
    cases = []
    for number, image in enumerate(images):
        paths = {key: folder / key / f"s{number}.nii.gz" for key in ("image", "label", "anatomy")}
        for key, voxels in (("image", image.astype(np.float32)), ("label", lesion), ("anatomy", anatomy)):
            write_volume(paths[key], voxels.astype(np.uint8) if key != "image" else voxels, AFFINE)
        cases.append(Case(f"s{number}", "stroke", "training", sidecar=None, **paths))
    header = {"name": "n", "simulated": True, "synthetic": synthetic, "size": SIZE, "affine": AFFINE}
    return write_dataset(folder, header, cases)


def block(x: slice, y: slice = slice(5, 9), z: slice = slice(3, 6)) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[x, y, z] = 1
    return mask


def test_contrast_is_the_difference_to_the_same_tissue_in_its_standard_deviations():
    image, anatomy = half_and_half()
    lesion = block(slice(6, 8))  # white matter; the cortex beside it is within the ring
    image[lesion > 0] = 0.5

    assert lesion_contrast(image, anatomy, lesion, SPACING, SD) == pytest.approx((0.5 - 0.1) / 0.1)


def test_contrast_takes_the_tissue_under_most_of_the_lesion():
    image, anatomy = half_and_half()
    lesion = block(slice(8, 12))  # one plane of white matter, three of cortex
    image[lesion > 0] = 0.5

    assert lesion_contrast(image, anatomy, lesion, SPACING, SD) == pytest.approx((0.5 - 0.3) / 0.1)


def test_contrast_ignores_csf_under_the_lesion():
    image, anatomy = half_and_half()
    lesion = block(slice(4, 7))
    anatomy[4:6, 5:9, 3:6] = 27  # two thirds of the lesion
    image[lesion > 0] = 0.5

    assert lesion_contrast(image, anatomy, lesion, SPACING, SD) == pytest.approx(4)


def test_contrast_is_blind_to_what_is_more_than_10_mm_away():
    image, anatomy = half_and_half()
    lesion = block(slice(3, 5))
    image[lesion > 0] = 0.5
    before = lesion_contrast(image, anatomy, lesion, SPACING, SD)
    image[8:] = -1  # the nearest is 16 mm away
    image[:, 12:] = -1

    assert lesion_contrast(image, anatomy, lesion, SPACING, SD) == before


def test_contrast_of_a_lesion_that_was_not_drawn_is_zero():
    image, anatomy = half_and_half()

    assert lesion_contrast(image, anatomy, block(slice(4, 7)), SPACING, SD) == 0


@pytest.mark.parametrize("case", ["no lesion", "lesion in csf", "tissue nowhere else"])
def test_contrast_that_is_not_defined_is_nan(case):
    image, anatomy = half_and_half()
    lesion = block(slice(4, 7)) if case != "no lesion" else np.zeros(SIZE, np.uint8)
    if case == "lesion in csf":
        anatomy[:] = 27
    if case == "tissue nowhere else":
        anatomy = np.where(lesion > 0, 1, 3).astype(np.uint8)

    assert np.isnan(lesion_contrast(image, anatomy, lesion, SPACING, SD))


def test_painted_lesion_label_does_not_pass_for_a_tissue():
    image, anatomy = half_and_half()
    lesion = block(slice(4, 7))

    assert np.isnan(lesion_contrast(image, np.where(lesion > 0, LESION, anatomy), lesion, SPACING, SD))


def test_tissue_sd_is_that_of_all_healthy_voxels_together(tmp_path):
    _, anatomy = half_and_half()
    lesion = block(slice(4, 7))
    images = np.random.default_rng(0).normal(0, 0.2, (3, *SIZE)).astype(np.float32)
    dataset = write_cases(tmp_path, list(np.where(lesion > 0, 1, images)), lesion, anatomy)

    spread = tissue_sd(dataset)

    healthy = (anatomy == 1) & (lesion == 0)
    assert spread["white matter"] == pytest.approx(images[:, healthy].std(), rel=1e-5)
    assert spread["cerebellum"] == 0


def test_tissue_sd_of_a_synthetic_set_is_refused(tmp_path):
    image, anatomy = half_and_half()

    with pytest.raises(ValueError, match="measured on the real one"):
        tissue_sd(write_cases(tmp_path, [image], block(slice(4, 7)), anatomy, synthetic=True))


def test_contrasts_of_a_data_set_are_in_case_order(tmp_path):
    _, anatomy = half_and_half()
    lesion = block(slice(4, 7))
    images = [np.where(lesion > 0, value, half_and_half()[0]) for value in (0.4, 0.8)]

    assert contrast_of(write_cases(tmp_path, images, lesion, anatomy), SD) == pytest.approx([3, 7], abs=1e-4)


@pytest.mark.parametrize(("shift", "stretch", "faithful"), [(0.0, 1.0, True), (0.6, 1.0, False), (0.0, 2.0, False)])
def test_set_is_faithful_when_all_three_quartiles_are(shift, stretch, faithful):
    real = np.linspace(1, 3, 41)

    assert contrast_faithful(real, 2 + (real - 2) * stretch + shift, bound=0.4) is faithful


def test_faithfulness_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 synthetic lesions"):
        contrast_faithful([1.0], [], bound=1)


class Bright(nn.Module):
    """Calls everything above 0.5 lesion."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(image, 0.5), image], 1)


def test_recovered_dice_is_one_where_the_lesion_is_drawn_and_zero_where_it_is_not(tmp_path):
    image, anatomy = half_and_half()
    lesion = block(slice(4, 7))
    dataset = write_cases(tmp_path, [np.where(lesion > 0, 0.9, image), image], lesion, anatomy, synthetic=True)

    assert recovered_dice(Bright(), dataset) == [1.0, 0.0]
    assert recovered_dice(Bright(), dataset, count=1) == [1.0]


def test_features_of_a_mask():
    mask = block(slice(2, 4))  # left of the middle plane, 8
    mask[4, 9, 6] = 1  # touches it in a corner
    mask[1, 16, 1] = 1  # apart

    assert mask_features(mask, AFFINE) == {
        "volume_ml": pytest.approx(26 * voxel_ml(AFFINE)),
        "components": 2,
        "side": "left",
    }


@pytest.mark.parametrize(
    ("x", "side"),
    [(slice(1, 7), "left"), (slice(10, 15), "right"), (slice(7, 11), "bilateral"), (slice(0, 0), "none")],
)
def test_side_of_a_mask_follows_the_affine(x, side):
    assert mask_features(block(x), AFFINE)["side"] == side

    flipped = AFFINE.copy()
    flipped[0] *= -1
    swapped = {"left": "right", "right": "left"}.get(side, side)
    assert mask_features(block(x), flipped)["side"] == swapped


def features(volumes, components=1, side="left") -> list[dict]:
    return [{"volume_ml": volume, "components": components, "side": side} for volume in volumes]


def test_equal_sets_have_distance_zero_and_disjoint_ones_one():
    small, large = features([1.0, 2.0, 3.0]), features([10.0, 11.0], components=4, side="right")

    assert ks_distances(small, small) == {"volume": 0, "components": 0, "side": 0}
    assert ks_distances(small, large) == {"volume": 1, "components": 1, "side": 1}
    assert mean_ks(small, large) == 1


def test_distance_is_the_largest_gap_of_the_cumulative_shares():
    mixed = features([1.0, 2.0], side="right") + features([10.0, 20.0])

    distances = ks_distances(features([1.0, 2.0]), mixed)

    assert distances == {"volume": 0.5, "components": 0, "side": 0.5}
