"""Smooth random fields that depend on millimetres and a seed, not on the grid they are sampled on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..grids import BOX_LENGTH, BOX_START

__all__ = ["interpolation_matrix", "outer", "smooth_field"]

MARGIN = 30.0  # mm of lattice beyond the box


def smooth_field(rng: np.random.Generator, axes: Sequence[np.ndarray], scale: float) -> np.ndarray:
    """Gaussian random field with mean 0, standard deviation 1 and a correlation length.

    Noise on a lattice that is fixed in MNI millimetres is spread by separable Gaussians, so one generator state gives
    one field, however finely it is sampled.

    Args:
        axes: coordinates of the samples along x, y and z, in mm.
        scale: correlation length in mm (bumps are about this wide).

    Returns:
        float32 of shape (len(axes[0]), len(axes[1]), len(axes[2])).
    """
    step, sigma = scale / 2, scale / 2
    counts = np.ceil((BOX_LENGTH + 2 * MARGIN) / step).astype(int)
    noise = rng.standard_normal(counts, dtype=np.float32)
    weights = []
    for axis, start, count in zip(axes, BOX_START, counts):
        lattice = start - MARGIN + step * np.arange(count)
        weight = np.exp(-((np.asarray(axis)[:, None] - lattice) ** 2) / (2 * sigma**2))
        weights.append((weight / np.linalg.norm(weight, axis=1, keepdims=True)).astype(np.float32))
    return outer(weights, noise)


def interpolation_matrix(fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Matrix (len(fine), len(coarse)) that interpolates linearly from evenly spaced samples; constant beyond them."""
    position = np.clip((fine - coarse[0]) / (coarse[1] - coarse[0]), 0, len(coarse) - 1)
    low = np.minimum(position.astype(int), len(coarse) - 2)
    matrix = np.zeros((len(fine), len(coarse)), np.float32)
    rows = np.arange(len(fine))
    matrix[rows, low] = 1 - (position - low)
    matrix[rows, low + 1] = position - low
    return matrix


def outer(matrices: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Apply one matrix along each of the last three axes of `values` (..., X, Y, Z)."""
    values = values @ matrices[2].T
    values = np.einsum("jb,...abz->...ajz", matrices[1], values, optimize=True)
    return np.einsum("ia,...ajz->...ijz", matrices[0], values, optimize=True)
