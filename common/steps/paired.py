"""Paired image translation: Pix2Pix and all generators trained like it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from ..labels import LESION
from .iteration import autocast, checked_precision, fetch, finish, frozen, one_hot, update

__all__ = ["PairedStep"]


class PairedStep:
    """One iteration: the discriminator learns to tell scans from translations, the generator to fool it.

    Give it to `monai.engines.Trainer` as `iteration_update`.

    Args:
        generator: one-hot label map (B, num_labels, H, W) -> image (B, 1, H, W) in [-1, 1].
        discriminator: (image, one-hot label map) -> logits of any shape, large for real; it must judge each pair alone.
        g_optimizer: of the generator's parameters.
        d_optimizer: of the discriminator's parameters.
        adversarial_loss: (logits, is_real) -> a number; see `common.losses`.
        l1_weight: lambda of eq. 1, 10 or 100.
        num_labels: channels of the one-hot label map.
        adversarial_weight: of the adversarial term; 0 trains on L1 alone and leaves the discriminator as it is.
        precision: "bf16" or "fp32", of the forward passes; losses are always fp32.
        average: moving average of the generator, updated after it.
        lesion_weight: of lesion pixels in the L1 term; 1 is the paper. Lesions are 1 % of the pixels, so that a short
            training learns them last.

    A batch holds "label_map" (B, 1, H, W), ids, and "image" (B, 1, H, W) in [-1, 1]. Returns "loss" (the generator's),
    "g_l1" and, unless on L1 alone, "g_adversarial", "d_loss", and the mean logits "d_real" and "d_fake".

    Source:
        Paper, eq. 1. Its authors' code trains the discriminator towards 1 on both sides; here 1 is real and 0 is not.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        g_optimizer: Optimizer,
        d_optimizer: Optimizer,
        adversarial_loss: Callable[[torch.Tensor, bool], torch.Tensor],
        l1_weight: float,
        num_labels: int,
        adversarial_weight: float = 1.0,
        precision: str = "bf16",
        average: AveragedModel | None = None,
        lesion_weight: float = 1.0,
    ):
        self.generator = generator
        self.discriminator = discriminator
        self.g_optimizer = g_optimizer
        self.d_optimizer = d_optimizer
        self.adversarial_loss = adversarial_loss
        self.l1_weight = l1_weight
        self.num_labels = num_labels
        self.adversarial_weight = adversarial_weight
        self.precision = checked_precision(precision)
        self.average = average
        self.lesion_weight = lesion_weight

    def __call__(self, engine: Engine, batch: Mapping) -> dict[str, float]:
        label = one_hot(fetch(engine, batch, "label_map"), self.num_labels)  # (B, L, H, W)
        real = fetch(engine, batch, "image")  # (B, 1, H, W)
        self.generator.train()
        self.discriminator.train()
        with autocast(real.device, self.precision):
            fake = self.generator(label)
        fake = fake.float()
        output = self._update_discriminator(engine, label, real, fake.detach()) if self.adversarial_weight else {}
        output |= self._update_generator(engine, label, real, fake)
        if self.average is not None:
            self.average.update_parameters(self.generator)
        return finish(engine, output)

    def _update_discriminator(
        self, engine: Engine, label: torch.Tensor, real: torch.Tensor, fake: torch.Tensor
    ) -> dict[str, float]:
        # 1. Discriminator: real pairs towards 1, generated pairs towards 0.
        with autocast(real.device, self.precision):
            logits = self.discriminator(torch.cat([real, fake]), torch.cat([label, label]))
        d_real, d_fake = logits.float().chunk(2)
        loss = (self.adversarial_loss(d_real, True) + self.adversarial_loss(d_fake, False)) / 2
        return {
            "d_loss": update(engine, self.d_optimizer, "d_loss", loss),
            "d_real": d_real.mean().item(),
            "d_fake": d_fake.mean().item(),
        }

    def _update_generator(
        self, engine: Engine, label: torch.Tensor, real: torch.Tensor, fake: torch.Tensor
    ) -> dict[str, float]:
        # 2. Generator: fool the discriminator, stay close to the scan.
        weight = 1 + (self.lesion_weight - 1) * label[:, LESION : LESION + 1] if self.lesion_weight != 1 else 1
        l1 = ((fake - real).abs() * weight).mean()
        if not self.adversarial_weight:
            return {"loss": update(engine, self.g_optimizer, "loss", self.l1_weight * l1), "g_l1": l1.item()}
        with frozen(self.discriminator):
            with autocast(real.device, self.precision):
                logits = self.discriminator(fake, label)
            adversarial = self.adversarial_loss(logits.float(), True)
            loss = self.adversarial_weight * adversarial + self.l1_weight * l1
            value = update(engine, self.g_optimizer, "loss", loss)
        return {"loss": value, "g_adversarial": adversarial.item(), "g_l1": l1.item()}
