import pytest
import torch

from common.networks.pix2pix import UNetGenerator


def small(size=(16, 24), **options):
    return UNetGenerator(len(size), 5, 1, size, dropout=0.3, filters=4, **options)


def test_seven_levels_have_the_parameters_of_the_paper():
    network = UNetGenerator(2, 29, 1, (128, 128), dropout=0.3)

    assert len(network.down) == 7
    # 41,857,025 with the innermost norm, whose 2 x 512 parameters do nothing on a single pixel.
    assert sum(p.numel() for p in network.parameters()) == 41_856_001


def test_six_levels_have_the_parameters_of_the_authors_later_code():
    network = UNetGenerator(2, 29, 1, (128, 128), dropout=0.3, depth=6)

    assert sum(p.numel() for p in network.parameters()) == 29_271_041


@pytest.mark.parametrize("depth", [2, 4])
def test_a_depth_that_the_size_does_not_allow_is_refused(depth):
    with pytest.raises(ValueError, match=r"size \(16, 24\) can be halved 3 to 3 times"):
        small(depth=depth)


def test_from_image_to_label_map_it_has_more_outputs_and_fewer_inputs():
    reverse = UNetGenerator(2, 1, 29, (128, 128), dropout=0.3)

    # 28 input channels less, each 16 x 64 weights; 28 output channels more, each 16 x 128 weights and a bias.
    assert sum(p.numel() for p in reverse.parameters()) == 41_856_001 - 28 * 16 * 64 + 28 * (16 * 128 + 1)


def test_without_tanh_the_output_has_no_bounds():
    network = small(tanh=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 50

    assert network(torch.rand(1, 5, 16, 24)).abs().max() > 1


@pytest.mark.parametrize(("size", "levels"), [((64, 64), 6), ((96, 96), 5), ((16, 24), 3), ((16, 24, 8), 3)])
def test_depth_follows_from_the_size(size, levels):
    assert len(small(size).down) == levels


@pytest.mark.parametrize("size", [(16, 24), (16, 16), (8, 16, 24)])
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
    network = small().eval()
    maps = torch.rand(3, 5, 16, 24)

    torch.testing.assert_close(network(maps[1:2]), network(maps)[1:2])


def test_dropout_acts_in_training_only():
    network, maps = small(), torch.rand(1, 5, 16, 24)

    assert not torch.equal(network(maps), network(maps))
    network.eval()
    assert torch.equal(network(maps), network(maps))


def test_every_parameter_is_used():
    network = small((16, 16))
    network(torch.rand(2, 5, 16, 16)).square().sum().backward()

    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match=r"\(100, 100\) can be halved only 2 times"):
        small((100, 100))


def test_it_can_be_scripted():
    network, maps = small().eval(), torch.rand(2, 5, 16, 24)

    torch.testing.assert_close(torch.jit.script(network)(maps), network(maps))
