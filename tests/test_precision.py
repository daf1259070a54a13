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
