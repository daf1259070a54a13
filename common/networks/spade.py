"""The generator of SPADE: images from noise, steered at every resolution by the label map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from .initialisation import channels_last, initialise_normal
from .instance_norm import InstanceNorm
from .upconv import UpConv

__all__ = ["Spade", "SpadeBlock", "SpadeGenerator"]

LEAK = 0.2
NOISE_SEED = 0


class Spade(nn.Module):
    """Spatially adaptive normalisation: instance norm whose scale and shift at each pixel follow from the label map.

    (B, channels, H, W) and (B, num_labels, H, W) -> (B, channels, H, W): (1 + gamma) * normalised + beta, where gamma
    and beta are one 3x3 convolution each of the label map (here one convolution gives both).

    Source:
        arXiv:1903.07291, eq. 1, without its hidden layer of 128 maps, like the paper's authors. They normalise by the
        statistics of the batch, at test as well; those of the instance leave an image independent of its batch mates.
    """

    def __init__(self, channels: int, num_labels: int):
        super().__init__()
        self.norm = InstanceNorm(channels, affine=False)
        self.modulation = nn.Conv2d(num_labels, 2 * channels, 3, padding=1)

    def forward(self, x: torch.Tensor, label_map: torch.Tensor) -> torch.Tensor:
        gamma, beta = self.modulation(label_map).chunk(2, 1)
        return torch.addcmul(beta, self.norm(x), 1 + gamma)


class SpadeBlock(nn.Module):
    """Residual block of two Spade-LReLU-C3; where the number of maps changes, a third is the skip connection.

    (B, in_channels, H, W) and (B, num_labels, H, W) -> (B, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, num_labels: int):
        super().__init__()
        self.first = SpadeConv(in_channels, out_channels, num_labels)
        self.second = SpadeConv(out_channels, out_channels, num_labels)
        self.skip = SpadeConv(in_channels, out_channels, num_labels) if in_channels != out_channels else None

    def forward(self, x: torch.Tensor, label_map: torch.Tensor) -> torch.Tensor:
        y = self.second(self.first(x, label_map), label_map)
        return y + (x if self.skip is None else self.skip(x, label_map))


class SpadeConv(nn.Module):
    """Spade, leaky ReLU and a 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int, num_labels: int):
        super().__init__()
        self.spade = Spade(in_channels, num_labels)
        self.act = nn.LeakyReLU(LEAK, inplace=True)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: torch.Tensor, label_map: torch.Tensor) -> torch.Tensor:
        return self.conv(self.act(self.spade(x, label_map)))


class SpadeGenerator(nn.Module):
    """Draw an image that shows a label map.

    Noise becomes a coarse map (4x4 at 128x128 pixels); five residual blocks, each followed by nearest doubling, take it
    to full size. The label map enters through the normalisations alone, at half the size of the image and below: its
    one-hot channels are max-pooled, so that no lesion is too small to be seen (nearest would skip most of those).

    Without `noise`, each image gets its own in training and all get the same one in evaluation, a fixed draw.
    Slices of one volume should share theirs: see `draw_noise`.

    Args:
        in_channels: labels of the one-hot map, times its slices if it has a context.
        out_channels: of the image.
        size: (H, W) in pixels, multiples of 2 ** len(channels) that leave more than one pixel to start from.
        channels: feature maps of the blocks, coarse to fine.
        latent_size: length of the noise vector.
        full_resolution: a last Spade before the head, with the label map of the image's own size; not in the paper.
        head_kernel: edge of the last convolution's kernel: 3 in the paper, 7 in its authors' code.

    Shape:
        label map (B, in_channels, H, W), one-hot, and noise (B, latent_size), standard normal, or None
        -> (B, out_channels, H, W) in [-1, 1].

    Raises:
        ValueError: `size` does not fit the number of blocks.

    Source:
        Paper, Appendix A.3; arXiv:1903.07291. Scale 1 + gamma as in the latter: docs/decisions.md.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        channels: Sequence[int] = (128, 64, 32, 16, 8),
        latent_size: int = 128,
        full_resolution: bool = False,
        head_kernel: int = 3,
    ):
        super().__init__()
        self.latent_size = latent_size
        self.start = (channels[0], *_start(size, len(channels)))
        self.dense = nn.Linear(latent_size, channels[0] * self.start[1] * self.start[2])
        pairs = zip([channels[0], *channels[:-1]], channels)
        self.blocks = nn.ModuleList([SpadeBlock(before, after, in_channels) for before, after in pairs])
        self.halve = nn.MaxPool2d(2)
        self.full = Spade(channels[-1], in_channels) if full_resolution else None
        self.act = nn.LeakyReLU(LEAK, inplace=True)
        # UpConv is the last doubling and the head in one, unless something stands between them.
        self.head = (
            nn.Conv2d(channels[-1], out_channels, head_kernel, padding=head_kernel // 2)
            if full_resolution
            else UpConv(2, channels[-1], out_channels, head_kernel)
        )
        fixed = torch.randn(1, latent_size, generator=torch.Generator().manual_seed(NOISE_SEED))
        self.register_buffer("fixed_noise", fixed, persistent=False)  # a seed is all that it takes
        channels_last(initialise_normal(self))

    @torch.jit.unused
    def draw_noise(
        self, slices: int, generator: torch.Generator | None, device: torch.device | str | None = None
    ) -> torch.Tensor:
        """Noise (slices, latent_size) for the slices of one volume: one vector, repeated.

        It is drawn on the CPU: one seed gives one image on all devices.
        """
        return torch.randn(1, self.latent_size, generator=generator).to(device).expand(slices, -1)

    def forward(self, label_map: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        batch = label_map.shape[0]
        if noise is None:
            noise = self.fixed_noise.expand(batch, -1)
            if self.training:
                noise = torch.randn_like(noise)
        x = self.dense(noise).view(batch, self.start[0], self.start[1], self.start[2])
        maps = [label_map]
        for _ in self.blocks:
            maps.append(self.halve(maps[-1]))
        for i, block in enumerate(self.blocks):
            if i > 0:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x, maps.pop())
        if self.full is not None:
            x = self.act(self.full(F.interpolate(x, scale_factor=2.0, mode="nearest"), label_map))
        return torch.tanh(self.head(x))


def _start(size: Sequence[int], blocks: int) -> tuple[int, int]:
    """Size of the map that the noise becomes."""
    factor = 2**blocks
    height, width = size
    if height % factor or width % factor or height * width <= factor**2:
        raise ValueError(
            f"size {tuple(size)} does not fit {blocks} blocks, each of which doubles it: make both edges multiples of "
            f"{factor}, one of them at least {2 * factor}, or give `channels` fewer entries."
        )
    return height // factor, width // factor
