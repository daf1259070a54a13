import numpy as np

from common.phantom.fields import interpolation_matrix, smooth_field


def test_smooth_field_depends_on_millimetres_and_not_on_the_grid():
    fine = [np.arange(-40, 40, 2.0), np.arange(-50, 30, 2.0), np.arange(-20, 50, 2.0)]
    coarse = [axis[::2] for axis in fine]

    on_fine = smooth_field(np.random.default_rng(3), fine, 20.0)
    on_coarse = smooth_field(np.random.default_rng(3), coarse, 20.0)

    np.testing.assert_allclose(on_fine[::2, ::2, ::2], on_coarse, atol=1e-4)


def test_smooth_field_has_unit_deviation_and_varies_slowly():
    axes = [np.arange(-80, 80, 4.0), np.arange(-110, 80, 4.0), np.arange(-50, 80, 4.0)]
    field = smooth_field(np.random.default_rng(1), axes, 12.0)

    assert 0.85 < field.std() < 1.15
    assert np.abs(np.diff(field, axis=0)).mean() < 0.5 * field.std()


def test_interpolation_is_exact_for_a_line_and_constant_beyond_the_ends():
    coarse = np.array([0.0, 3.0, 6.0, 9.0])
    fine = np.array([-2.0, 0.0, 1.5, 8.0, 11.0])
    np.testing.assert_allclose(interpolation_matrix(fine, coarse) @ (2 * coarse), [0, 0, 3, 16, 18], atol=1e-5)
