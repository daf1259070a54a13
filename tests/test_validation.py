from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from common.datalists import items
from common.grids import read_volume
from common.labels import LESION, inject
from common.losses import DiceCrossEntropy
from common.validation import LesionValidation, SegmentationValidation, TranslationValidation


def engine(iteration=1):
    return SimpleNamespace(state=SimpleNamespace(device=torch.device("cpu"), iteration=iteration, panels=[]))


class Threshold(nn.Module):
    """Calls everything above zero a lesion."""

    def forward(self, image):
        return torch.cat([-50 * image, 50 * image], 1)


class Grey(nn.Module):
    """A translator that paints each label in one grey; the lesion as it is told."""

    def __init__(self, lesion):
        super().__init__()
        greys = torch.full((29,), -0.2)
        greys[LESION] = lesion
        self.greys = nn.Parameter(greys)

    def forward(self, label):
        return (label * self.greys[:, None, None]).sum(1, keepdim=True)


def test_segmentation_of_a_perfect_network_has_dice_one_and_hardly_a_loss():
    label = torch.zeros(1, 1, 6, 7, 8)
    label[..., 2:4, 3:5, 1:3] = 1
    step = SegmentationValidation(Threshold(), DiceCrossEntropy(), "fp32")
    result = step(engine(), {"image": label * 2 - 1, "label": label})
    assert result["val_dice"] == 1
    assert result["val_loss"] < 1e-3


def test_a_missed_lesion_counts_as_zero_not_as_missing():
    label = torch.zeros(1, 1, 6, 7, 8)
    label[..., 2, 3, 1] = 1
    step = SegmentationValidation(Threshold(), DiceCrossEntropy(), "fp32")
    assert step(engine(), {"image": -torch.ones(1, 1, 6, 7, 8), "label": label})["val_dice"] == 0


@pytest.fixture
def case(dataset):
    item = items(str(dataset), "validation", ("image", "anatomy", "label"), lesions_only=True)[0]
    image, anatomy, lesion = (read_volume(item[key])[0] for key in ("image", "anatomy", "label"))
    volumes = {"image": image, "anatomy": anatomy, "label_map": inject(anatomy, lesion)}
    return {key: torch.from_numpy(np.ascontiguousarray(volume))[None, None] for key, volume in volumes.items()}


def test_a_translator_without_lesions_shows_in_the_contrast(dataset, case):
    gaps = [
        TranslationValidation(Grey(lesion), 29, "fp32", str(dataset), None)(engine(), case)["val_contrast_gap"]
        for lesion in (-0.2, 0.6)
    ]
    assert gaps[0] > gaps[1]


def test_image_metrics_look_at_the_brain_alone(dataset, case, monkeypatch):
    real, brain = case["image"][0, 0].numpy(), case["label_map"][0, 0].numpy() > 0
    step = TranslationValidation(Grey(0.6), 29, "fp32", str(dataset), None)

    def metrics(fake):
        monkeypatch.setattr("common.validation.translate_volume", lambda *args, **view: fake)
        return step(engine(), case)

    shifted = metrics(np.where(brain, real + 0.1, 0.7))
    noisy = metrics(real + np.random.default_rng(0).normal(0, 0.3, real.shape).astype(np.float32))
    assert metrics(np.where(brain, real + 1e-6, 0.7))["val_ssim"] == pytest.approx(1, abs=1e-3)
    assert shifted["val_l1"] == pytest.approx(0.1, abs=1e-5)
    assert shifted["val_psnr"] == pytest.approx(20 * np.log10(2 / 0.1), abs=1e-3)
    assert noisy["val_ssim"] < shifted["val_ssim"] < 1

    # A larger field of view is no merit.
    wide = {
        key: torch.nn.functional.pad(v, (0, 0, 9, 9, 9, 9), value=-1 if key == "image" else 0)
        for key, v in case.items()
    }
    fake = np.pad(np.where(brain, real + 0.1, -1), [(9, 9), (9, 9), (0, 0)], constant_values=-1)
    monkeypatch.setattr("common.validation.translate_volume", lambda *args, **view: fake)
    assert step(engine(), wide)["val_ssim"] == pytest.approx(shifted["val_ssim"], abs=1e-4)


def test_texture_is_measured_against_the_real_image_when_asked_for(dataset, case):
    plain, asked = (
        TranslationValidation(Grey(0.6), 29, "fp32", str(dataset), None, textures=textures)(engine(), case)
        for textures in (False, True)
    )
    assert asked.keys() - plain.keys() == {"val_noise", "val_coarse", "val_fine", "val_steps"}
    assert asked["val_noise"] < 0.01  # one grey per label has no noise


def test_the_fixed_segmenter_recovers_a_lesion_that_is_there(dataset, case, monkeypatch):
    monkeypatch.setattr("common.validation.load_network", lambda run, bundle: Threshold())
    found = [
        TranslationValidation(Grey(lesion), 29, "fp32", str(dataset), "run")(engine(), case) for lesion in (-0.2, 0.6)
    ]
    assert [one["val_recovered_dice"] for one in found] == [0, 1]
    lesion, real = case["label_map"] == LESION, case["image"] > 0
    true = (2 * (lesion & real).sum() / (lesion.sum() + real.sum())).item()
    assert [one["val_recovered_gap"] for one in found] == pytest.approx([true, 1 - true])


class Balls(nn.Module):
    """Draws the masks that it was given, one after the other."""

    def __init__(self, masks):
        super().__init__()
        self.masks, self.next = masks, 0

    def forward(self, latents):
        chosen = [self.masks[(self.next + i) % len(self.masks)] for i in range(len(latents))]
        self.next += len(latents)
        lesion = torch.from_numpy(np.stack(chosen)).float()
        return torch.stack([1 - lesion, lesion], 1)


def balls(count, radius, size=(20, 22, 10)):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"))
    centres = np.random.default_rng(0).uniform(6, [14, 16, 7], (count, 3))
    return [(((grid - c[:, None, None, None]) ** 2).sum(0) < radius**2).astype(np.uint8) for c in centres]


def lesion_validation(drawn, truth):
    masks = [{"lesion": mask[None]} for mask in truth]
    step = LesionValidation(Balls(drawn), 4, 24, 1, masks, (20, 22, 10), "fp32")
    return step(engine(), {})


def test_masks_like_the_real_ones_are_nearer_than_others():
    truth = balls(24, 4)
    same, larger = lesion_validation(truth, truth), lesion_validation(balls(24, 6), truth)
    assert same["val_ks"] < 0.05
    assert larger["val_ks"] > 0.3


def test_a_generator_that_draws_nothing_is_never_the_best():
    empty = [np.zeros((20, 22, 10), np.uint8)] * 3
    assert lesion_validation(empty, balls(12, 4))["val_ks"] == 1.0
