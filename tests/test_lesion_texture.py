"""Unevenness inside lesions: what is measured, and that what is given comes back."""

import numpy as np
import pytest

from common.labels import LESION
from common.lesion_texture import lesion_unevenness, uneven_field, with_uneven_lesion

SIZE, SPACING = (40, 44, 9), (2.0, 2.2, 6.0)


@pytest.fixture
def label_map():
    labels = np.zeros(SIZE, np.uint8)
    labels[2:38, 2:42] = 1
    labels[10:28, 12:32, 2:7] = LESION
    return labels


def scan(label_map, excess=0.4, noise=0.0, rng=None):
    level = np.where(label_map == LESION, 0.1 + excess, 0.1)
    grain = rng.normal(0, noise, SIZE) if noise else 0
    return np.where(label_map > 0, level + grain, -1).astype(np.float32)


def test_an_even_lesion_is_even(label_map):
    assert lesion_unevenness(scan(label_map), label_map, SPACING) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("wanted", [0.15, 0.3, 0.45])
def test_what_is_given_is_measured_again(label_map, wanted):
    healthy = scan(np.where(label_map == LESION, 1, label_map))
    measured = []
    for seed in range(8):
        field = uneven_field(SIZE, SPACING, wanted, np.random.default_rng(seed))
        measured.append(lesion_unevenness(with_uneven_lesion(scan(label_map), healthy, field), label_map, SPACING))
    assert np.mean(measured) == pytest.approx(wanted, rel=0.35)


def test_noise_is_no_unevenness(label_map, rng):
    assert lesion_unevenness(scan(label_map, noise=0.05, rng=rng), label_map, SPACING) < 0.1


def test_only_the_lesion_changes(label_map):
    healthy = scan(np.where(label_map == LESION, 1, label_map))
    field = uneven_field(SIZE, SPACING, 0.4, np.random.default_rng(1))
    changed = with_uneven_lesion(scan(label_map), healthy, field) != scan(label_map)
    assert changed[label_map == LESION].mean() > 0.99
    assert not changed[label_map != LESION].any()


def test_a_field_is_positive_with_median_near_one_and_repeatable():
    fields = [uneven_field(SIZE, SPACING, 0.4, np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(*fields)
    assert fields[0].min() > 0
    assert np.median(fields[0]) == pytest.approx(1, abs=0.2)


def test_a_lesion_too_small_to_tell_gives_nan(label_map):
    label_map[label_map == LESION] = 1
    label_map[20:23, 20:23, 4] = LESION
    assert np.isnan(lesion_unevenness(scan(label_map), label_map, SPACING))
