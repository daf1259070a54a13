from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from common.labels import PARENCHYMA
from common.phantom.lesions import SIDES, TERRITORIES, draw_lesion, lesion_field, sample_field
from common.phantom.warp import nearest_labels


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(1)
    return [draw_lesion(rng) for _ in range(3000)]


def test_drawn_volumes_components_sides_and_territories_follow_the_measured_ones(drawn):
    volumes = np.array([lesion.volume_ml for lesion in drawn])
    components = np.array([lesion.components for lesion in drawn])

    assert 6 < np.median(volumes) < 15
    assert volumes.min() >= 0.05
    assert volumes.max() <= 300
    assert 0.25 < (components == 1).mean() < 0.4
    assert 2 <= np.median(components) <= 3
    for table, name in ((TERRITORIES, "territory"), (SIDES, "side")):
        for key, share in table.items():
            assert np.mean([getattr(lesion, name) == key for lesion in drawn]) == pytest.approx(share, abs=0.03)


def grown(lesion, brain):
    field = lesion_field(lesion, brain)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in field.values.shape], indexing="ij"))
    points = 2.0 * index + field.affine[:3, 3].reshape(3, 1, 1, 1)
    return field.values > 0.5, points


def test_a_lesion_has_about_its_volume_and_its_side(brain, drawn):
    for side in ("left", "right"):
        lesion = replace(drawn[0], territory="MCA", side=side, volume_ml=20.0, components=1)
        inside, points = grown(lesion, brain)

        assert inside.sum() * 8 / 1000 == pytest.approx(20, rel=0.25)
        assert ((points[0][inside] < 0) == (side == "left")).mean() > 0.97


def test_a_bilateral_lesion_has_parts_on_both_sides(brain, drawn):
    lesion = replace(drawn[0], territory="PCA", side="bilateral", volume_ml=15.0, components=4, main_share=0.6)
    inside, points = grown(lesion, brain)
    assert 0.02 < (points[0][inside] < 0).mean() < 0.98


def test_lesions_grow_in_the_parenchyma(brain, drawn):
    for lesion in drawn[:8]:
        inside, points = grown(lesion, brain)
        assert PARENCHYMA[nearest_labels(brain, points[:, inside])].mean() > 0.85


def test_lesions_are_irregular_but_hold_together(brain, drawn):
    lesion = replace(drawn[0], territory="MCA", side="left", volume_ml=30.0, components=1)
    inside, _ = grown(lesion, brain)
    parts, count = ndimage.label(inside, np.ones((3, 3, 3)))
    largest = np.bincount(parts.ravel())[1:].max()
    surface = inside.sum() - ndimage.binary_erosion(inside).sum()
    ball = 4.84 * inside.sum() ** (2 / 3)

    assert largest > 0.8 * inside.sum()
    assert surface > 1.2 * 0.7 * ball
    assert count < 40


def test_a_field_sampled_at_its_own_voxels_is_itself(brain, drawn):
    field = lesion_field(drawn[2], brain)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in field.values.shape], indexing="ij"))
    points = (2.0 * index + field.affine[:3, 3].reshape(3, 1, 1, 1)).astype(np.float32)
    np.testing.assert_allclose(sample_field(field, points), field.values, atol=1e-3)
