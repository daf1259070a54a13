import numpy as np
import pytest

from common.preprocessing.intensity import restore_intensity, scale_intensity


def picture():
    image = np.random.default_rng(0).uniform(40, 300, (7, 8, 9)).astype(np.float32)
    brain = np.zeros(image.shape, bool)
    brain[1:6, 1:7, 1:8] = True
    return image, brain


def test_scaled_image_lies_in_range_and_background_is_exactly_minus_one():
    image, brain = picture()
    scaled, parameters = scale_intensity(image, brain)

    assert scaled.min() == -1
    assert scaled.max() == 1
    assert (scaled[~brain] == -1).all()
    assert parameters["p995"] == pytest.approx(np.percentile(image[brain], 99.5))
    assert parameters["floor"] == 35


def test_scaling_can_be_undone_between_floor_and_percentile():
    image, brain = picture()
    scaled, parameters = scale_intensity(image, brain)
    kept = brain & (image > parameters["floor"]) & (image < parameters["p995"])

    np.testing.assert_allclose(restore_intensity(scaled, parameters)[kept], image[kept], rtol=1e-4)


def test_relative_floor_does_not_depend_on_the_scanner_s_units():
    image, brain = picture()
    scaled, _ = scale_intensity(image, brain, floor=0.2, relative=True)
    rescaled, _ = scale_intensity(0.01 * image, brain, floor=0.2, relative=True)

    np.testing.assert_allclose(scaled, rescaled, atol=1e-5)


def test_without_a_mask_the_brain_is_where_the_image_is_positive():
    image, brain = picture()
    stripped = np.where(brain, image, 0)

    np.testing.assert_array_equal(scale_intensity(stripped)[0], scale_intensity(image, brain)[0])


@pytest.mark.parametrize(
    ("value", "floor", "message"),
    [(np.nan, 35, "NaN"), (0, 35, "brain is empty"), (20, 35, "floor 35 is not below")],
)
def test_images_that_cannot_be_scaled_are_refused(value, floor, message):
    with pytest.raises(ValueError, match=message):
        scale_intensity(np.full((3, 4, 5), value, np.float32), floor=floor)
