"""What is special about cyclegan_itm: unpaired batches, its overlay, fine-tuning, and a run that synthesis takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from common.bundles import train
from common.datalists import read_dataset
from common.grids import read_volume
from common.synthesis import synthesize_images

CONFIGS = Path("bundles/cyclegan_itm/configs")
SMALL = {
    "filters": 4, "discriminator_filters": [4, 4, 4], "epochs": 1, "draws_per_epoch": 16, "val_interval": 1,
    "pool_size": 4, "precision": "fp32",
}  # fmt: skip


def workflow(*names, **knobs):
    files = [str(CONFIGS / f"{name}.json") for name in names]
    flow = ConfigWorkflow(files, logging_file=False, workflow_type="train", **{**SMALL, **knobs})
    flow.initialize()
    return flow.parser


@pytest.mark.parametrize("knobs", [{}, {"stroke_share": 1.0}])
def test_label_maps_and_images_of_a_batch_are_not_pairs(dataset, knobs):
    still = {"flip": 0.0, "rotate": 0.0, "shear": 0.0, "scale": 0.0, "translate": 0.0}
    parser = workflow("train", dataset_dir=str(dataset), augmentation=still, **knobs)
    items = parser.get_parsed_content("train#dataset").data
    sampler = parser.get_parsed_content("train#sampler")
    first = [items[label_map[2]] for label_map, _ in sampler]
    second = [items[image[2]] for _, image in sampler]
    assert all(a["subject"] != b["subject"] for a, b in zip(first, second))
    assert {item["cohort"] for item in (*first, *second)} == ({"stroke"} if knobs else {"stroke", "normal"})

    own = [0, 0]
    for batch in parser.get_parsed_content("train#dataloader"):
        for label_map, image, its_map in zip(batch["label_map"], batch["image"], batch["image_label_map"]):
            own[0] += torch.equal(image > -1, label_map > 0)  # where there is brain
            own[1] += torch.equal(image > -1, its_map > 0)
    assert own[1] == 16
    assert own[0] < 4  # empty slices look alike


def test_the_overlay_sets_knobs_of_the_training_only():
    train_knobs, overlay = (json.loads((CONFIGS / f"{name}.json").read_text()) for name in ("train", "keep_lesion"))
    assert {key for key in overlay if not key.startswith("_")} < set(train_knobs)


def test_with_the_overlay_more_than_half_of_the_slices_hold_lesion_in_both_domains(dataset):
    parser = workflow("train", "keep_lesion", dataset_dir=str(dataset), draws_per_epoch=120)
    shares = torch.zeros(2)
    for batch in parser.get_parsed_content("train#dataloader"):
        shares += torch.tensor([(batch[key] == 28).flatten(1).any(1).sum() for key in ("label_map", "image_label_map")])
    assert (shares / 120 > 0.5).all()


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cyclegan") / "run"
    train("cyclegan_itm", ("demo", "keep_lesion"), dataset_dir=str(dataset), output_dir=str(folder), **SMALL)
    return folder


@pytest.mark.slow
def test_with_the_overlay_a_stopped_training_goes_on_to_the_same_result(run, dataset, tmp_path):
    knobs = {**SMALL, "dataset_dir": str(dataset), "epochs": 2}
    train("cyclegan_itm", ("demo", "keep_lesion"), output_dir=str(run), **knobs)
    train("cyclegan_itm", ("demo", "keep_lesion"), output_dir=str(tmp_path), **knobs)
    parts, whole = (torch.load(folder / "last.pt", weights_only=True)["state"] for folder in (run, tmp_path))
    assert len(whole["label_pool"]["images"]) == 4
    for name in ("generator", "reverse", "image_discriminator", "label_discriminator", "image_pool", "label_pool"):
        assert all(torch.equal(parts[name][key], value) for key, value in whole[name].items())


@pytest.mark.slow
def test_fine_tuning_starts_from_all_four_networks(run, dataset, tmp_path):
    knobs = {**SMALL, "learning_rate": 0.0, "stroke_share": 1.0, "dataset_dir": str(dataset)}
    train("cyclegan_itm", ("demo", "keep_lesion"), output_dir=str(tmp_path), pretrained=str(run), **knobs)
    before, after = (torch.load(folder / "last.pt", weights_only=True)["state"] for folder in (run, tmp_path))
    for name in ("generator", "reverse", "image_discriminator", "label_discriminator"):
        assert all(torch.equal(before[name][key], value) for key, value in after[name].items())


@pytest.mark.slow
def test_fine_tuning_keeps_the_language_of_the_label_maps(run, dataset, tmp_path):
    knobs = {**SMALL, "label_loss": "l1", "straight_through": False, "dataset_dir": str(dataset)}
    with pytest.raises(ValueError, match="was trained with label_loss 'balanced', this run has 'l1'"):
        train("cyclegan_itm", ("demo", "keep_lesion"), output_dir=str(tmp_path), pretrained=str(run), **knobs)


@pytest.mark.slow
def test_synthesis_takes_a_run(run, dataset, tmp_path):
    assert list(torch.load(run / "model.pt", weights_only=True)) == ["model"]
    out = synthesize_images("cyclegan_itm", run, dataset, seed=1, out=tmp_path, noise="none", brightness="none")
    made = read_dataset(out)
    image, anatomy = (read_volume(path)[0] for path in (made.cases[0].image, made.cases[0].anatomy))
    assert made.header["bundle"] == "cyclegan_itm"
    assert np.array_equal(image > -1, anatomy > 0)
