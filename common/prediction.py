"""Segment the images of a data set with a trained network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

from .datalists import Case
from .grids import read_volume
from .labels import LESION
from .precision import INFERENCE, autocast, checked_precision

__all__ = ["segment", "segment_anatomy", "segment_dataset", "read_image", "read_lesion"]

Grid = tuple[Sequence[int], np.ndarray]
"""Size in voxels (H, W, D) and affine (4, 4) that an image must have."""


def segment(network: nn.Module, image: np.ndarray, precision: str = "fp32") -> np.ndarray:
    """Lesion masks of images.

    Args:
        network: (B, 1, H, W, D) in [-1, 1] -> (B, 2, H, W, D) logits or probabilities, channel 1 the lesion; in eval
            mode.
        image: one image (H, W, D) or a batch (B, H, W, D), in [-1, 1].
        precision: fp32, bf16, fp16 or auto, see `common.precision`.

    Returns:
        uint8 {0, 1} of the image's shape: where channel 1 is the larger one (softmax > 0.5).

    Raises:
        ValueError: the network knows more than background and lesion.
    """
    logits = _logits(network, image, precision)
    if logits.shape[1] != 2:
        raise ValueError(
            f"a segmenter of lesions is needed here, but this network tells {logits.shape[1]} classes apart: it was "
            "trained with the overlay anatomy."
        )
    return (logits[:, 1] > logits[:, 0]).to(torch.uint8).cpu().numpy().reshape(np.shape(image))


def segment_anatomy(network: nn.Module, image: np.ndarray, precision: str = "fp32") -> np.ndarray:
    """Healthy label maps of images, uint8 0 to 27 of the image's shape; 0 wherever the image is background (-1).

    Args:
        network: (B, 1, H, W, D) in [-1, 1] -> (B, 28, H, W, D), as the overlay anatomy of stroke_unet trains it.
        image, precision: as in `segment`.

    Raises:
        ValueError: the network tells another number of classes apart.
    """
    logits = _logits(network, image, precision)
    if logits.shape[1] != LESION:
        raise ValueError(
            f"a segmenter of anatomy is needed here, which tells {LESION} classes apart, not "
            f"{logits.shape[1]}. Train stroke_unet with the overlay anatomy."
        )
    labels = logits.argmax(1).to(torch.uint8).cpu().numpy().reshape(np.shape(image))
    return np.where(np.asarray(image) > -1, labels, np.uint8(0))


@torch.inference_mode()
def _logits(network: nn.Module, image: np.ndarray, precision: str) -> torch.Tensor:
    checked_precision(precision, INFERENCE)
    batch = torch.as_tensor(np.array(image, dtype=np.float32, ndmin=4)).unsqueeze(1)  # (B, 1, H, W, D)
    parameter = next(network.parameters(), batch)
    batch = batch.to(parameter.device, memory_format=torch.channels_last_3d)
    with autocast(batch.device, precision):
        return network(batch)


def segment_dataset(
    network: nn.Module,
    cases: Sequence[Case],
    precision: str = "fp32",
    batch_size: int = 4,
    grid: Grid | None = None,
) -> Iterator[tuple[Case, np.ndarray]]:
    """Segment cases in order; the next batch is read from disk in a thread while the network works.

    Args:
        network, precision: as in `segment`.
        cases: of one data set.
        batch_size: images per pass.
        grid: size and affine of the data set (`dataset.size, dataset.affine`); None takes those of the first image.

    Yields:
        case, uint8 mask (H, W, D).

    Raises:
        ValueError, FileNotFoundError: an image is unreadable, not 3D, off the grid or holds NaN; the message names it.
    """
    if not cases:
        return
    if grid is None:
        voxels, affine = read_volume(cases[0].image)
        grid = voxels.shape, affine
    batches = [cases[start : start + batch_size] for start in range(0, len(cases), batch_size)]

    def read(batch: Sequence[Case]) -> np.ndarray:
        return np.stack([read_image(case, grid) for case in batch])

    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = reader.submit(read, batches[0])
        for i, batch in enumerate(batches):
            images = ahead.result()
            if i + 1 < len(batches):
                ahead = reader.submit(read, batches[i + 1])
            yield from zip(batch, segment(network, images, precision))


def read_image(case: Case, grid: Grid) -> np.ndarray:
    """Image of a case, float32 (H, W, D), after checking that it lies on the grid and is finite."""
    voxels = _read(case, "image", grid).astype(np.float32)
    if not np.isfinite(voxels).all():
        raise ValueError(f"{case.image}: the image of subject {case.subject} holds NaN or infinity. Make it again.")
    return voxels


def read_lesion(case: Case, grid: Grid) -> np.ndarray:
    """True lesion mask of a case, uint8 {0, 1} (H, W, D); empty for a case without one."""
    if case.label is None:
        return np.zeros(tuple(grid[0]), np.uint8)
    voxels = _read(case, "label", grid)
    if not np.isin(voxels, (0, 1)).all():
        raise ValueError(f"{case.label}: expected a binary mask, found values {np.unique(voxels)[:6].tolist()}.")
    return voxels.astype(np.uint8)


def _read(case: Case, key: str, grid: Grid) -> np.ndarray:
    path, (size, expected) = getattr(case, key), grid
    voxels, affine = read_volume(path)
    if voxels.shape != tuple(size) or not np.allclose(affine, expected, atol=1e-3):
        found = f"shape {voxels.shape}, expected {tuple(size)}"
        if voxels.shape == tuple(size):
            found = f"another affine: {np.round(affine, 3).tolist()}, expected {np.round(expected, 3).tolist()}"
        raise ValueError(
            f"{path}: the {key} of subject {case.subject} has {found}. Every file of a data set lies on one grid; "
            "find the strays with `python -m scripts.data check`."
        )
    return voxels
