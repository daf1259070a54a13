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
    assert entry["strength"]["reached"] == pytest.approx(lesion_strength(image, label_map, SPACING))
    assert entry["strength"]["factor"] == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("uneven", [0.0, 0.3])
@pytest.mark.parametrize("strength", [0.3, 0.5])
def test_the_strength_is_reached_in_tissue_that_differs_from_what_is_around_and_with_an_uneven_lesion(
    brain, rng, strength, uneven
):
    """A lesion of the white matter, in cortex a third brighter."""
    anatomy, label_map, scan, lesioned, healthy = brain
    anatomy[2:14, 4:19, 1:5] = 3
    anatomy[6:12, 8:15, 2:4] = 1
    label_map = np.where(label_map == LESION, LESION, anatomy).astype(np.uint8)
    scan = scan + 0.33 * (anatomy == 3)
    added = added_signal(lesioned, healthy, label_map, anatomy)
    target = TARGET._replace(strength=strength, unevenness=uneven)
    wanted = QUIET | {"brightness": True, "unevenness": uneven > 0}

    for _ in range(5):
        image, entry = paint_on_scan(scan, anatomy, label_map, added, target, rng=rng, **wanted)
        assert lesion_strength(image, label_map, SPACING) == pytest.approx(strength, abs=0.06)
        assert entry["strength"]["target"] == strength


def test_a_strength_out_of_reach_is_not_forced(brain, rng):
    anatomy, label_map, scan, lesioned, healthy = brain
    added = 0.01 * added_signal(lesioned, healthy, label_map, anatomy)

    _, entry = paint_on_scan(scan, anatomy, label_map, added, TARGET, rng=rng, **(QUIET | {"brightness": True}))

    assert entry["strength"]["factor"] == 4.0
    assert entry["strength"]["reached"] < 0.1 < entry["strength"]["target"]


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

    image, entry = paint_on_scan(scan, anatomy, label_map, added, unknown, rng=rng, **(QUIET | {"brightness": True}))

    np.testing.assert_array_equal(image, paint(scan, anatomy, added))
    assert (entry["strength"]["target"], entry["strength"]["factor"]) == (None, 1.0)


def test_without_white_matter_nothing_is_painted(brain):
    anatomy, _, _, lesioned, healthy = brain
    cortex = np.where(anatomy > 0, 3, 0)

    with pytest.raises(ValueError, match="no white matter .* brighter than the background"):
        added_signal(lesioned, healthy, cortex, cortex)
    with pytest.raises(ValueError, match="no white matter"):
        paint(np.full(SIZE, -1.0), anatomy, np.zeros(SIZE))
