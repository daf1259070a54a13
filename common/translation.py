"""Translate a label map into an image with a trained network."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .context import neighbours
from .precision import autocast, dtype_of
from .steps.iteration import one_hot

__all__ = ["default_device", "translate_volume"]


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@torch.inference_mode()
def translate_volume(
    network: nn.Module,
    label_map: np.ndarray,
    num_labels: int,
    precision: str,
    batch_size: int | None = None,
    context: int = 0,
    spatial_dims: int = 2,
    seed: int = 0,
) -> np.ndarray:
    """Translate a label map, slice by slice or as a whole, into an image.

    Args:
        network: (B, (2 * context + 1) * num_labels, H, W), one-hot -> (B, 1, H, W) in [-1, 1]; in eval mode. One with
            `draw_noise(slices, generator, device)` takes that noise as its second argument.
        label_map: (H, W, D), ids below `num_labels`; 0 is background.
        num_labels: labels of the network's input.
        precision: fp32, bf16, fp16 or auto, see `common.precision`.
        batch_size: axial slices per pass; None: all of them. It changes the time, not the result.
        context: neighbouring slices on each side that the network sees, see `common.context`.
        spatial_dims: 3 for a network of whole volumes.
        seed: of the network's noise, if it draws any.

    Returns:
        float32 (H, W, D) in [-1, 1], exactly -1 in the background.
    """
    if label_map.max() >= num_labels:
        raise ValueError(f"the label map holds id {label_map.max()}, but the translator knows 0 to {num_labels - 1}.")
    device = next(network.parameters()).device
    if spatial_dims == 3:
        items = torch.from_numpy(np.ascontiguousarray(label_map)).to(device)[None, None]  # (1, 1, H, W, D)
    else:
        slices = torch.from_numpy(np.ascontiguousarray(label_map.transpose(2, 0, 1))).to(device)  # (D, H, W)
        items = slices[neighbours(len(slices), context)]  # (D, S, H, W)
    noise = None
    if hasattr(network, "draw_noise"):
        noise = network.draw_noise(len(items), torch.Generator().manual_seed(seed), device)
    dtype, drawn = dtype_of(device, precision), []
    for some in torch.arange(len(items)).split(batch_size or len(items)):
        inputs = (one_hot(items[some], num_labels, dtype), *([] if noise is None else [noise[some]]))
        with autocast(device, precision):
            drawn.append(network(*inputs)[:, 0].float())
    image = torch.cat(drawn)  # (D, H, W) or (1, H, W, D)
    image = (image[0] if spatial_dims == 3 else image.permute(1, 2, 0)).cpu().numpy().clip(-1, 1)
    return np.where(label_map > 0, image, np.float32(-1))
