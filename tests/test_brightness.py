"""How bright tissue and lesion are."""

from __future__ import annotations

import numpy as np
import pytest

from common.brightness import lesion_strength, match_brightness, white_matter_level
from common.labels import LESION

SIZE = (11, 12, 5)
SPACING = (3.0, 3.0, 9.0)


def scan(rng, white=0.3, lesion=0.7):
    """White matter with a brighter lesion and darker CSF in the middle of the grid."""
    label_map = np.zeros(SIZE, np.uint8)
    label_map[1:10, 1:11] = 1
    label_map[2:4, 2:5] = LESION
    label_map[7:9, 5:8] = 27
    level = np.select([label_map == LESION, label_map == 27, label_map == 1], [lesion, -0.6, white], -1.0)
    return np.where(label_map > 0, level + rng.normal(0, 0.02, SIZE), -1).astype(np.float32), label_map


@pytest.mark.parametrize("target", [-0.2, 0.1, 0.5])
def test_white_matter_reaches_the_level_and_the_brightest_voxels_the_top(rng, target):
    image, label_map = scan(rng)
    matched = match_brightness(image, label_map, target)
    assert white_matter_level(matched, label_map) == pytest.approx(target, abs=0.01)
    assert np.percentile(matched[label_map > 0], 99.5) == pytest.approx(1, abs=0.02)
    assert (matched[label_map == 0] == -1).all()


def test_matching_keeps_the_order_of_intensities(rng):
    image, label_map = scan(rng)
    matched = match_brightness(image, label_map, -0.1)
    order = np.argsort(image[label_map > 0], kind="stable")
    assert (np.diff(matched[label_map > 0][order]) >= -1e-6).all()


def test_a_darker_scan_shows_its_lesion_with_more_contrast(rng):
    image, label_map = scan(rng, white=0.5)
    matched = match_brightness(image, label_map, 0.0)
    before, after = (np.median(x[label_map == LESION]) - white_matter_level(x, label_map) for x in (image, matched))
    assert after > before + 0.2


def test_strength_is_what_the_lesion_adds_as_a_multiple_of_white_matter(rng):
    image, label_map = scan(rng, white=0.0, lesion=0.5)
    assert lesion_strength(image, label_map, SPACING) == pytest.approx(0.5, abs=0.03)  # signal 0.75 over 0.5


def test_strength_does_not_change_with_the_gain_of_the_scanner(rng):
    image, label_map = scan(rng)
    darker = 0.6 * (image + 1) - 1
    assert lesion_strength(darker, label_map, SPACING) == pytest.approx(lesion_strength(image, label_map, SPACING))


def test_no_lesion_has_no_strength(rng):
    image, label_map = scan(rng)
    assert np.isnan(lesion_strength(image, np.where(label_map == LESION, 1, label_map), SPACING))
