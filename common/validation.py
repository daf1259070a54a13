"""One validation iteration of each bundle: `iteration_update` of a monai Evaluator.

Each returns a flat dictionary of floats, whose means over the iterations are the metrics of the epoch, and leaves
panels for `handlers.samples` in the engine's state. A panel is (pixels, lowest, highest value, colour map).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ignite.engine import Engine
from monai.metrics.regression import compute_ssim_and_cs
from monai.networks.utils import eval_mode
from monai.utils import convert_to_numpy

from .bundles import load_network
from .datalists import read_dataset
from .fidelity import ks_distances, lesion_contrast, mask_features, tissue_sd
from .grids import grid_affine, minimum_lesion_voxels
from .labels import LESION
from .metrics import structure_dice
from .precision import autocast
from .prediction import segment
from .synthesis import translate_volume
from .texture import texture, texture_ratios

__all__ = ["AnatomyValidation", "LesionValidation", "SegmentationValidation", "TranslationValidation"]

RANGE = 2.0  # of an image, [-1, 1]
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # pixels, the usual Gaussian
GREY, RED, LABELS = "gray", "magma", "nipy_spectral"


class SegmentationValidation:
    """Loss and Dice of the lesion on whole volumes, batch "image" and "label" (B, 1, H, W, D)."""

    def __init__(self, network: torch.nn.Module, loss: Callable, precision: str, rows: int = 4):
        self.network, self.loss, self.precision, self.rows = network, loss, precision, rows

    def __call__(self, engine: Engine, batch: dict) -> dict[str, float]:
        device = engine.state.device
        image, label = batch["image"].to(device), batch["label"].to(device)
        with torch.no_grad(), eval_mode(self.network), autocast(device, self.precision):
            logits = self.network(image).float()
        if engine.state.iteration == 1:
            engine.state.panels = []
        if len(engine.state.panels) < self.rows:
            z = int((label[0, 0] > 0.5).sum((0, 1)).argmax())
            picture = {"image": (convert_to_numpy(image[0, 0, :, :, z]), -1, 1, GREY)}
            engine.state.panels.append(picture | self._panels(label, logits, z))
        return {"val_loss": float(self.loss(logits, label)), "val_dice": self._dice(label, logits)}

    def _dice(self, label: torch.Tensor, logits: torch.Tensor) -> float:
        predicted, truth = logits.argmax(1, keepdim=True).bool(), label > 0.5
        overlap = (predicted & truth).flatten(1).sum(1)
        size = predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)
        dice = torch.where(size > 0, 2 * overlap / size.clamp(min=1), torch.ones_like(overlap, dtype=torch.float))
        return float(dice.mean())

    def _panels(self, label: torch.Tensor, logits: torch.Tensor, z: int) -> dict:
        return {
            "truth": (convert_to_numpy((label[0, 0, :, :, z] > 0.5).float()), 0, 1, GREY),
            "lesion probability": (convert_to_numpy(logits.softmax(1)[0, 1, :, :, z]), 0, 1, RED),
        }


class AnatomyValidation(SegmentationValidation):
    """Loss and Dice of the structures on whole volumes, batch "image" and "label" (1, 1, H, W, D), ids 0 to 27.

    val_dice: mean over the structures that the reference holds.
    """

    def _dice(self, label: torch.Tensor, logits: torch.Tensor) -> float:
        return float(np.nanmean(structure_dice(convert_to_numpy(logits[0].argmax(0)), convert_to_numpy(label[0, 0]))))

    def _panels(self, label: torch.Tensor, logits: torch.Tensor, z: int) -> dict:
        maps = {"truth": label[0, 0, :, :, z], "found": logits[0, :, :, :, z].argmax(0)}
        return {title: (convert_to_numpy(ids), 0, LESION, LABELS) for title, ids in maps.items()}


class TranslationValidation:
    """What a translator makes of real validation maps, batch "label_map", "anatomy", "image" (1, 1, H, W, D).

    val_l1: mean absolute difference in the brain. val_psnr: peak signal to noise ratio there, in dB. val_ssim:
    structural similarity of the slices there. val_contrast_gap: difference of the lesion contrast to that
    of the real image, in standard deviations of the tissue. val_recovered_dice: Dice of a fixed segmenter on the
    translated image against the painted lesion, if there is a segmenter; val_recovered_gap: how far that is from its
    Dice on the real image, so that lesions which are easier to find than real ones are no merit.

    Args:
        network: the translator.
        num_labels: channels of its one-hot input.
        dataset_dir: real data set, whose training images give the spread of each tissue.
        segmenter: run folder of a `stroke_unet` trained on the training split, or None.
        rows: how many cases to draw.
        context, spatial_dims: see `translate_volume`; a network with noise gets the same in every epoch.
        textures: also measure val_noise, val_coarse, val_fine and val_steps, shares of the real image's texture
            (`common.texture.texture_ratios`).
    """

    def __init__(
        self,
        network: torch.nn.Module,
        num_labels: int,
        precision: str,
        dataset_dir: str,
        segmenter: str | None,
        rows: int = 4,
        context: int = 0,
        spatial_dims: int = 2,
        textures: bool = False,
    ):
        dataset = read_dataset(dataset_dir)
        self.network, self.num_labels, self.precision, self.rows = network, num_labels, precision, rows
        self.view, self.textures = {"context": context, "spatial_dims": spatial_dims}, textures
        self.spacing, self.tissue_sd = dataset.spacing, tissue_sd(dataset)
        self.segmenter = load_network(segmenter, "stroke_unet") if segmenter else None

    def __call__(self, engine: Engine, batch: dict) -> dict[str, float]:
        label_map, anatomy, real = (convert_to_numpy(batch[key][0, 0]) for key in ("label_map", "anatomy", "image"))
        with eval_mode(self.network):
            fake = translate_volume(self.network, label_map, self.num_labels, self.precision, **self.view)
        lesion, brain = label_map == LESION, label_map > 0
        contrasts = [lesion_contrast(image, anatomy, lesion, self.spacing, self.tissue_sd) for image in (fake, real)]
        result = {
            "val_l1": float(np.abs(fake - real)[brain].mean()),
            "val_psnr": float(10 * np.log10(RANGE**2 / np.square(fake - real)[brain].mean())),
            "val_ssim": _ssim(fake, real, brain),
            "val_contrast_gap": abs(contrasts[0] - contrasts[1]),  # NaN where no ring is: left out of the mean
        }
        if self.textures:
            ratios = texture_ratios(texture(fake, label_map), texture(real, label_map))
            result |= {f"val_{name}": ratio for name, ratio in ratios.items()}
        if self.segmenter is not None:
            drawn, true = (self._recovered(engine, image, lesion) for image in (fake, real))
            result |= {"val_recovered_dice": drawn, "val_recovered_gap": abs(drawn - true)}
        if engine.state.iteration == 1:
            engine.state.panels = []
        if len(engine.state.panels) < self.rows:
            z = int(lesion.sum((0, 1)).argmax())
            engine.state.panels.append(
                {
                    "label map": (label_map[:, :, z], 0, LESION, LABELS),
                    "synthetic": (fake[:, :, z], -1, 1, GREY),
                    "real": (real[:, :, z], -1, 1, GREY),
                }
            )
        return result

    def _recovered(self, engine: Engine, image: np.ndarray, lesion: np.ndarray) -> float:
        found = segment(self.segmenter.to(engine.state.device), image, self.precision) > 0
        return float(2 * (found & lesion).sum() / max(found.sum() + lesion.sum(), 1))


def _ssim(fake: np.ndarray, real: np.ndarray, brain: np.ndarray) -> float:
    """Mean over the brain's voxels, of slices (H, W, D) whose background is the same."""
    margin = SSIM_WINDOW // 2
    stacks = []
    for image in (fake, real):
        slices = np.pad(np.where(brain, image, -1).astype(np.float32), [(margin, margin)] * 2 + [(0, 0)], "edge")
        stacks.append(torch.from_numpy(slices).movedim(2, 0)[:, None])  # (D, 1, H, W)
    similarity, _ = compute_ssim_and_cs(
        *stacks, spatial_dims=2, data_range=RANGE, kernel_size=[SSIM_WINDOW] * 2, kernel_sigma=[SSIM_SIGMA] * 2
    )
    return float(similarity[:, 0].movedim(0, 2)[torch.from_numpy(brain)].mean())


class LesionValidation:
    """How far the distributions of generated masks are from those of validation masks (KS distances; 0 is best).

    Args:
        generator: noise -> (B, 2, H, W, D).
        latent_size, count: `count` latents, fixed by `seed`, so that epochs are comparable.
        masks: validation masks, {"lesion": (1, H, W, D)} items.
        size: of their grid, which also tells how many voxels a mask must have to count, as at synthesis.
    """

    def __init__(
        self,
        generator: torch.nn.Module,
        latent_size: int,
        count: int,
        seed: int,
        masks: list,
        size: tuple[int, int, int],
        precision: str,
    ):
        self.generator, self.precision = generator, precision
        self.affine = grid_affine(size)
        self.minimum = minimum_lesion_voxels(self.affine)
        self.latents = torch.randn(count, latent_size, generator=torch.Generator().manual_seed(seed))
        self.truth = [
            mask_features(convert_to_numpy(masks[i]["lesion"])[0] > 0.5, self.affine) for i in range(len(masks))
        ]

    def __call__(self, engine: Engine, batch: dict) -> dict[str, float]:
        drawn = []
        with torch.no_grad(), eval_mode(self.generator), autocast(engine.state.device, self.precision):
            for latents in self.latents.split(32):
                drawn.append((self.generator(latents.to(engine.state.device))[:, 1] > 0.5).cpu().numpy())
        masks = np.concatenate(drawn)
        kept = [mask for mask in masks if mask.sum() >= self.minimum]
        engine.state.panels = [
            {
                f"mask {i}": (mask.sum(2).astype(float), 0, mask.shape[2] / 2, RED)
                for i, mask in enumerate(masks[k : k + 6], k)
            }
            for k in range(0, min(18, len(masks) // 6 * 6), 6)
        ]
        if len(kept) < 8:  # too few for a distribution: the worst distance, so that such an epoch is never the best
            return {"val_ks": 1.0, "val_share_large_enough": len(kept) / len(masks)}
        distances = ks_distances(self.truth, [mask_features(mask, self.affine) for mask in kept])
        return {
            "val_ks": float(np.mean(list(distances.values()))),
            "val_share_large_enough": len(kept) / len(masks),
            **{f"val_ks_{name}": float(value) for name, value in distances.items()},
        }
