"""Translate a label map into an image with a trained network."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .prediction import PRECISIONS

__all__ = ["default_device", "translate_volume"]


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@torch.inference_mode()
def translate_volume(
    network: nn.Module, label_map: np.ndarray, num_labels: int, precision: str, batch_size: int | None = None
) -> np.ndarray:
    """Translate a label map, slice by slice, into an image.

    Args:
        network: (B, num_labels, H, W), one-hot -> (B, 1, H, W) in [-1, 1]; in eval mode.
        label_map: (H, W, D), ids below `num_labels`; 0 is background.
        num_labels: channels of the network's input.
        precision: fp32, bf16 or fp16.
        batch_size: axial slices per pass; None: all of them. It changes the time, not the result.

    Returns:
        float32 (H, W, D) in [-1, 1], exactly -1 in the background.
    """
    if label_map.max() >= num_labels:
        raise ValueError(f"the label map holds id {label_map.max()}, but the translator knows 0 to {num_labels - 1}.")
    device, reduced = next(network.parameters()).device, PRECISIONS[precision]
    slices = torch.from_numpy(np.ascontiguousarray(label_map.transpose(2, 0, 1))).to(device).long()  # (D, H, W)
    drawn = []
    for some in slices.split(batch_size or len(slices)):
        one_hot = functional.one_hot(some, num_labels).permute(0, 3, 1, 2).float()  # (B, L, H, W), channels last
        with torch.autocast(device.type, dtype=reduced, enabled=reduced is not None):
            drawn.append(network(one_hot)[:, 0].float())
    image = torch.cat(drawn).permute(1, 2, 0).cpu().numpy().clip(-1, 1)
    return np.where(label_map > 0, image, np.float32(-1))
