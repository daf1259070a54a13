import numpy as np
import pytest

from common.phantom.mni import MNI_AFFINE, mni_brain
from common.preprocessing.to_mni import MNI_CENTRE, _centre, _template, shift_to_mni


def test_the_centre_is_that_of_the_template():
    template, affine = _template()
    np.testing.assert_allclose(MNI_CENTRE, _centre(template > 0, affine), atol=1e-6)


def test_a_shifted_brain_is_shifted_back():
    brain = mni_brain()[::3, ::3, ::3]
    affine = MNI_AFFINE @ np.diag([3, 3, 3, 1])
    affine[:3, 3] += (12, -20, 31)
    matrix = shift_to_mni(brain, affine)
    np.testing.assert_array_equal(matrix[:3, :3], np.eye(3))
    assert matrix[:3, 3] == pytest.approx([12, -20, 31], abs=2.5)


def test_slices_that_are_missing_below_do_not_move_the_centre():
    brain = mni_brain()[::3, ::3, ::3]
    affine = MNI_AFFINE @ np.diag([3, 3, 3, 1])
    cut = brain[:, :, 20:]
    moved = affine.copy()
    moved[2, 3] += 20 * 3
    np.testing.assert_allclose(shift_to_mni(cut, moved)[:3, 3], shift_to_mni(brain, affine)[:3, 3], atol=3)
