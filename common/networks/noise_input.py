"""Noise as an input of a generator, for what its label map does not tell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["NoiseInput", "TakesNoise"]


class NoiseInput(nn.Module):
    """Put planes of Gaussian noise beside the channels of a label map.

    Args:
        channels: planes of noise; 0 hands the label map through.
        size: of the map in voxels.

    Shape:
        label map (B, C, H, W[, D]), noise (B, channels, H, W[, D]) or None -> (B, C + channels, H, W[, D]).

    Without noise, training draws some anew; otherwise every item gets the same fixed noise, so that an image depends
    neither on its batch nor on when it is made.
    """

    def __init__(self, channels: int, size: Sequence[int]):
        super().__init__()
        self.channels, self.size = channels, tuple(size)
        # Not in the state: a seed is all that it takes.
        self.register_buffer("fixed", self.draw(1, torch.Generator().manual_seed(0)), persistent=False)

    @torch.jit.unused
    def draw(
        self, items: int, generator: torch.Generator | None, device: torch.device | str | None = None
    ) -> torch.Tensor:
        """Noise of so many slices (or volumes, for a network of volumes), (items, channels, H, W[, D]).

        It is drawn on the CPU: one seed gives one noise on all devices.
        """
        return torch.randn(items, self.channels, *self.size, generator=generator).to(device)

    def forward(self, label_map: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        if self.channels == 0:
            return label_map
        if noise is None:
            fixed = self.fixed.repeat_interleave(label_map.shape[0], 0)
            noise = torch.randn_like(fixed) if self.training else fixed
        return torch.cat([label_map, noise], 1)


class TakesNoise:
    """A generator whose `noise_input` is a `NoiseInput`."""

    @torch.jit.unused
    def draw_noise(
        self, slices: int, generator: torch.Generator | None, device: torch.device | str | None
    ) -> torch.Tensor:
        """Noise of the slices of one volume, see `NoiseInput.draw`."""
        return self.noise_input.draw(slices, generator, device)
