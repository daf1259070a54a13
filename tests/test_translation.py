"""Label maps to volumes."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_world import (
    SIZE,
    Flat,
    Translator,
    brain,
)

from common.labels import inject
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


def test_label_that_the_translator_does_not_know_is_refused():
    with pytest.raises(ValueError, match="holds id 5, but the translator knows 0 to 4"):
        translate_volume(Translator(), brain(), 5, "fp32")
