"""Unpaired image translation: CycleGAN between label maps and images, and what keeps its lesions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from ignite.engine import Engine
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from ..losses import balanced_loss, least_squares
from ..precision import TRAINING, autocast, checked_precision
from .iteration import fetch, finish, frozen, one_hot, split, tally, update
from .pool import ImagePool

__all__ = ["CycleStep", "straight_through"]

LABEL_LOSSES = ("l1", "balanced")


def straight_through(probabilities: torch.Tensor) -> torch.Tensor:
    """One-hot of the most probable class (B, L, H, W), with the gradient of the probabilities.

    Source:
        arXiv:1308.3432.
    """
    hard = F.one_hot(probabilities.argmax(1), probabilities.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    return probabilities + (hard - probabilities).detach()


class CycleStep:
    """One iteration: two generators fool two discriminators and undo each other, then the discriminators learn.

    Give it to `monai.engines.Trainer` as `iteration_update`. With the defaults it is the paper's CycleGAN; the options
    below them are the recipe against the loss of lesions (bundles/cyclegan_itm/docs/README.md).

    Args:
        generator: one-hot label map (B, num_labels, H, W) -> image (B, 1, H, W) in [-1, 1].
        reverse: image -> label map (B, num_labels, H, W): in [-1, 1] for "l1", logits for "balanced".
        image_discriminator: image -> logits of any shape, large for real; it must judge each image alone.
        label_discriminator: label map -> logits, likewise.
        g_optimizer: of the parameters of both generators.
        d_optimizer: of the parameters of both discriminators.
        image_pool, label_pool: of generated images and label maps, for the discriminators.
        cycle_weight: lambda of both cycle terms, 10 in the reference.
        num_labels: channels of the one-hot label map.
        precision: "fp32", "bf16" or "auto" (see `common.precision`), of the forward passes; losses are always fp32.
        label_loss: how a label map that went to the image and back is compared: "l1" of one-hot values (the paper), or
            "balanced", `losses.balanced_loss` of classes.
        class_weight_cap: of the balanced loss.
        code_noise: standard deviation of noise on a generated image before it is read back, against labels hidden in
            imperceptible patterns (arXiv:1712.02950).
        straight_through: make generated label maps one-hot, so that soft values carry no grey levels into the image.
        supervised_weight: of the label loss of `reverse` on real images against their own label maps. Above 0 it
            learns to read from real images only, and generated ones pass through it frozen. No longer unpaired.
        l1_weight: of the L1 distance between an image and the translation of its own label map. No longer unpaired.
        average: moving average of `generator`, updated after it.
        accumulate: parts that a batch is worked through in, one after the other, before each update.

    A batch holds "label_map" (B, 1, H, W), ids, and "image" (B, 1, H, W) in [-1, 1], of different cases; for the last
    two options also "image_label_map" (B, 1, H, W), that of the images. Returns "loss" (the generators'),
    "g_adversarial", "cycle_image", "cycle_label", "d_loss" and, where they are on, "supervised" and "g_l1".

    Source:
        Paper, sec. II.A.2; CycleGAN, arXiv:1703.10593, without its optional identity loss (paper, footnote 1).
    """

    def __init__(
        self,
        generator: nn.Module,
        reverse: nn.Module,
        image_discriminator: nn.Module,
        label_discriminator: nn.Module,
        g_optimizer: Optimizer,
        d_optimizer: Optimizer,
        image_pool: ImagePool,
        label_pool: ImagePool,
        cycle_weight: float,
        num_labels: int,
        precision: str = "auto",
        label_loss: str = "l1",
        class_weight_cap: float = 10.0,
        code_noise: float = 0.0,
        straight_through: bool = False,
        supervised_weight: float = 0.0,
        l1_weight: float = 0.0,
        average: AveragedModel | None = None,
        accumulate: int = 1,
    ):
        if label_loss not in LABEL_LOSSES:
            raise ValueError(f"label_loss is one of {', '.join(LABEL_LOSSES)}, not {label_loss!r}.")
        if straight_through and label_loss == "l1":
            raise ValueError("straight_through needs probabilities: set label_loss to balanced.")
        self.generator, self.reverse = generator, reverse
        self.image_discriminator, self.label_discriminator = image_discriminator, label_discriminator
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.image_pool, self.label_pool = image_pool, label_pool
        self.cycle_weight, self.num_labels = cycle_weight, num_labels
        self.precision = checked_precision(precision, TRAINING)
        self.label_loss, self.class_weight_cap = label_loss, class_weight_cap
        self.code_noise, self.straight_through = code_noise, straight_through
        self.supervised_weight, self.l1_weight = supervised_weight, l1_weight
        self.average, self.accumulate = average, accumulate

    def __call__(self, engine: Engine, batch: Mapping) -> dict[str, float]:
        label = one_hot(fetch(engine, batch, "label_map"), self.num_labels)  # (B, L, H, W)
        image = fetch(engine, batch, "image")  # (B, 1, H, W)
        paired = self.supervised_weight or self.l1_weight
        own_label = one_hot(fetch(engine, batch, "image_label_map"), self.num_labels) if paired else label
        for network in (self.generator, self.reverse, self.image_discriminator, self.label_discriminator):
            network.train()
        output: dict[str, float] = {}
        fakes: list[tuple[torch.Tensor, torch.Tensor]] = []  # images and label maps of each part

        # 1. Generators.
        with frozen(self.image_discriminator), frozen(self.label_discriminator):
            losses = self._generator_losses(label, image, own_label, fakes, output)
            output["loss"] = update(engine, self.g_optimizer, "loss", losses)
        if self.average is not None:
            self.average.update_parameters(self.generator)

        # 2. Discriminators: real towards 1, new and older generated ones towards 0.
        losses = self._discriminator_losses(label, image, fakes)
        output["d_loss"] = update(engine, self.d_optimizer, "d_loss", losses)
        return finish(engine, output)

    def _generator_losses(
        self,
        labels: torch.Tensor,
        images: torch.Tensor,
        own_labels: torch.Tensor,
        fakes: list[tuple[torch.Tensor, torch.Tensor]],
        output: dict[str, float],
    ) -> Iterator[torch.Tensor]:
        for share, label, image, own_label in split(self.accumulate, labels, images, own_labels):
            # a. Translate in both directions, and fool both discriminators.
            fake_image = self._run(self.generator, label)
            read = self._run(self.reverse, image)
            fake_label = self._label_map(read)
            fakes.append((fake_image.detach(), fake_label.detach()))
            judged = (self.image_discriminator, fake_image), (self.label_discriminator, fake_label)
            terms = {
                "g_adversarial": sum(least_squares(self._run(d, fake), True, for_generator=True) for d, fake in judged)
            }

            # b. Come back: image -> label map -> image, label map -> image -> label map.
            terms["cycle_image"] = (self._run(self.generator, fake_label) - image).abs().mean()
            terms["cycle_label"] = self._compare(self._read_back(fake_image), label)
            loss = terms["g_adversarial"] + self.cycle_weight * (terms["cycle_image"] + terms["cycle_label"])

            # c. Options that know the label maps of the images.
            if self.supervised_weight:
                terms["supervised"] = self._compare(read, own_label)
                loss = loss + self.supervised_weight * terms["supervised"]
            if self.l1_weight:
                terms["g_l1"] = (self._run(self.generator, own_label) - image).abs().mean()
                loss = loss + self.l1_weight * terms["g_l1"]
            tally(output, share, terms)
            yield share * loss

    def _discriminator_losses(
        self, labels: torch.Tensor, images: torch.Tensor, fakes: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> Iterator[torch.Tensor]:
        parts = zip(split(self.accumulate, labels, images), fakes, strict=True)
        for (share, label, image), (fake_image, fake_label) in parts:
            loss = image.new_zeros(())
            for discriminator, real, fake in (
                (self.image_discriminator, image, self.image_pool(fake_image)),
                (self.label_discriminator, label, self.label_pool(fake_label)),
            ):
                d_real, d_fake = self._run(discriminator, torch.cat([real, fake])).chunk(2)
                loss = loss + (least_squares(d_real, True) + least_squares(d_fake, False)) / 2
            yield share * loss

    def _run(self, network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with autocast(x.device, self.precision):
            return network(x).float()

    def _label_map(self, read: torch.Tensor) -> torch.Tensor:
        """What `reverse` gave, as the discriminator and the generator take it."""
        if self.label_loss == "l1":
            return read
        probabilities = read.softmax(1)
        return straight_through(probabilities) if self.straight_through else probabilities

    def _read_back(self, fake_image: torch.Tensor) -> torch.Tensor:
        if self.code_noise:
            fake_image = fake_image + self.code_noise * torch.randn_like(fake_image)
        if not self.supervised_weight:
            return self._run(self.reverse, fake_image)
        with frozen(self.reverse):  # the generator cannot agree with it on a code of their own
            return self._run(self.reverse, fake_image)

    def _compare(self, read: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if self.label_loss == "l1":
            return (read - label).abs().mean()
        return balanced_loss(read, label, self.class_weight_cap)
