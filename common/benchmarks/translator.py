"""Speed of Pix2Pix: a training step, a whole volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..allocation import keep_freed_memory
from ..labels import NUM_LABELS
from ..losses import least_squares
from ..networks.patchgan import PatchDiscriminator
from ..networks.pix2pix import UNetGenerator
from ..steps.iteration import bare_engine, one_hot
from ..steps.paired import PairedStep
from ..translation import translate_volume
from .baselines import ReferenceUNet, literal, pix2pix_step
from .harness import Comparison, compare, count_flops

__all__ = ["benchmark"]

SIZE, SLICES, BATCH = (128, 128), 32, 8
LEARNING_RATE = 2e-4
LAYERS, REFERENCE = "the paper's layers as written", "the reference's generator"
ONE_BY_ONE = "slice by slice, fp32"


def benchmark(folder: Path) -> list[Comparison]:
    """The paper's generator and discriminator on slices of 128x128."""
    keep_freed_memory()
    torch.manual_seed(0)
    return [*_training(), *_synthesis()]


def _networks() -> tuple[nn.Module, nn.Module]:
    return UNetGenerator(2, NUM_LABELS, 1, SIZE, dropout=0.3), PatchDiscriminator(NUM_LABELS + 1)


def _training() -> list[Comparison]:
    generator, discriminator = _networks()
    optimizers = [
        torch.optim.Adam(one.parameters(), LEARNING_RATE, betas=(0.5, 0.999), fused=True)
        for one in (generator, discriminator)
    ]
    step = PairedStep(generator, discriminator, *optimizers, least_squares, 10.0, NUM_LABELS)
    engine = bare_engine()
    ids = torch.from_numpy(np.stack([_label_map(number) for number in range(BATCH)]))[:, None]
    real = torch.rand(BATCH, 1, *SIZE) * 2 - 1
    label = one_hot(ids, NUM_LABELS).contiguous()

    def ours() -> float:
        return step(engine, {"image": real, "label_map": ids})["loss"]

    flops = count_flops(ours)  # a step already, so that the copies come after it
    plain = pix2pix_step(literal(generator), literal(discriminator), 10.0, LEARNING_RATE)
    reference = pix2pix_step(ReferenceUNet(NUM_LABELS), literal(discriminator), 10.0, LEARNING_RATE)
    job = f"Pix2Pix, one training step of {BATCH} slices of 128x128"
    return [
        compare(job, ours, lambda: plain(label, real), f"{LAYERS}, fp32", _near, 3, flops, 2.2),
        compare(job, ours, lambda: reference(label, real), f"{REFERENCE}, fp32", _finite, 3, flops, 1.1),
    ]


def _synthesis() -> list[Comparison]:
    generator = _networks()[0].eval()
    plain, reference = literal(generator).eval(), ReferenceUNet(NUM_LABELS).eval()
    label_map = np.stack([_label_map(number) for number in range(SLICES)], -1)
    flops = count_flops(lambda: generator(torch.zeros(SLICES, NUM_LABELS, *SIZE)))

    def ours(precision: str = "auto") -> np.ndarray:
        return translate_volume(generator, label_map, NUM_LABELS, precision)

    def slice_by_slice(network: nn.Module) -> np.ndarray:
        return translate_volume(network, label_map, NUM_LABELS, "fp32", batch_size=1)

    exact = np.abs(ours("fp32") - slice_by_slice(generator)).max()
    if exact > 1e-5:
        raise ValueError(f"in fp32 the whole volume and single slices differ by {exact:.1e}, expected 1e-5 or less.")
    layers = np.abs(ours("fp32") - slice_by_slice(plain)).max()
    if layers > 1e-4:
        raise ValueError(f"in fp32 ours and the paper's layers differ by {layers:.1e}, expected 1e-4 or less.")

    def agreement(a: np.ndarray, b: np.ndarray) -> str:
        return f"fp32 {layers:.0e} (slices or volume {exact:.0e}), bf16 {np.abs(a - b).max():.0e} at most"

    job = f"Pix2Pix, a volume of {SLICES} slices of 128x128"
    return [
        compare(job, ours, lambda: slice_by_slice(plain), f"{LAYERS}, {ONE_BY_ONE}", agreement, 3, flops, 4.0),
        compare(job, ours, lambda: slice_by_slice(reference), f"{REFERENCE}, {ONE_BY_ONE}", _finite, 3, flops, 2.0),
    ]


def _label_map(number: int) -> np.ndarray:
    """A disc of rings, one label each, uint8 (H, W): as many borders as a brain has."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, edge) for edge in SIZE], indexing="ij")
    radius = np.hypot(x, y * (1 + number / 100))
    return np.where(radius < 0.9, 1 + (radius * 60).astype(int) % (NUM_LABELS - 1), 0).astype(np.uint8)


def _near(ours: float, theirs: float) -> str:
    if not np.isclose(ours, theirs, rtol=0.1):
        raise ValueError(f"the losses of the first step differ: {ours} and {theirs}.")
    return f"loss of the first step {ours:.2f} and {theirs:.2f}"


def _finite(*answers: object) -> str:
    if not all(np.isfinite(answer).all() for answer in answers):
        raise ValueError("an answer is not finite.")
    return "another network"
