from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from common.datalists import read_dataset
from common.texture import FREQUENCIES, power_spectrum, slice_steps, texture, texture_ratios, textures

SIZE = (64, 72, 9)


def brain() -> np.ndarray:
    """A ring of cortex around white matter with a ventricle and a lesion, a little different in each slice."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    radius = np.hypot(x, y) + 0.1 * z**2
    label_map = np.select([radius < 0.15, radius < 0.65, radius < 0.85], [5, 1, 3], 0).astype(np.uint8)
    label_map[20:28, 30:40, 3:6] = 28
    return label_map


def painted(label_map: np.ndarray) -> np.ndarray:
    """One grey per label under the shading of a coil."""
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    greys = np.zeros(29)
    greys[[0, 1, 3, 5, 28]] = -1, 0, 0.25, -0.8, 0.9
    return greys[label_map] + 0.1 * x - 0.2 * x * y + 0.15 * y**2


@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_spectrum_of_white_noise_is_flat_at_its_variance(sigma):
    noise = np.random.default_rng(0).normal(0, sigma, SIZE)

    power = power_spectrum(painted(brain()) + noise, brain())

    np.testing.assert_allclose(power, sigma**2, rtol=0.12)
    assert power.mean() == pytest.approx(sigma**2, rel=0.03)


def test_spectrum_of_greys_under_a_smooth_shading_is_empty():
    assert power_spectrum(painted(brain()), brain()).max() < 1e-20


def test_spectrum_finds_a_wave_at_its_frequency_and_of_its_variance():
    x, _, _ = np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij")
    for place in (1, 4, 6):
        wave = 0.1 * np.sin(2 * np.pi * FREQUENCIES[place] * x)

        power = power_spectrum(painted(brain()) + wave, brain())

        assert power.argmax() == place
        # All of the variance lies in this ring of the plane of frequencies, whose area is the ring's share of it.
        share = 2 * np.pi * FREQUENCIES[place] * (FREQUENCIES[1] - FREQUENCIES[0])
        assert (power * share).max() < 0.1**2 / 2 * 1.2


def test_blurring_takes_the_fine_part_and_leaves_the_coarse():
    noise = np.random.default_rng(0).normal(0, 0.1, SIZE)
    blurred = ndimage.gaussian_filter(noise, (1, 1, 0))

    ratio = power_spectrum(blurred, brain()) / power_spectrum(noise, brain())

    assert (np.diff(ratio[:5]) < 0).all()
    transfer = np.exp(-((2 * np.pi * FREQUENCIES) ** 2))  # of a Gaussian of one pixel, squared
    np.testing.assert_allclose(ratio[:3], transfer[:3], rtol=0.2)


def test_lesions_do_not_count():
    label_map, rng = brain(), np.random.default_rng(0)
    image = painted(label_map) + rng.normal(0, 0.05, SIZE)
    mottled = np.where(label_map == 28, rng.uniform(-1, 1, SIZE), image)

    np.testing.assert_array_equal(power_spectrum(mottled, label_map), power_spectrum(image, label_map))
    assert slice_steps(mottled, label_map) == slice_steps(image, label_map)


def test_steps_order_smooth_real_and_shuffled_slices():
    label_map, rng = brain(), np.random.default_rng(0)
    drift = 0.05 * np.array([0, 1, 0.5, 1.5, 1, 2, 1.5, 2.5, 2])  # brighter upwards, not evenly
    real = painted(label_map) + drift + rng.normal(0, 0.05, SIZE)
    smooth = ndimage.gaussian_filter1d(real, 1.5, axis=2)
    shuffled = real[:, :, [4, 0, 7, 2, 8, 1, 5, 3, 6]]

    smooth, real, shuffled = (slice_steps(image, label_map) for image in (smooth, real, shuffled))

    assert 1.5 * smooth < real < shuffled / 1.5


def test_steps_are_the_brightness_that_changes_from_slice_to_slice():
    flicker = 0.08 * (np.arange(SIZE[2]) % 2)

    assert slice_steps(painted(brain()) + flicker, brain()) == pytest.approx(0.08, rel=0.02)
    assert slice_steps(painted(brain()), brain()) < 0.003


def test_grain_hardly_counts_as_steps():
    noise = np.random.default_rng(0).normal(0, 0.1, SIZE)

    assert slice_steps(painted(brain()) + noise, brain()) < 0.03  # its own difference of slices would be 0.11


def test_texture_of_nothing_is_nan():
    empty = np.zeros(SIZE, np.uint8)

    assert np.isnan(power_spectrum(np.full(SIZE, -1.0), empty)).all()
    assert np.isnan(slice_steps(np.full(SIZE, -1.0), empty))


def test_ratios_say_how_much_of_the_real_texture_there_is():
    label_map, rng = brain(), np.random.default_rng(0)
    noise, flicker = rng.normal(0, 0.1, SIZE), 0.05 * rng.normal(0, 1, SIZE[2])
    real, half = (texture(painted(label_map) + share * (noise + flicker), label_map) for share in (1, 0.5))

    assert texture_ratios(real, real) == {"noise": 1, "coarse": 1, "fine": 1, "steps": 1}
    for name, ratio in texture_ratios(half, real).items():
        assert ratio == pytest.approx(0.5, rel=0.05), name


def test_textures_of_a_data_set_are_those_of_its_cases(dataset):
    cases = read_dataset(dataset).select("training", has_lesion=True)

    found = textures(cases)

    assert len(found) == len(cases)
    assert all(0.02 < entry.noise < 0.1 for entry in found)  # 0.05 was put in
