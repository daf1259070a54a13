import pytest
import torch

from common.networks.unet3d import UNet3D


def small():
    return UNet3D(1, 2, dropout=0.1, channels=(3, 4, 5))


def test_it_has_the_parameters_of_the_paper():
    assert sum(p.numel() for p in UNet3D(1, 2, dropout=0.02).parameters()) == 5_645_410


def test_with_instance_norm_the_scale_of_a_scan_does_not_matter():
    torch.manual_seed(0)
    image = torch.randn(1, 1, 16, 12, 8)
    inner = (slice(None), slice(None), *[slice(4, -4)] * 2, slice(2, -2))  # zero padding is not scaled
    changes = []
    for instance_norm in (False, True):
        network = UNet3D(1, 2, dropout=0.0, channels=(3, 4, 5), instance_norm=instance_norm).eval()
        changes.append((network(3 * image) - network(image))[inner].abs().mean().item())

    assert changes[1] < 0.01 * changes[0]


def test_with_instance_norm_nothing_of_earlier_steps_is_left_in_the_answer():
    """With one volume a step, running statistics would be those of the last few volumes."""
    torch.manual_seed(0)
    network, image = UNet3D(1, 2, dropout=0.0, channels=(3, 4, 5), instance_norm=True), torch.randn(1, 1, 16, 12, 8)
    before = network.eval()(image)
    network.train()(5 * torch.randn(1, 1, 16, 12, 8) + 3)

    assert torch.equal(network.eval()(image), before)


def test_sixteen_slices_survive_four_poolings():
    network = UNet3D(1, 2, dropout=0.02, channels=(2, 3, 4, 5, 6)).eval()

    assert network(torch.rand(1, 1, 48, 32, 16)).shape == (1, 2, 48, 32, 16)


def test_it_returns_logits_not_probabilities():
    logits = small().eval()(torch.rand(1, 1, 8, 12, 4))

    assert not torch.allclose(logits.sum(1), torch.ones(1, 8, 12, 4), atol=0.1)


def test_skips_carry_detail_that_pooling_loses():
    """A single voxel, which max-pooling can place to 4 voxels only, changes the logits there the most."""
    network = small().eval()
    image = torch.zeros(1, 1, 16, 12, 8)
    brighter = image.clone()
    brighter[0, 0, 9, 6, 3] = 5

    change = (network(brighter) - network(image)).abs().sum(1)[0]

    assert change[8:11, 5:8, 2:5].mean() > 2 * change.mean()


def test_a_volume_does_not_depend_on_its_batch_mates_once_trained():
    network = small()
    network(torch.rand(4, 1, 8, 12, 4))
    network.eval()
    images = torch.rand(3, 1, 8, 12, 4)

    torch.testing.assert_close(network(images[1:2]), network(images)[1:2])


def test_indivisible_sizes_are_refused_with_the_divisor():
    with pytest.raises(ValueError, match=r"halves every edge 2 times, so that each must be divisible by 4"):
        small()(torch.rand(1, 1, 8, 10, 4))


def test_it_can_be_scripted():
    network, image = small().eval(), torch.rand(1, 1, 8, 12, 4)

    torch.testing.assert_close(torch.jit.script(network)(image), network(image))
