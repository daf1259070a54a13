import numpy as np
import pytest
from test_registration import head

from common.preprocessing.deformation import Deformation, deform, invert, linear_part
from common.preprocessing.gridding import mask_back, mask_on_grid
from common.preprocessing.registration import dice_overlap, resample

SHAPE = (34, 40, 30)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = [-66, -78, -58]


def bump(height=12.0) -> Deformation:
    """A smooth push of up to `height` mm towards the right and the front, after a shift of 5 mm."""
    places = np.stack(
        np.meshgrid(*(AFFINE[i, i] * np.arange(n) + AFFINE[i, 3] for i, n in enumerate(SHAPE)), indexing="ij"), -1
    )
    near = np.exp(-((places - [-20, -20, 0]) ** 2).sum(-1) / (2 * 28.0**2))
    matrix = np.eye(4)
    matrix[:3, 3] = [5, 0, 0]
    return Deformation(matrix, (near[..., None] * [height, height, 0]).astype(np.float32), AFFINE)


def bent_head():
    """The template, and a source that a deformation turns into it."""
    template, affine = head()
    known = bump()
    return template, affine, resample(template, affine, known.inverse(), template.shape, affine, order=1), known


def test_a_known_deformation_is_found():
    template, affine, source, known = bent_head()
    found = deform(template, affine, source, affine, known.matrix)

    core = template > 1.2  # the two cores, of which one has moved
    before, after = (
        dice_overlap(resample(source, affine, space, template.shape, affine, order=1) > 1.2, core)
        for space in (known.matrix, found.transform())
    )
    assert before < 0.8
    assert 1 - after < 0.6 * (1 - before)
    assert found.smallest_jacobian() > 0.3


def test_slices_that_were_not_scanned_pull_nothing():
    template, affine = head()
    lower = template[:, :, : template.shape[2] // 2]  # the source ends there, but is the template otherwise
    found = deform(template, affine, lower, affine, np.eye(4))

    assert np.abs(found.field).max() < 1


def test_the_inverse_leads_back():
    known = bump()
    there, back = known.transform(), invert(known)
    for point in ((-40.0, -30.0, 10.0), (0.0, 0.0, 0.0), (30.0, 40.0, -20.0)):
        np.testing.assert_allclose(back.TransformPoint(there.TransformPoint(point)), point, atol=0.2)


def test_what_lies_left_stays_left_and_a_mask_comes_back():
    known = bump()
    left = np.zeros(SHAPE, np.uint8)
    left[6:12, 16:22, 12:18] = 1  # x below 0: left
    fine = np.diag([2.0, 2.0, 2.0, 1.0])
    fine[:3, 3] = AFFINE[:3, 3]
    size = tuple(2 * n for n in SHAPE)

    on_grid = mask_on_grid(left, AFFINE, known, size, fine)
    assert (np.argwhere(on_grid).mean(0) @ fine[:3, :3].T + fine[:3, 3])[0] < -20
    assert dice_overlap(mask_back(on_grid, fine, known, SHAPE, AFFINE), left) > 0.97


def test_a_fold_is_told():
    assert bump().smallest_jacobian() > 0
    assert bump(120.0).smallest_jacobian() < 0


def test_the_linear_part_of_both_kinds():
    np.testing.assert_array_equal(linear_part(np.eye(4)), np.eye(4))
    assert linear_part(bump())[0, 3] == pytest.approx(5)
