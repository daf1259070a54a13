import pytest
import torch
from torch import nn

from common.networks.patchgan import PatchDiscriminator


def without_norms(network):
    """Instance norm lets every pixel reach every logit a little; the patch is what the convolutions see."""
    layers = [nn.Identity() if isinstance(layer, nn.InstanceNorm2d) else layer for layer in network.layers]
    network.layers = nn.Sequential(*layers)
    return network


def test_parameters_are_half_of_what_the_paper_counted():
    assert 2 * sum(p.numel() for p in PatchDiscriminator(30).parameters()) == 888_898


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
