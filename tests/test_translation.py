"""Label maps to volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic_world import (
    SIZE,
    Flat,
    Translator,
    brain,
)

from common.labels import inject
from common.networks.pix2pix import UNetGenerator
from common.synthesis import translate_volume


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_translation_does_not_depend_on_the_batch(batch_size):
    label_map = inject(brain(), np.pad(np.ones((4, 5, 3)), [(9, 11), (10, 17), (5, 8)]))

    image = translate_volume(Translator().eval(), label_map, 29, "fp32", batch_size)

    np.testing.assert_allclose(image, translate_volume(Translator().eval(), label_map, 29, "fp32"), atol=1e-5)


def test_translation_keeps_slices_in_place_and_clears_the_background():
    image = translate_volume(Flat(), brain(), 29, "fp32")

    np.testing.assert_allclose(image[brain() > 0], brain()[brain() > 0] / 100, rtol=1e-6)
    assert (image[brain() == 0] == -1).all()


def test_translation_is_of_axial_one_hot_slices():
    shapes = []
    network = Flat()
    network.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))

    translate_volume(network, brain(), 29, "fp32")

    assert shapes == [(SIZE[2], 29, *SIZE[:2])]


class Weighted(torch.nn.Module):
    """Paints 100 * label of the slice below + 10 * label + label of the slice above, in thousandths."""

    def __init__(self):
        super().__init__()
        weights = torch.tensor([100.0, 10.0, 1.0])[:, None] * torch.arange(10.0)
        self.weights = torch.nn.Parameter(weights.flatten() / 1000)

    def forward(self, label_map):
        return (label_map * self.weights[:, None, None]).sum(1, keepdim=True)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_context_is_the_slice_below_the_slice_and_the_slice_above(batch_size):
    numbered = np.broadcast_to(np.arange(1, 6, dtype=np.uint8), (4, 7, 5))

    image = translate_volume(Weighted(), numbered, 10, "fp32", batch_size, context=1)

    expected = np.array([0.112, 0.123, 0.234, 0.345, 0.455])  # the border slices repeat
    np.testing.assert_allclose(image, np.broadcast_to(expected, image.shape), rtol=1e-5)


def test_a_network_of_volumes_sees_the_whole_label_map():
    shapes = []
    network = Flat()
    network.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))

    image = translate_volume(network, brain(), 29, "fp32", spatial_dims=3)

    assert shapes == [(1, 29, *SIZE)]
    np.testing.assert_array_equal(image, translate_volume(Flat(), brain(), 29, "fp32"))


def test_noise_follows_from_the_seed_alone():
    torch.manual_seed(0)
    network = UNetGenerator(2, 29, 1, SIZE[:2], dropout=0.0, filters=4, noise_channels=3).eval()
    images = [
        translate_volume(network, brain(), 29, "fp32", size, seed=seed) for seed, size in ((1, None), (1, 3), (2, None))
    ]

    np.testing.assert_allclose(images[0], images[1], atol=1e-5)
    assert np.abs(images[0] - images[2])[brain() > 0].mean() > 1e-4
    alike = brain()[:, :, 7] == brain()[:, :, 8]
    assert np.abs(images[0][:, :, 7] - images[0][:, :, 8])[alike & (brain()[:, :, 7] > 0)].mean() > 1e-4


def test_label_that_the_translator_does_not_know_is_refused():
    with pytest.raises(ValueError, match="holds id 5, but the translator knows 0 to 4"):
        translate_volume(Translator(), brain(), 5, "fp32")
