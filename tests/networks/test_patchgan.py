import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.networks.instance_norm import InstanceNorm
from common.networks.patchgan import MultiScaleDiscriminator, PatchDiscriminator


def without_norms(network):
    """Instance norm lets every pixel reach every logit a little; the patch is what the convolutions see."""
    layers = [nn.Identity() if isinstance(layer, InstanceNorm) else layer for layer in network.layers]
    network.layers = nn.Sequential(*layers)
    return network


def test_parameters_are_half_of_what_the_paper_counted():
    assert 2 * sum(p.numel() for p in PatchDiscriminator(30).parameters()) == 888_898


@pytest.mark.parametrize(("channels", "parameters"), [(1, 429_601), (29, 443_937)])
def test_without_a_condition_it_has_512_parameters_less_per_channel(channels, parameters):
    assert sum(p.numel() for p in PatchDiscriminator(channels).parameters()) == parameters


@pytest.mark.parametrize("edge", [70, 34])
def test_a_logit_sees_a_patch_of_the_named_size(edge):
    network = without_norms(PatchDiscriminator(2, filters=(2, 3, 4), receptive_field=edge)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_().add_(0.1)  # nothing cancels
    image = torch.rand(1, 2, 160, 168, dtype=torch.float64, requires_grad=True)

    logits = network(image)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()

    rows, columns = image.grad[0].abs().sum(0).nonzero().T
    assert rows.max() - rows.min() + 1 == edge
    assert columns.max() - columns.min() + 1 == edge


def test_it_judges_image_and_label_map_together():
    network = PatchDiscriminator(4, filters=(4, 5, 6))
    image, labels = torch.rand(2, 1, 32, 40), torch.rand(2, 3, 32, 40)

    logits = network(image, labels)

    assert logits.shape == (2, 1, 4, 5)
    torch.testing.assert_close(network(torch.cat([image, labels], 1)), logits)
    assert not torch.allclose(network(image, labels.flip(1)), logits)


def test_a_pair_is_judged_alone():
    network = PatchDiscriminator(3, filters=(4, 5, 6))
    pairs = torch.rand(3, 3, 24, 32)

    torch.testing.assert_close(network(pairs[2:]), network(pairs)[2:])


def test_another_receptive_field_is_refused():
    with pytest.raises(ValueError, match="receptive_field is 70 or 34"):
        PatchDiscriminator(30, receptive_field=46)


def test_it_can_be_scripted():
    network, pair = PatchDiscriminator(3, filters=(4, 5, 6)), torch.rand(2, 3, 24, 32)

    torch.testing.assert_close(torch.jit.script(network)(pair), network(pair))


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm is one of instance, spectral, not 'batch'"):
        PatchDiscriminator(30, norm="batch")


def test_spectral_norm_bounds_every_convolution_and_replaces_instance_norm():
    network, pair = PatchDiscriminator(3, filters=(4, 5, 6), norm="spectral"), torch.rand(2, 3, 24, 32)
    for _ in range(50):  # each pass in training improves the estimate of the largest singular value
        network(pair)

    convolutions = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 5
    for layer in convolutions:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-2)
    assert not any(isinstance(layer, InstanceNorm) for layer in network.layers)


def test_features_are_those_before_the_logits():
    network, pair = PatchDiscriminator(3, filters=(4, 5, 6)), torch.rand(2, 3, 24, 32)
    logits, (features,) = network.judge(pair)

    torch.testing.assert_close(logits, network(pair))
    assert [feature.shape[1] for feature in features] == [4, 5, 6, 6]
    torch.testing.assert_close(network.layers[-2:](features[-1]), logits)


def several(scales=2, norm="instance"):
    torch.manual_seed(0)
    return MultiScaleDiscriminator(scales, 4, (4, 5, 6), norm)


def test_one_scale_is_the_patch_discriminator_of_the_paper():
    network, image, labels = several(1), torch.rand(2, 1, 32, 48), torch.rand(2, 3, 32, 48)

    torch.testing.assert_close(network(image, labels), network.scales[0](image, labels))
    paper = MultiScaleDiscriminator(1, 30, (32, 64, 128), "instance")
    assert sum(p.numel() for p in paper.parameters()) == 444_449


def test_the_second_scale_judges_the_image_at_half_its_size():
    network, image, labels = several(), torch.rand(2, 1, 32, 48), torch.rand(2, 3, 32, 48)
    logits, features = network.judge(image, labels)
    half = F.avg_pool2d(torch.cat([image, labels], 1), 3, 2, padding=1, count_include_pad=False)

    torch.testing.assert_close(logits[:, :1], network.scales[0](image, labels))
    small = network.scales[1](half)
    assert half.shape[2:] == (16, 24)
    assert small.shape[2:] == (2, 3)
    torch.testing.assert_close(logits[:, 1:], small.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert [len(layers) for layers in features] == [4, 4]


def test_scales_weigh_the_same_in_a_mean():
    network, image, labels = several(), torch.rand(1, 1, 32, 48), torch.rand(1, 3, 32, 48)
    coarse = F.avg_pool2d(torch.cat([image, labels], 1), 3, 2, padding=1, count_include_pad=False)
    means = [network.scales[0](image, labels).mean(), network.scales[1](coarse).mean()]

    torch.testing.assert_close(network(image, labels).mean(), sum(means) / 2)


@pytest.mark.parametrize("norm", ["instance", "spectral"])
def test_several_scales_judge_a_pair_alone_and_learn_from_both(norm):
    network, image, labels = several(norm=norm).eval(), torch.rand(3, 1, 32, 48), torch.rand(3, 3, 32, 48)

    torch.testing.assert_close(network(image[1:2], labels[1:2]), network(image, labels)[1:2])
    network(image, labels).square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
