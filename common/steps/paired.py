"""Paired image translation: Pix2Pix and all generators trained like it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from ..labels import LESION
from ..losses import feature_matching
from ..precision import TRAINING, autocast, checked_precision, dtype_of
from .iteration import fetch, finish, frozen, one_hot, split, tally, update

__all__ = ["PairedStep"]


class PairedStep:
    """One iteration: the discriminator learns to tell scans from translations, the generator to fool it.

    Give it to `monai.engines.Trainer` as `iteration_update`.

    Args:
        generator: one-hot label map (B, S * num_labels, H, W[, D]) -> image (B, 1, H, W[, D]) in [-1, 1].
        discriminator: (image, one-hot label map) -> logits of any shape, large for real; it must judge each pair alone.
        g_optimizer: of the generator's parameters.
        d_optimizer: of the discriminator's parameters.
        adversarial_loss: (logits, is_real, for_generator) -> a number; see `common.losses`.
        l1_weight: lambda of eq. 1, 10 or 100.
        num_labels: channels of a one-hot label map.
        adversarial_weight: of the adversarial term; 0 trains on L1 alone and leaves the discriminator as it is.
        precision: "fp32", "bf16" or "auto" (see `common.precision`), of the forward passes; losses are always fp32.
        average: moving average of the generator, updated after it.
        lesion_weight: of lesion pixels in the L1 term; 1 is the paper. Lesions are 1 % of the pixels, so that a short
            training learns them last.
        feature_weight: of feature matching, for which the discriminator needs `judge`; 0 is the paper.
        accumulate: parts that a batch is worked through in, one after the other, before each update. Above 1 each part
            is translated twice, once for each update, so that memory holds one part at a time.

    A batch holds "label_map" (B, S, H, W[, D]), ids of the slice (S = 1) or of an odd number of slices around it, and
    "image" (B, 1, H, W[, D]) in [-1, 1]. Returns "loss" (the generator's),
    "g_l1" and, unless on L1 alone, "g_adversarial", "d_loss", and the mean logits "d_real" and "d_fake"; with feature
    matching also "g_features".

    Source:
        Paper, eq. 1. Its authors' code trains the discriminator towards 1 on both sides; here 1 is real and 0 is not.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        g_optimizer: Optimizer,
        d_optimizer: Optimizer,
        adversarial_loss: Callable[..., torch.Tensor],
        l1_weight: float,
        num_labels: int,
        adversarial_weight: float = 1.0,
        precision: str = "auto",
        average: AveragedModel | None = None,
        lesion_weight: float = 1.0,
        feature_weight: float = 0.0,
        accumulate: int = 1,
    ):
        if feature_weight and not adversarial_weight:
            raise ValueError("feature_weight needs a discriminator that learns: set adversarial_weight above 0.")
        self.generator = generator
        self.discriminator = discriminator
        self.g_optimizer = g_optimizer
        self.d_optimizer = d_optimizer
        self.adversarial_loss = adversarial_loss
        self.l1_weight = l1_weight
        self.num_labels = num_labels
        self.adversarial_weight = adversarial_weight
        self.precision = checked_precision(precision, TRAINING)
        self.average = average
        self.lesion_weight = lesion_weight
        self.feature_weight = feature_weight
        self.accumulate = accumulate

    def __call__(self, engine: Engine, batch: Mapping) -> dict[str, float]:
        real = fetch(engine, batch, "image")  # (B, 1, H, W)
        dtype = dtype_of(real.device, self.precision)
        label = one_hot(fetch(engine, batch, "label_map"), self.num_labels, dtype)  # (B, S * L, H, W)
        self.generator.train()
        self.discriminator.train()
        fake = self._translate(label) if self.accumulate == 1 else None
        output: dict[str, float] = {}

        # 1. Discriminator: real pairs towards 1, generated pairs towards 0.
        if self.adversarial_weight:
            losses = self._discriminator_losses(label, real, fake, output)
            output["d_loss"] = update(engine, self.d_optimizer, "d_loss", losses)

        # 2. Generator: fool the discriminator, stay close to the scan, look to the discriminator as the scan does.
        with frozen(self.discriminator):
            losses = self._generator_losses(label, real, fake, output)
            output["loss"] = update(engine, self.g_optimizer, "loss", losses)
        if self.average is not None:
            self.average.update_parameters(self.generator)
        return finish(engine, output)

    def _translate(self, label: torch.Tensor) -> torch.Tensor:
        with autocast(label.device, self.precision):
            return self.generator(label).float()

    def _discriminator_losses(
        self, labels: torch.Tensor, images: torch.Tensor, fake: torch.Tensor | None, output: dict[str, float]
    ) -> Iterator[torch.Tensor]:
        for share, label, real in split(self.accumulate, labels, images):
            with torch.no_grad():
                made = self._translate(label) if fake is None else fake.detach()
            with autocast(real.device, self.precision):
                logits = self.discriminator(torch.cat([real, made]), torch.cat([label, label]))
            d_real, d_fake = logits.float().chunk(2)
            tally(output, share, {"d_real": d_real.mean(), "d_fake": d_fake.mean()})
            yield share * (self.adversarial_loss(d_real, True) + self.adversarial_loss(d_fake, False)) / 2

    def _generator_losses(
        self, labels: torch.Tensor, images: torch.Tensor, fake: torch.Tensor | None, output: dict[str, float]
    ) -> Iterator[torch.Tensor]:
        for share, label, real in split(self.accumulate, labels, images):
            made = self._translate(label) if fake is None else fake
            weight = 1 + (self.lesion_weight - 1) * self._lesion(label) if self.lesion_weight != 1 else 1
            terms = {"g_l1": ((made - real).abs() * weight).mean()}
            if self.adversarial_weight:
                terms |= self._judge(label, real, made)
            tally(output, share, terms)
            loss = self.l1_weight * terms["g_l1"]
            if self.adversarial_weight:
                loss = loss + self.adversarial_weight * terms["g_adversarial"]
            if self.feature_weight and self.adversarial_weight:
                loss = loss + self.feature_weight * terms["g_features"]
            yield share * loss

    def _judge(self, label: torch.Tensor, real: torch.Tensor, fake: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the discriminator has against the generator's images."""
        if not self.feature_weight:
            with autocast(real.device, self.precision):
                logits = self.discriminator(fake, label)
            return {"g_adversarial": self.adversarial_loss(logits.float(), True, for_generator=True)}
        with autocast(real.device, self.precision):
            logits, seen = self.discriminator.judge(fake, label)
            with torch.no_grad():
                _, wanted = self.discriminator.judge(real, label)
        return {
            "g_adversarial": self.adversarial_loss(logits.float(), True, for_generator=True),
            "g_features": feature_matching(seen, wanted),
        }

    def _lesion(self, label: torch.Tensor) -> torch.Tensor:
        """Where the slice itself, the middle one, has its lesion: (B, 1, H, W[, D])."""
        channel = label.shape[1] // self.num_labels // 2 * self.num_labels + LESION
        return label[:, channel : channel + 1]
