from dataclasses import replace

import numpy as np
import pytest

from common.phantom.signal import SCANNER_UNITS, draw_acquisition, render, tissue_signals
from common.phantom.warp import FineGrid


def many(cohort, count=400):
    rng = np.random.default_rng(2)
    return [draw_acquisition(rng, cohort) for _ in range(count)]


def test_tissues_have_the_contrast_of_a_dwi():
    for acquisition in many("stroke", 60):
        signals = tissue_signals(acquisition)
        assert signals[0] == 0
        assert 0.9 < signals[3] / signals[1] < 1.7  # before partial volume and point spread
        assert signals[5] < 0.7 * signals[1]
        assert signals[17] < signals[15]  # iron in the pallidum


def test_lesion_ratio_is_what_was_drawn_and_spares_csf():
    for acquisition in many("stroke", 60):
        healthy, lesion = tissue_signals(acquisition), tissue_signals(acquisition, lesion=True)
        ratio = (lesion[[1, 3]] / healthy[[1, 3]]).mean()
        assert ratio == pytest.approx(acquisition.lesion_ratio, rel=0.15)
        assert lesion[5] == healthy[5]


def test_cohorts_differ_in_field_strength_noise_and_echo_time():
    normal, stroke = many("normal"), many("stroke")
    for name in ("tesla", "snr"):
        assert np.mean([getattr(a, name) for a in normal]) > np.mean([getattr(a, name) for a in stroke]) * 1.1
    assert np.mean([a.te_ms for a in normal]) < np.mean([a.te_ms for a in stroke])
    ratios = np.array([a.lesion_ratio for a in stroke])
    assert ratios.min() >= 1.15
    assert ratios.max() <= 3.0
    assert 0.02 < (ratios > 2.2).mean() < 0.12


@pytest.fixture
def scene():
    grid = FineGrid((20, 24, 6))
    labels = np.zeros(grid.shape, np.uint8)
    x, y, z = np.ix_(*grid.axes)
    labels[(x / 60) ** 2 + ((y + 18) / 75) ** 2 + ((z - 10) / 60) ** 2 < 1] = 1
    lesion = ((x + 30) ** 2 + (y + 18) ** 2 + (z - 20) ** 2 < 22**2).astype(np.float32)
    source = np.stack(np.meshgrid(*grid.centre_axes, indexing="ij")).astype(np.float32)
    brain = labels.reshape(20, grid.per_voxel[0], 24, grid.per_voxel[1], 6, -1).mean((1, 3, 5)) > 0.5
    depth = np.full(grid.size, 40.0)
    return {"grid": grid, "labels": labels, "lesion": lesion, "depth": depth, "source": source, "brain": brain}


def test_rendering_is_deterministic_and_background_is_zero(scene):
    acquisition = many("stroke", 1)[0]
    image = render(acquisition, **scene)

    np.testing.assert_array_equal(image, render(acquisition, **scene))
    assert (image[~scene["brain"]] == 0).all()
    assert (image[scene["brain"]] > 0).all()


def test_lesion_is_brighter_and_noise_follows_the_snr(scene):
    clean = {"air_gain": (0.0,) * 5, "texture": 0.0, "bias": 0.0, "ghost": 0.0, "shine_through": 0, "old_infarcts": 0}
    images = {snr: render(replace(many("stroke", 1)[0], snr=snr, **clean), **scene) for snr in (12.0, 30.0)}
    x, y, z = np.ix_(*scene["grid"].centre_axes)
    core = (x + 30) ** 2 + (y + 18) ** 2 + (z - 20) ** 2 < 14**2
    calm = (x - 25) ** 2 + (y + 18) ** 2 + (z - 10) ** 2 < 25**2

    for snr, image in images.items():
        assert np.median(image[core]) > 1.1 * np.median(image[calm])
        assert SCANNER_UNITS / image[calm].std() == pytest.approx(snr, rel=0.25)
