"""The lesion masks that the lesion GAN is trained on and judged by."""

from __future__ import annotations

import numpy as np
import torch

from .datalists import items, size_of
from .grids import PAPER_SIZE, grid_affine, minimum_lesion_voxels, read_volume
from .mask_library import read_masks

__all__ = ["grid_of", "lesion_items"]


def grid_of(dataset_dir: str, mask_library: str | None) -> list[int]:
    """Grid that the lesion GAN draws on: the paper's for a mask library, else that of the data set."""
    return list(PAPER_SIZE) if mask_library else size_of(dataset_dir)


def lesion_items(
    split: str,
    size: tuple[int, int, int],
    dataset_dir: str | None = None,
    mask_library: str | None = None,
    clinical_cases: int | None = None,
) -> list[dict]:
    """Masks of at least 20 voxels (paper's grid; the same volume on others), as {"lesion": uint8 (1, H, W, D)} items.

    Args:
        split: training or validation.
        size: grid.
        dataset_dir: data set whose lesion masks are used, unless
        mask_library: an NPZ file or a folder of masks in MNI space is given.
        clinical_cases: of a data set, only the first so many cases.

    Raises:
        ValueError: fewer than two masks are large enough.
    """
    if mask_library:
        masks = list(read_masks(mask_library, size, split).masks)
    else:
        chosen = items(dataset_dir, split, ("label",), lesions_only=True, clinical_cases=clinical_cases)
        masks = [read_volume(item["label"])[0] > 0 for item in chosen]
    minimum = minimum_lesion_voxels(grid_affine(size))
    kept = [{"lesion": torch.from_numpy(mask[None].astype(np.uint8))} for mask in masks if mask.sum() >= minimum]
    if len(kept) < 2:
        raise ValueError(
            f"{mask_library or dataset_dir}: {len(kept)} {split} masks of {minimum} voxels or more on the grid {size}; "
            "the lesion GAN needs two or more."
        )
    return kept
