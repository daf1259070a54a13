"""Instance norm against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.networks.instance_norm import InstanceNorm

SHAPES = {"one slice": (1, 4, 6, 5), "slices": (3, 4, 6, 5), "one volume": (1, 4, 6, 5, 3), "volumes": (2, 4, 6, 5, 3)}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_values_and_gradients_are_those_of_pytorchs_in_either_layout(shape, affine):
    torch.manual_seed(0)
    reference = (nn.InstanceNorm2d if len(shape) == 4 else nn.InstanceNorm3d)(4, affine=affine).double()
    ours = InstanceNorm(4, affine).double()
    if affine:
        nn.init.normal_(reference.weight)
        nn.init.normal_(reference.bias)
    ours.load_state_dict(reference.state_dict())
    last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    plain = (3 * torch.randn(shape, dtype=torch.float64) + 1).requires_grad_()
    x = plain.detach().contiguous(memory_format=last).requires_grad_()
    gradient = torch.randn(shape, dtype=torch.float64)

    expected, y = reference(plain), ours(x)
    expected.backward(gradient)
    y.backward(gradient)

    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(x.grad, plain.grad)
    assert y.is_contiguous(memory_format=last)
    for one, other in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_sample_does_not_depend_on_its_batch_mates_nor_on_training_mode():
    x = torch.randn(3, 4, 6, 5)
    norm = InstanceNorm(4)

    torch.testing.assert_close(norm(x)[1:2], norm.eval()(x[1:2]))


def test_it_survives_torchscript():
    x, norm = torch.randn(2, 4, 6, 5), InstanceNorm(4)

    torch.testing.assert_close(torch.jit.script(norm)(x), norm(x))
