"""Speed of the U-Net: a folder segmented, a training step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..allocation import keep_freed_memory
from ..datalists import Dataset
from ..grids import read_volume, write_volume
from ..losses import DiceCrossEntropy
from ..networks.unet3d import UNet3D
from ..phantom.cohort import make_phantom
from ..precision import autocast
from ..prediction import segment_dataset
from ..steps.iteration import bare_engine
from ..steps.supervised import SupervisedStep
from .baselines import literal, plain_segmentation, plain_step
from .harness import Comparison, compare, count_flops

__all__ = ["benchmark"]

SIZE = (128, 128, 32)
CASES = {"normal": 0, "training": 2, "validation": 0, "test": 6}
WARM_UP_STEPS = 150  # until the network finds lesions, so that its masks can be compared
MASK_DIFFERENCE = 1e-3
LEARNING_RATE = 1e-3


def benchmark(folder: Path) -> list[Comparison]:
    """The paper's U-Net on simulated volumes of 128x128x32."""
    dataset = make_phantom(folder / "data", CASES, SIZE, negatives=0.0)
    keep_freed_memory()
    torch.manual_seed(0)
    network = UNet3D(1, 2, dropout=0.02)
    image, label = _case(dataset, "training", 0)
    train = _step(network)
    flops = count_flops(lambda: train(image, label))  # a step already, so that the copy comes after it
    plain = literal(network)
    train_plainly = plain_step(plain, LEARNING_RATE)
    steps = compare(
        "U-Net, one training step of 128x128x32",
        lambda: train(image, label),
        lambda: train_plainly(image, label),
        "the same network, fp32, MONAI's loss",
        _finite,
        flops=flops,
        goal=1.8,
        limit_goal=0.5,
    )
    for number in range(WARM_UP_STEPS):
        train(*_case(dataset, "training", number % CASES["training"]))
    plain.load_state_dict(network.state_dict())
    return [_forward(network, plain, image), _folder(network, plain, dataset, folder), steps]


def _forward(network: nn.Module, plain: nn.Module, image: torch.Tensor) -> Comparison:
    network.eval()
    plain.eval()
    return compare(
        "U-Net, network alone, one volume of 128x128x32",
        lambda: _mask(network, image, "auto"),
        lambda: _mask(plain, image, "fp32"),
        "the same network, fp32",
        lambda ours, theirs: _same_masks([ours], [theirs]),
        flops=count_flops(lambda: plain(image)),
        limit_goal=0.7,
    )


def _folder(network: nn.Module, plain: nn.Module, dataset: Dataset, folder: Path) -> Comparison:
    cases, grid = dataset.select("test"), (dataset.size, dataset.affine)
    ours_out, plain_out = folder / "ours", folder / "plain"
    network.eval()

    def ours() -> list[np.ndarray]:
        for case, mask in segment_dataset(network, cases, "auto", grid=grid):
            write_volume(ours_out / case.image.name, mask, dataset.affine)
        return [read_volume(ours_out / case.image.name)[0] for case in cases]

    def theirs() -> list[np.ndarray]:
        plain_segmentation(plain, [case.image for case in cases], plain_out)
        return [read_volume(plain_out / case.image.name)[0] for case in cases]

    return compare(
        f"U-Net, a folder of {len(cases)} volumes, from NIfTI to NIfTI",
        ours,
        theirs,
        "MONAI: cached transforms, fp32, one by one",
        _same_masks,
        rounds=3,
        goal=2.5,
    )


def _step(network: nn.Module):
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, fused=True)
    step, engine = SupervisedStep(network, optimizer, DiceCrossEntropy(), "auto"), bare_engine()
    return lambda image, label: step(engine, {"image": image, "label": label})["loss"]


def _case(dataset: Dataset, split: str, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and label of a case, (1, 1, H, W, D)."""
    case = dataset.select(split)[number]
    return tuple(
        torch.from_numpy(read_volume(path)[0].astype(np.float32))[None, None] for path in (case.image, case.label)
    )


@torch.inference_mode()
def _mask(network: nn.Module, image: torch.Tensor, precision: str) -> np.ndarray:
    with autocast(image.device, precision):
        logits = network(image)
    return (logits[:, 1] > logits[:, 0]).numpy()


def _same_masks(ours: list[np.ndarray], theirs: list[np.ndarray]) -> str:
    dice = [
        (2 * (a.astype(bool) & b.astype(bool)).sum() + 1) / (a.astype(bool).sum() + b.astype(bool).sum() + 1)
        for a, b in zip(ours, theirs, strict=True)
    ]
    if not any(mask.any() for mask in theirs):
        raise ValueError("nothing is found: there are no masks to compare. Train the network longer.")
    if min(dice) < 1 - MASK_DIFFERENCE:
        raise ValueError(f"the masks differ: Dice {min(dice):.4f}, expected {1 - MASK_DIFFERENCE} or more.")
    return f"Dice {min(dice):.5f} or more"


def _finite(ours: float, theirs: float) -> str:
    if not np.isclose(ours, theirs, rtol=0.05):
        raise ValueError(f"the losses of the first step differ: {ours} and {theirs}.")
    return f"loss of the first step {ours:.3f} and {theirs:.3f}"
