import pytest
import torch
from torch import nn

from common import precision as module
from common.precision import INFERENCE, TRAINING, autocast, checked_precision, has_bf16

CPU = torch.device("cpu")


def dtype_in(precision: str) -> torch.dtype:
    with autocast(CPU, precision):
        return nn.Linear(3, 2)(torch.rand(1, 3)).dtype


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_precision_is_that_of_the_forward_pass(precision, dtype):
    assert dtype_in(precision) == dtype


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ],
)
def test_auto_is_bf16_only_where_the_processor_has_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(module.torch.cpu, "get_capabilities", lambda: capabilities)
    has_bf16.cache_clear()
    try:
        assert dtype_in("auto") == dtype
    finally:
        has_bf16.cache_clear()


def test_fp16_is_for_inference_only():
    assert checked_precision("fp16", INFERENCE) == "fp16"
    with pytest.raises(ValueError, match="auto, fp32, bf16, not 'fp16'"):
        checked_precision("fp16", TRAINING)


def gradient(precision: str, seed: int) -> torch.Tensor:
    """Of a 3x3x3 kernel on maps of 2x2x1 voxels, in memory that held NaN before."""
    torch.manual_seed(seed)
    layer = nn.Conv3d(16, 16, 3, padding=1).to(memory_format=torch.channels_last_3d)
    maps = torch.randn(2, 16, 2, 2, 1).to(memory_format=torch.channels_last_3d)
    nothing = [torch.full((2**power,), torch.nan) for power in range(3, 19) for _ in range(8)]
    del nothing
    with autocast(CPU, precision):
        answer = layer(maps)
    answer.float().square().mean().backward()
    return layer.weight.grad


@pytest.mark.parametrize("seed", range(20))
def test_a_kernel_larger_than_the_map_gets_no_gradient_from_left_over_memory(seed):
    found = gradient("bf16", seed)
    assert not found[..., [0, 2]].any()  # these parts of the kernel only ever meet the padding
    torch.testing.assert_close(found, gradient("fp32", seed), rtol=1e-5, atol=1e-7)


def test_larger_maps_are_convolved_in_half_precision():
    with autocast(CPU, "bf16"):
        assert nn.Conv3d(2, 3, 3, padding=1)(torch.rand(1, 2, 4, 4, 4)).dtype == torch.bfloat16
        assert nn.Conv3d(2, 3, 3, padding=1)(torch.rand(1, 2, 4, 4, 2)).dtype == torch.float32
