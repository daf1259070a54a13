"""Masks of scans that are no data set, for a training on them: what MONAI Label hands over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Transform

from .importing.reading import read_label_map
from .preprocessing.gridding import mask_on_grid

__all__ = ["LabelToGrid"]


class LabelToGrid(Transform):
    """Carry "label", the lesion mask of a scan, to the grid to which `FromScannerd` has carried its "image".

    The mask may lie on other voxels than the scan; its affine says where. Above 0 is lesion.

    Shape:
        {"image": (1, H, W, D), "label": path} -> {"image", "label"}, float32 (1, H, W, D), the label {0, 1}

    Raises:
        ValueError: the scan could not be used, or its lesion is lost outside the grid.
    """

    def __call__(self, data: Mapping) -> dict:
        image, path = data["image"], Path(str(data["label"]))
        scan = image.meta["filename_or_obj"]
        if not (image > -1).any():
            raise ValueError(f"{scan}: cannot be trained on. {image.meta['warning']}")
        mask, affine = read_label_map(path)
        carried = mask_on_grid(mask, affine, image.meta["scanner_matrix"], tuple(image.shape[1:]), image.meta["grid"])
        if mask.any() and not carried.any():
            raise ValueError(f"{path}: its lesion lies outside of what the network sees of {scan}.")
        label = torch.from_numpy(carried[None].astype(np.float32))
        return {**data, "image": image.as_tensor(), "label": label}
