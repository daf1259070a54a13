"""What users would otherwise run, written from its public description: plain layers, plain loops, in fp32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from monai.data import CacheDataset, DataLoader, decollate_batch
from monai.inferers import SimpleInferer
from monai.losses import DiceCELoss
from monai.transforms import AsDiscreted, Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, SaveImaged
from torch import nn
from torch.nn import functional as F

from ..networks.instance_norm import InstanceNorm
from ..networks.lesion_gan import HalvingConv
from ..networks.relu_dropout import ReluDropout
from ..networks.upconv import UpConv

__all__ = ["DoubledConv", "ReferenceUNet", "contiguous", "literal", "plain_segmentation", "plain_step", "pix2pix_step"]


def contiguous(network: nn.Module) -> nn.Module:
    """The network with PyTorch's default layout of kernels, in place."""
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous(memory_format=torch.contiguous_format)
    return network


def plain_segmentation(network: nn.Module, images: Sequence[str | Path], out: str | Path) -> None:
    """Segment NIfTI files as MONAI's tutorials do: cached transforms, one volume at a time, fp32, masks as NIfTI."""
    reading = [
        LoadImaged("image"),
        EnsureChannelFirstd("image"),
        EnsureTyped("image"),
    ]
    dataset = CacheDataset([{"image": str(path)} for path in images], Compose(reading), progress=False)
    writing = Compose(
        [
            AsDiscreted("pred", argmax=True),
            SaveImaged("pred", output_dir=str(out), output_postfix="", separate_folder=False, print_log=False),
        ]
    )
    inferer = SimpleInferer()
    network.eval()
    with torch.no_grad():
        for batch in DataLoader(dataset, batch_size=1):
            batch["pred"] = inferer(batch["image"], network)
            for item in decollate_batch(batch):
                writing(item)


def plain_step(network: nn.Module, learning_rate: float) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """A training step as MONAI's tutorials write it: fp32, Dice and cross-entropy."""
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)

    def step(image: torch.Tensor, label: torch.Tensor) -> float:
        network.train()
        optimizer.zero_grad()
        value = loss(network(image), label)
        value.backward()
        optimizer.step()
        return value.item()

    return step


class DoubledConv(nn.Module):
    """Nearest-neighbour doubling, then a convolution with "same" padding: the two layers that `UpConv` merges.

    It takes over the parameters of an UpConv.
    """

    def __init__(self, merged: nn.Module):
        super().__init__()
        dims = merged.spatial_dims
        axes = tuple(range(2, 2 + dims))
        self.weight = nn.Parameter(merged.weight.detach().transpose(0, 1).flip(axes).contiguous())
        self.bias = None if merged.bias is None else nn.Parameter(merged.bias.detach().clone())
        edge = merged.weight.shape[-1]
        self.pad = ((edge - 1) // 2, edge // 2) * dims
        self.convolve = F.conv2d if dims == 2 else F.conv3d

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        doubled = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.convolve(F.pad(doubled, self.pad), self.weight, self.bias)


def literal(network: nn.Module) -> nn.Module:
    """The same network from PyTorch's own layers, one by one as the paper lists them, in PyTorch's default layout."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, UpConv):
                setattr(parent, name, DoubledConv(child))
            elif isinstance(child, HalvingConv):
                plain = nn.Conv3d(child.in_channels, child.out_channels, 5, stride=2, padding=2, bias=False)
                plain.load_state_dict(child.state_dict())
                setattr(parent, name, plain)
            elif isinstance(child, InstanceNorm):
                setattr(parent, name, DefaultInstanceNorm(child))
            elif isinstance(child, ReluDropout):
                setattr(parent, name, nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(child.dropout)))
    return contiguous(network)


class DefaultInstanceNorm(nn.Module):
    """PyTorch's instance norm with the parameters of an `InstanceNorm`."""

    def __init__(self, norm: InstanceNorm):
        super().__init__()
        copied = (None if p is None else nn.Parameter(p.detach().clone()) for p in (norm.weight, norm.bias))
        self.weight, self.bias = copied

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.instance_norm(x, weight=self.weight, bias=self.bias)


class ReferenceUNet(nn.Module):
    """The generator that the Pix2Pix reference describes: transposed 4x4 convolutions, batch norm, skips, tanh.

    (B, in_channels, H, W) -> (B, 1, H, W) in [-1, 1]; seven halvings at 128x128, 64 to 512 feature maps.

    Source:
        arXiv:1611.07004, appendix 6.1.1 (without dropout, which costs it time only).
    """

    def __init__(self, in_channels: int, levels: int = 7, filters: int = 64):
        super().__init__()
        widths = [min(filters * 2**level, 8 * filters) for level in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(zip([in_channels, *widths[:-1]], widths)):
            layers = [nn.Conv2d(before, after, 4, 2, 1)]
            if 0 < level < levels - 1:
                layers.append(nn.BatchNorm2d(after))
            self.down.append(nn.Sequential(*([nn.LeakyReLU(0.2)] if level else []), *layers))
        before = widths[-1]
        for after in reversed(widths[:-1]):
            layers = [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after)]
            self.up.append(nn.Sequential(*layers))
            before = 2 * after
        self.head = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(before, 1, 4, 2, 1), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.up:
            x = torch.cat([up(x), skips.pop()], 1)
        return self.head(x)


def pix2pix_step(
    generator: nn.Module, discriminator: nn.Module, l1_weight: float, learning_rate: float
) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """A training step as the Pix2Pix reference describes it, in fp32: real and generated pairs one after the other."""
    g_optimizer, d_optimizer = (
        torch.optim.Adam(one.parameters(), learning_rate, betas=(0.5, 0.999)) for one in (generator, discriminator)
    )

    def step(label: torch.Tensor, real: torch.Tensor) -> float:
        generator.train()
        fake = generator(label)
        discriminator.requires_grad_(True)
        d_optimizer.zero_grad()
        judged = [discriminator(image, label) for image in (fake.detach(), real)]
        (0.5 * sum((logits - target).square().mean() for logits, target in zip(judged, (0.0, 1.0)))).backward()
        d_optimizer.step()
        discriminator.requires_grad_(False)
        g_optimizer.zero_grad()
        loss = (discriminator(fake, label) - 1).square().mean() + l1_weight * (fake - real).abs().mean()
        loss.backward()
        g_optimizer.step()
        return loss.item()

    return step
