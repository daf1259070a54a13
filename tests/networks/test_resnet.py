import pytest
import torch

from common.networks.resnet import ResNetGenerator


def small(size=(16, 24), depth=2, **options):
    return ResNetGenerator(len(size), 5, 1, size, dropout=0.3, depth=depth, filters=4, **options)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_its_parameters_are_those_of_its_layers():
    width = 256
    ends = (29 * 49 + 1) * 64 + 2 * 64 + 64 * 49 + 1
    halvings = (64 * 9 + 1) * 128 + 2 * 128 + (128 * 9 + 1) * 256 + 2 * 256
    doublings = (256 * 9 + 1) * 128 + 2 * 128 + (128 * 9 + 1) * 64 + 2 * 64
    block = 2 * ((width * 9 + 1) * width + 2 * width)

    network = ResNetGenerator(2, 29, 1, (128, 128), dropout=0.3, depth=6)

    assert parameters(network) == ends + halvings + doublings + 6 * block


def test_a_block_adds_its_input():
    block = next(layer for layer in small().layers if hasattr(layer, "layers"))
    torch.nn.init.zeros_(block.layers[-1].weight)  # the last norm's scale: the block itself says nothing
    x = torch.rand(2, 16, 5, 6)

    assert torch.equal(block(x), x)


@pytest.mark.parametrize("size", [(16, 24), (12, 20), (8, 16, 24)])
def test_images_stay_in_range_on_the_grid_of_the_map(size):
    network = small(size).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 5

    image = network(torch.rand(2, 5, *size))

    assert image.shape == (2, 1, *size)
    assert image.abs().max() <= 1
    assert image.std() > 0.01


def test_an_image_does_not_depend_on_its_batch_mates():
    network, maps = small().eval(), torch.rand(3, 5, 16, 24)

    torch.testing.assert_close(network(maps[1:2]), network(maps)[1:2])


def test_every_parameter_is_used():
    network = small()
    network(torch.rand(2, 5, 16, 24)).square().sum().backward()

    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("size", "depth"), [((16, 18), 2), ((16, 24), 0), ((16, 24), None)])
def test_a_size_or_depth_that_does_not_fit_is_refused(size, depth):
    with pytest.raises(ValueError, match="every edge must be a multiple of 4, and depth is the number"):
        small(size, depth)
