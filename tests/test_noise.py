from __future__ import annotations

import numpy as np
import pytest

from common.appearance import appearances
from common.datalists import Case, write_dataset
from common.grids import grid_affine, write_volume
from common.noise import add_rician, missing_noise, noise_level

SIZE = (40, 48, 7)
GREY = {0: -1.0, 1: 0.0, 3: 0.25, 27: -0.8, 28: 0.9}


def brain() -> tuple[np.ndarray, np.ndarray]:
    """A label map with folds of cortex, CSF and a lesion, and a noise-free image with a bias field."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    radius = np.hypot(x, y) + 0.05 * np.sin(9 * np.arctan2(y, x)) + 0.1 * z**2
    label_map = np.select([radius < 0.15, radius < 0.6, radius < 0.75, radius < 0.9], [27, 1, 3, 27], 0).astype(
        np.uint8
    )
    label_map[10:16, 20:28, 2:5] = 28
    image = np.vectorize(GREY.get)(label_map) + np.where(label_map > 0, 0.15 * x + 0.1 * y**2, 0)
    return image.astype(np.float32), label_map


def write_real(folder, levels: list[float]):
    """A data set whose training images have the given noise."""
    image, label_map = brain()
    cases = []
    for number, sigma in enumerate(levels):
        paths = {key: folder / key / f"s{number}.nii.gz" for key in ("image", "label", "anatomy")}
        rng = np.random.default_rng(number)
        write_volume(paths["image"], add_rician(image, label_map > 0, sigma, rng), grid_affine(SIZE))
        write_volume(paths["label"], (label_map == 28).astype(np.uint8), grid_affine(SIZE))
        write_volume(paths["anatomy"], np.where(label_map == 28, 1, label_map).astype(np.uint8), grid_affine(SIZE))
        cases.append(Case(f"s{number}", "stroke", "training", sidecar=None, **paths))
    header = {"name": "n", "simulated": True, "synthetic": False, "size": SIZE, "affine": grid_affine(SIZE)}
    return write_dataset(folder, header, cases)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.12])
def test_noise_level_recovers_the_noise_of_a_structured_brain_within_a_fifth(sigma):
    image, label_map = brain()

    noisy = add_rician(image, label_map > 0, sigma, np.random.default_rng(1))

    assert noise_level(noisy, label_map) == pytest.approx(sigma, rel=0.2)


def test_noise_level_of_a_noise_free_brain_is_small_whatever_its_structure():
    image, label_map = brain()

    assert noise_level(image, label_map) < 0.004


def test_noise_level_does_not_change_with_the_lesion():
    image, label_map = brain()
    noisy = add_rician(image, label_map > 0, 0.05, np.random.default_rng(1))
    mottled = np.where(label_map == 28, np.random.default_rng(2).uniform(-1, 1, SIZE), noisy)

    # Only voxels whose neighbours are all white matter count, so a lesion takes its rim with it.
    assert noise_level(mottled, label_map) == noise_level(noisy, label_map)


def test_noise_level_without_white_matter_comes_from_inside_other_tissue():
    image, label_map = brain()
    deep_grey = np.where(label_map == 1, 11, label_map)
    noisy = add_rician(image, label_map > 0, 0.08, np.random.default_rng(1))

    assert noise_level(noisy, deep_grey) == pytest.approx(0.08, rel=0.2)


def test_noise_level_of_an_empty_image_is_nan():
    assert np.isnan(noise_level(np.full(SIZE, -1.0), np.zeros(SIZE, np.uint8)))


def test_noise_made_up_to_the_target_is_measured_as_the_target():
    image, label_map = brain()
    smooth = add_rician(image, label_map > 0, 0.04, np.random.default_rng(1))
    own = noise_level(smooth, label_map)

    noisy = add_rician(smooth, label_map > 0, missing_noise(0.1, own), np.random.default_rng(2))

    assert noise_level(noisy, label_map) == pytest.approx(0.1, rel=0.1)


def test_image_that_is_noisier_than_the_target_gets_nothing():
    image, label_map = brain()

    assert missing_noise(0.03, 0.05) == 0
    np.testing.assert_allclose(add_rician(image, label_map > 0, 0.0, np.random.default_rng(0)), image, atol=1e-6)


def test_rician_noise_stays_in_the_brain_and_in_range():
    image, label_map = brain()

    noisy = add_rician(image, label_map > 0, 0.5, np.random.default_rng(0))

    assert (noisy[label_map == 0] == -1).all()
    assert noisy.min() >= -1
    assert noisy.max() <= 1
    assert (noisy[label_map > 0] != image[label_map > 0]).mean() > 0.95


def test_rician_noise_lifts_what_is_dark():
    dark = np.full((20, 21, 22), -1.0)

    noisy = add_rician(dark, np.ones(dark.shape, bool), 0.1, np.random.default_rng(0))

    assert noisy.mean() + 1 == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.02)  # Rayleigh


def test_levels_of_a_data_set_are_those_of_its_training_images(tmp_path):
    dataset = write_real(tmp_path, [0.03, 0.1])

    np.testing.assert_allclose([a.noise for a in appearances(dataset.cases, dataset)], [0.03, 0.1], rtol=0.2)
