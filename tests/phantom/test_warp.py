from dataclasses import replace

import numpy as np
import pytest

from common.phantom.warp import FineGrid, draw_warp, nearest_labels, source_points


def ventricle_ml(warp, brain) -> float:
    axes = [np.arange(-50, 50, 2.0), np.arange(-100, 60, 2.0), np.arange(-45, 60, 2.0)]
    return np.isin(nearest_labels(brain, source_points(warp, brain, axes)), (5, 6)).sum() * 8 / 1000


@pytest.mark.parametrize("wanted", [8.0, 20.0, 45.0])
def test_ventricles_get_the_volume_asked_for(brain, wanted):
    warp = draw_warp(np.random.default_rng(4), brain, wanted)
    assert ventricle_ml(warp, brain) == pytest.approx(wanted, rel=0.15)


def test_ventricles_are_not_changed_beyond_what_occurs(brain, rng):
    assert draw_warp(rng, brain, 0.1).ventricle_ml > 4
    assert draw_warp(rng, brain, 900.0).ventricle_ml < 110


def test_a_warp_of_zero_changes_nothing(brain, rng):
    still = replace(
        draw_warp(rng, brain, 20),
        scale=(1, 1, 1),
        rotation_deg=(0, 0, 0),
        translation_mm=(0, 0, 0),
        warp_sd_mm=0,
        wall_shift_mm=0,
    )
    axes = [np.array([-60.0, -7.3, 41.0]), np.array([-88.0, 3.3]), np.array([-20.0, 0.7, 33.0, 60.0])]
    np.testing.assert_allclose(
        source_points(still, brain, axes), np.stack(np.meshgrid(*axes, indexing="ij")), atol=0.01
    )


def test_samples_of_a_voxel_surround_its_centre_within_one_clinical_slice():
    grid = FineGrid((9, 11, 7))
    for axis in range(3):
        samples = grid.axes[axis].reshape(grid.size[axis], -1)
        np.testing.assert_allclose(samples.mean(1), grid.centre_axes[axis])
    assert np.ptp(grid.axes[2].reshape(7, -1), axis=1).max() < 6
