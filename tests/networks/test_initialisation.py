import pytest
import torch
from torch import nn

from common.networks.initialisation import channels_last, initialise_normal, with_channels_last


def test_kernels_are_normal_biases_zero_and_scales_one():
    network = initialise_normal(
        nn.Sequential(nn.Conv2d(30, 40, 5), nn.InstanceNorm2d(40, affine=True), nn.Linear(70, 80))
    )

    for kernel in (network[0].weight, network[2].weight):
        assert abs(kernel.std().item() - 0.02) < 0.001
        assert abs(kernel.mean().item()) < 0.001
    assert not any(bias.any() for bias in (network[0].bias, network[1].bias, network[2].bias))
    assert (network[1].weight == 1).all()


def test_layout_reaches_outputs_and_keeps_values():
    for network, shape, layout in (
        (nn.Conv2d(3, 4, 3), (2, 3, 7, 8), torch.channels_last),
        (nn.Conv3d(3, 4, 3), (2, 3, 7, 8, 9), torch.channels_last_3d),
    ):
        x = torch.randn(shape)
        before = network(x)
        after = channels_last(network)(x)
        assert after.is_contiguous(memory_format=layout)
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("shape", [(2, 1, 6, 4), (2, 3, 6, 4), (2, 1, 6, 4, 2), (2, 3, 6, 4, 2)])
def test_a_batch_with_channels_last_stays_the_same_and_leads_a_convolution_to_that_layout(shape):
    x = torch.randn(shape)
    last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    y = with_channels_last(x)
    convolution = channels_last((nn.Conv2d if len(shape) == 4 else nn.Conv3d)(shape[1], 5, 3, padding=1))

    assert torch.equal(y, x)
    assert convolution(y).is_contiguous(memory_format=last)
    torch.testing.assert_close(convolution(y), convolution(x))
