import pytest
import torch
from torch.nn import functional as F

from common.networks.lesion_gan import Critic, HalvingConv, LesionGenerator

SIZE = (32, 16, 8)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def small_generator():
    return LesionGenerator(latent_size=6, size=SIZE, channels=(8, 4, 3))


def test_generator_has_the_parameters_of_the_paper_with_a_flat_start():
    assert count(LesionGenerator()) == 1_006_560


def test_critic_has_the_parameters_of_the_authors_code_with_two_channels():
    assert count(Critic()) == 22_104_656
    assert count(Critic(in_channels=1)) == 22_103_656


def test_masks_are_probabilities_on_the_asked_grid():
    masks = small_generator()(torch.randn(2, 6) * 10)

    assert masks.shape == (2, 2, *SIZE)
    assert masks.min() >= 0
    torch.testing.assert_close(masks.sum(1), torch.ones(2, *SIZE))


def test_generator_is_the_chain_of_the_paper():
    """Convolution, instance norm, doubling, leaky ReLU per stage; computed plainly, from the same weights."""
    network = small_generator()
    noise = torch.randn(2, 6)
    kernels = [p for p in network.layers.parameters() if p.ndim == 5]

    def double(x):
        return F.interpolate(x, scale_factor=2.0, mode="nearest")

    x = network.dense(noise).reshape(2, 8, 4, 2, 1)
    x = F.conv3d(F.leaky_relu(F.instance_norm(x), 0.2), kernels[0], padding=1)
    for kernel in kernels[1:]:
        x = F.leaky_relu(double(F.instance_norm(x)), 0.2)
        x = F.conv3d(x, kernel.transpose(0, 1).flip(2, 3, 4), padding=kernel.shape[-1] // 2)

    torch.testing.assert_close(network(noise), x.softmax(1), atol=1e-5, rtol=1e-4)


def test_a_mask_depends_on_its_own_noise_only():
    network = small_generator()
    noise = torch.randn(3, 6)

    torch.testing.assert_close(network(noise)[1:2], network(noise[1:2]))
    assert not torch.allclose(network(noise)[0], network(noise)[1])


@pytest.mark.parametrize("size", [(32, 16, 12), (8, 8, 8)])
def test_a_size_that_does_not_fit_the_stages_is_refused(size):
    with pytest.raises(ValueError, match="divisible by 8, and one of them at least 16"):
        LesionGenerator(6, size, (8, 4, 3))


@pytest.mark.parametrize("size", [(32, 16, 8), (24, 20, 7)])
def test_critic_judges_each_mask_alone(size):
    critic = Critic(size, filters=2)
    masks = torch.rand(3, 2, *size)

    scores = critic(masks)

    assert scores.shape == (3, 1)
    torch.testing.assert_close(critic(masks[2:]), scores[2:])


def test_critic_sees_every_voxel():
    critic = Critic(SIZE, filters=2)
    mask = torch.rand(1, 2, *SIZE, requires_grad=True)

    critic(mask).sum().backward()

    assert (mask.grad != 0).all()


def test_both_can_be_scripted():
    noise, mask = torch.randn(2, 6), torch.rand(2, 2, *SIZE)
    for network, x in ((small_generator(), noise), (Critic(SIZE, 2), mask)):
        torch.testing.assert_close(torch.jit.script(network)(x), network(x))


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 1), (4, 2, 1), (3, 4, 2), (8, 6, 5)])
def test_a_halving_convolution_leaves_out_only_what_meets_zeros(size):
    torch.manual_seed(0)
    layer = HalvingConv(2, 3).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    answers = [layer(x), F.conv3d(x, layer.weight, stride=2, padding=2)]
    ours, plain = ([y, *torch.autograd.grad(y.square().sum(), [x, layer.weight])] for y in answers)

    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)
