"""Arithmetic of forward passes: fp32, half of it, or what the machine at hand does faster."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import torch

__all__ = ["INFERENCE", "TRAINING", "autocast", "checked_precision", "dtype_of", "has_bf16"]

TRAINING = ("auto", "fp32", "bf16")
INFERENCE = (*TRAINING, "fp16")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def checked_precision(precision: str, known: tuple[str, ...]) -> str:
    """`precision` itself, if it is known.

    Raises:
        ValueError: it is not.
    """
    if precision not in known:
        raise ValueError(f"precision is one of {', '.join(known)}, not {precision!r}.")
    return precision


@cache
def has_bf16(device: str) -> bool:
    """Whether a kind of device ("cuda", "cpu") has bf16 in hardware.

    A processor without it computes bf16 convolutions in software, here some hundred times slower than fp32.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def dtype_of(device: torch.device, precision: str) -> torch.dtype:
    """The type that a precision means on a device; "auto" is bf16 where the device has it, else fp32."""
    if precision == "auto":
        precision = "bf16" if has_bf16(device.type) else "fp32"
    return DTYPES[precision]


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Context for forward passes. bf16 has the range of fp32, so that no loss scaling is needed.

    Args:
        device: where the networks are.
        precision: fp32, bf16, fp16 (inference only), or "auto": bf16 where the device has it, else fp32.
    """
    dtype = dtype_of(device, precision)
    if dtype == torch.float32:
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=dtype)
