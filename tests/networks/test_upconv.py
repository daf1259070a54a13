import pytest
import torch
from torch.nn import functional as F

from common.networks.upconv import UpConv


def doubled_then_convolved(x: torch.Tensor, layer: UpConv) -> torch.Tensor:
    axes = tuple(range(2, x.ndim))
    kernel = layer.weight.transpose(0, 1).flip(axes)
    size = kernel.shape[-1]
    before = (size - 1) // 2
    padded = F.pad(F.interpolate(x, scale_factor=2.0, mode="nearest"), (before, size - 1 - before) * len(axes))
    return (F.conv2d if len(axes) == 2 else F.conv3d)(padded, kernel, layer.bias)


@pytest.mark.parametrize("kernel_size", [3, 4, 5, 7])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 3, 1, 1), (2, 3, 4, 3, 2), (1, 2, 2, 1, 3)])
def test_it_equals_doubling_then_convolving_with_its_gradients(kernel_size, shape):
    layer = UpConv(len(shape) - 2, shape[1], 5, kernel_size).double()
    torch.nn.init.normal_(layer.bias)
    inputs = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    variables = [inputs, layer.weight, layer.bias]

    fast, plain = layer(inputs), doubled_then_convolved(inputs, layer)
    direction = torch.randn_like(plain)

    torch.testing.assert_close(fast, plain)
    for ours, theirs in zip(
        torch.autograd.grad(fast, variables, direction), torch.autograd.grad(plain, variables, direction)
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_kernel_too_small_is_refused():
    with pytest.raises(ValueError, match="kernel_size of 3 or more"):
        UpConv(2, 1, 1, 2)
