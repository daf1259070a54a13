"""Arithmetic of forward passes: fp32, half of it, or what the machine at hand does faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["INFERENCE", "TRAINING", "autocast", "checked_precision", "dtype_of", "has_bf16"]

TRAINING = ("auto", "fp32", "bf16")
INFERENCE = (*TRAINING, "fp16")
CONVOLUTIONS = (F.conv2d, F.conv3d, F.conv_transpose2d, F.conv_transpose3d)
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
    if device.type == "cpu" and torch.is_grad_enabled():
        return _trained_on_cpu(dtype)
    return torch.autocast(device.type, dtype=dtype)


@contextmanager
def _trained_on_cpu(dtype: torch.dtype) -> Iterator[None]:
    with torch.autocast("cpu", dtype=dtype), _TinyMapsInFp32():
        yield


class _TinyMapsInFp32(TorchFunctionMode):
    """Convolutions of maps that are smaller than the kernel along some axis are computed in fp32.

    In half precision, oneDNN leaves a part of such a kernel's gradient unwritten (a 3x3x3 kernel on 2x2x1 voxels: a
    third of it; a 7x7x7 one on 4x4x1 even ends the process), so that what the memory held before goes into the weights.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in CONVOLUTIONS and _is_tiny(args[0], args[1]):
            with torch.autocast("cpu", enabled=False):
                full = [arg.float() if isinstance(arg, torch.Tensor) else arg for arg in args]
                return func(*full, **{k: v.float() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()})
        return func(*args, **kwargs)


def _is_tiny(x: torch.Tensor, kernel: torch.Tensor) -> bool:
    return any(edge < width for edge, width in zip(x.shape[2:], kernel.shape[2:]))
