import pytest
import torch

from common.networks.noise_input import NoiseInput
from common.networks.pix2pix import UNetGenerator
from common.networks.resnet import ResNetGenerator

SIZE = (16, 24)


def network(kind, noise_channels=2):
    return kind(2, 5, 1, SIZE, dropout=0.0, depth=3, filters=4, noise_channels=noise_channels)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_noise_stands_behind_the_labels():
    maps, noise = torch.rand(3, 5, *SIZE), torch.rand(3, 2, *SIZE)

    both = NoiseInput(2, SIZE)(maps, noise)

    assert torch.equal(both[:, :5], maps)
    assert torch.equal(both[:, 5:], noise)


def test_without_channels_the_label_map_passes_as_it_is():
    maps = torch.rand(3, 5, *SIZE)

    assert NoiseInput(0, SIZE)(maps) is maps


def test_noise_is_standard_normal_and_its_own_in_each_slice():
    noise = NoiseInput(3, (40, 50)).draw(6, seeded(1))

    assert noise.shape == (6, 3, 40, 50)
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.1


@pytest.mark.parametrize("kind", [UNetGenerator, ResNetGenerator])
def test_the_same_seed_draws_the_same_image_and_another_seed_another(kind):
    net, maps = network(kind).eval(), torch.rand(2, 5, *SIZE)
    images = [net(maps, net.draw_noise(2, seeded(seed), "cpu")) for seed in (1, 1, 2)]

    assert torch.equal(images[0], images[1])
    assert (images[0] - images[2]).abs().mean() > 1e-3 * images[0].std()


@pytest.mark.parametrize("kind", [UNetGenerator, ResNetGenerator])
def test_noise_is_fresh_in_training_and_fixed_in_use_whatever_the_batch(kind):
    net, maps = network(kind), torch.rand(3, 5, *SIZE)

    assert not torch.equal(net(maps), net(maps))
    net.eval()
    assert torch.equal(net(maps), net(maps))
    torch.testing.assert_close(net(maps[1:2]), net(maps)[1:2])


def test_noise_adds_its_kernels_to_the_first_convolution_only():
    plain, noisy = (network(UNetGenerator, channels) for channels in (0, 2))
    extra = {
        name: len(noisy.state_dict()[name].flatten()) - len(value.flatten())
        for name, value in plain.state_dict().items()
    }

    assert noisy.state_dict().keys() == plain.state_dict().keys()
    assert {name: n for name, n in extra.items() if n} == {"down.0.0.weight": 2 * 4 * 4 * 4}


def test_building_the_noise_leaves_the_global_seed_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    NoiseInput(2, SIZE).draw(2, seeded(0))

    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("kind", [UNetGenerator, ResNetGenerator])
def test_it_can_be_scripted(kind):
    net, maps = network(kind).eval(), torch.rand(2, 5, *SIZE)

    torch.testing.assert_close(torch.jit.script(net)(maps), net(maps))
