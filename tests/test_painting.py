"""Lesions on the donors' own scans."""

from __future__ import annotations

import numpy as np
import pytest

from common.appearance import Appearance
from common.brightness import lesion_strength
from common.labels import LESION
from common.noise import noise_level
from common.painting import added_signal, paint, paint_on_scan

SIZE = (24, 26, 6)
SPACING = (3.0, 3.0, 9.0)
QUIET = {"noise": False, "brightness": False, "unevenness": False, "spacing": SPACING}
TARGET = Appearance("a", 0.1, 0.0, 3.0, 0.3, 0.8)


@pytest.fixture
def brain(rng):
    """A donor's anatomy and scan with an artefact, its map with a lesion, and translations of both maps."""
    anatomy = np.zeros(SIZE, np.uint8)
    anatomy[2:22, 2:24] = 1
    label_map = anatomy.copy()
    label_map[6:12, 8:15, 2:4] = LESION
    scan = np.where(anatomy > 0, rng.normal(0.0, 0.05, SIZE), -1.0)
    scan[16:20, 16:20, 0] = 0.9
    healthy = np.where(anatomy > 0, 0.2, -1.0)
    lesioned = np.where(label_map == LESION, 0.6, np.where(anatomy > 0, -0.2, -1.0))  # the rest of the brain is darker
    return anatomy, label_map, scan.astype(np.float32), lesioned, healthy


def test_a_lesion_adds_signal_where_it_is_and_nowhere_else(brain):
    anatomy, label_map, _, lesioned, healthy = brain

    added = added_signal(lesioned, healthy, label_map, anatomy)

    assert added[label_map == LESION] == pytest.approx(1.6 / 0.8 - 1)
    assert added[label_map != LESION] == pytest.approx(0)  # darker as it is: the scanner's gain, no lesion


def test_what_is_beyond_the_rim_is_left_out(brain):
    anatomy, label_map, _, lesioned, healthy = brain
    lesioned[20:22, 20:22] = 0.9

    assert (added_signal(lesioned, healthy, label_map, anatomy)[20:22, 20:22] == 0).all()


def test_every_lesion_voxel_gets_brighter_and_the_scan_stays_around_it(brain, rng):
    anatomy, label_map, scan, lesioned, healthy = brain
    added = added_signal(lesioned, healthy, label_map, anatomy)

    image, entry = paint_on_scan(scan, anatomy, label_map, added, None, rng=rng, **QUIET)

    lesion, rest = label_map == LESION, (label_map != LESION) & (anatomy > 0)
    assert (image[lesion] > scan[lesion]).all()
    gain = (image[rest] + 1) / (scan[rest] + 1)
    assert gain == pytest.approx(np.full(gain.shape, gain[0]), abs=1e-4)  # one factor: artefact and grain are kept
    assert (image[anatomy == 0] == -1).all()
    assert image.max() <= 1
    assert entry == {}


def test_the_brightest_half_percent_is_the_top_as_in_scans(brain):
    anatomy, label_map, scan, lesioned, healthy = brain

    image = paint(scan, anatomy, added_signal(lesioned, healthy, label_map, anatomy))

    assert np.percentile(image[anatomy > 0], 99.5) == pytest.approx(1, abs=1e-3)


def test_a_lesion_gets_the_strength_of_the_reference(brain, rng):
    anatomy, label_map, scan, lesioned, healthy = brain
    added = added_signal(lesioned, healthy, label_map, anatomy)

    image, entry = paint_on_scan(scan, anatomy, label_map, added, TARGET, rng=rng, **(QUIET | {"brightness": True}))

    assert lesion_strength(image, label_map, SPACING) == pytest.approx(0.8, abs=0.03)
    assert entry == {"reference": "a", "strength": {"target": 0.8, "own": pytest.approx(1)}}


def test_a_lesion_gets_the_unevenness_and_the_image_the_noise_of_the_reference(brain, rng):
    anatomy, label_map, scan, lesioned, healthy = brain
    added = 0.5 * added_signal(lesioned, healthy, label_map, anatomy)
    even, _ = paint_on_scan(scan, anatomy, label_map, added, TARGET, rng=rng, **QUIET)

    uneven, entry = paint_on_scan(scan, anatomy, label_map, added, TARGET, rng=rng, **(QUIET | {"unevenness": True}))
    noisy, more = paint_on_scan(scan, anatomy, label_map, added, TARGET, rng=rng, **(QUIET | {"noise": True}))

    assert uneven[label_map == LESION].std() > 1.5 * even[label_map == LESION].std()
    assert entry["unevenness"] == 0.3
    assert noise_level(noisy, label_map) == pytest.approx(0.1, rel=0.15)
    assert more["noise"]["target"] == 0.1


def test_a_reference_whose_strength_is_unknown_leaves_the_translators(brain, rng):
    anatomy, label_map, scan, lesioned, healthy = brain
    added = added_signal(lesioned, healthy, label_map, anatomy)
    unknown = TARGET._replace(strength=float("nan"))

    image, _ = paint_on_scan(scan, anatomy, label_map, added, unknown, rng=rng, **(QUIET | {"brightness": True}))

    np.testing.assert_array_equal(image, paint(scan, anatomy, added))
