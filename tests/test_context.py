import pytest
import torch

from common.context import label_channels, neighbours


def test_neighbours_stand_in_order_and_the_border_repeats():
    assert neighbours(5, 2).tolist() == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
        [0, 1, 2, 3, 4],
        [1, 2, 3, 4, 4],
        [2, 3, 4, 4, 4],
    ]


def test_without_context_there_is_the_slice_alone():
    assert torch.equal(neighbours(4, 0), torch.arange(4)[:, None])
    assert label_channels(29, 0, 2) == label_channels(29, 0, 3) == 29


def test_every_slice_of_the_context_brings_all_labels():
    assert label_channels(7, 2, 2) == 5 * 7


@pytest.mark.parametrize(("context", "spatial_dims"), [(-1, 2), (1, 3)])
def test_a_context_that_cannot_be_is_refused(context, spatial_dims):
    with pytest.raises(ValueError, match=f"context is {context} with spatial_dims {spatial_dims}"):
        label_channels(29, context, spatial_dims)
