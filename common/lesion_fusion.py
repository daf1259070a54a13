"""Fuse a lesion into a healthy scan by raising the intensity inside its contour, without any translator.

Source: Federau et al., Improved segmentation and detection sensitivity of diffusion-weighted stroke lesions with
synthetically enhanced deep learning, Radiology: Artificial Intelligence 2020 (the paper's Ref. 10): contours of real
lesions, intensity raised linearly within them.
"""

from __future__ import annotations

import numpy as np

from .labels import LESION
from .painting import paint

__all__ = ["fuse_lesion"]


def fuse_lesion(scan: np.ndarray, anatomy: np.ndarray, label_map: np.ndarray, strength: float) -> np.ndarray:
    """A healthy scan with a lesion of even added signal.

    Args:
        scan: (H, W, D) in [-1, 1], without a lesion.
        anatomy, label_map: its label map without and with the lesion.
        strength: added signal, as a multiple of the white matter's (`common.brightness.lesion_strength`).

    Returns:
        float32 (H, W, D) in [-1, 1], scaled as scans are: 1 at the 99.5th percentile of the brain.

    Raises:
        ValueError: the strength does not raise the signal, or the scan has no white matter to compare with.
    """
    if not strength > 0:
        raise ValueError(f"a lesion's strength is {strength}; expected more than 0, as a lesion is bright on DWI.")
    return paint(scan, anatomy, np.where(label_map == LESION, strength, 0.0))
