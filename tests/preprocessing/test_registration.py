import numpy as np
import pytest
from scipy import ndimage

from common.preprocessing import to_mni
from common.preprocessing.registration import dice_overlap, register_affine, resample, similarity_from_points


def head(shape=(68, 80, 60), spacing=2.0):
    """An egg with two bright cores off its centre, so that every direction differs."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [-68, -80, -60]
    x, y, z = (affine[i, i] * np.arange(n) + affine[i, 3] for i, n in enumerate(shape))
    x, y, z = np.ix_(x, y, z)
    image = ((x / 50) ** 2 + (y / 64) ** 2 + (z / 44) ** 2 < 1).astype(np.float32)
    image += ((x + 24) / 12) ** 2 + ((y + 30) / 9) ** 2 + ((z + 4) / 16) ** 2 < 1
    image += ((x - 14) / 14) ** 2 + ((y - 20) / 22) ** 2 + ((z - 8) / 12) ** 2 < 1
    texture = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return image * (1 + 6 * ndimage.gaussian_filter(texture, 4)), affine


def turned(degrees=9) -> np.ndarray:
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] = 1.06 * np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix[:3, 3] = [6, -5, 4]
    return matrix


def test_similarity_from_points_recovers_the_map_that_made_them():
    points = np.random.default_rng(0).normal(size=(7, 3))
    moved = points @ turned()[:3, :3].T + turned()[:3, 3]

    np.testing.assert_allclose(similarity_from_points(points, moved), turned(), atol=1e-9)


def test_registration_undoes_a_known_map_to_within_a_voxel():
    fixed, affine = head()
    moving = resample(fixed, affine, np.linalg.inv(turned()), fixed.shape, affine, order=1)

    start = turned(degrees=6) @ np.diag([0.97, 1.03, 1, 1]) + np.array(
        [[0, 0, 0, 6], [0, 0, 0, -5], [0, 0, 0, 3], [0] * 4]
    )
    found = register_affine(fixed, affine, moving, affine, start)

    corners = np.array([[40, 0, 0, 1], [0, 50, 0, 1], [0, 0, 35, 1], [-30, -30, -20, 1]])
    error = np.linalg.norm((corners @ found.T - corners @ turned().T)[:, :3], axis=1)
    assert error.max() < 4
    assert dice_overlap(resample(moving, affine, found, fixed.shape, affine, order=1) > 0.5, fixed > 0.5) > 0.95


def test_resampling_labels_makes_no_new_ones():
    labels = np.random.default_rng(0).choice([0, 3, 28], (7, 8, 9)).astype(np.uint8)
    result = resample(labels, np.diag([2, 3, 4, 1.0]), turned(), (8, 9, 7), np.diag([2, 3, 4, 1.0]))

    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= {0, 3, 28}


@pytest.mark.parametrize(("a", "b", "dice"), [([1, 1, 0], [0, 1, 1], 0.5), ([0, 0, 0], [0, 0, 0], 1.0)])
def test_dice_of_known_masks(a, b, dice):
    assert dice_overlap(np.array(a), np.array(b)) == dice


def test_the_centre_that_brains_are_laid_upon_is_that_of_the_template():
    template, affine = to_mni._template()

    np.testing.assert_allclose(to_mni._centre(template > 0, affine), to_mni.CENTRE, atol=1e-6)
