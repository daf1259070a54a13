"""How a network is called at inference."""

from __future__ import annotations

import torch
from monai.inferers import Inferer

from .precision import INFERENCE, autocast, checked_precision

__all__ = ["PrecisionInferer"]


class PrecisionInferer(Inferer):
    """Whole volumes in one pass, in a precision (`common.precision`); the answer is fp32."""

    def __init__(self, precision: str = "auto"):
        super().__init__()
        self.precision = checked_precision(precision, INFERENCE)

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        with torch.inference_mode(), autocast(inputs.device, self.precision):
            return network(inputs, *args, **kwargs).float().clone()
