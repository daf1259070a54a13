"""A U-Net that finds structures instead of lesions, and the label maps that it gives to a data set."""

import json
import shutil

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from common.anatomy import label_anatomies, score_anatomies
from common.bundles import read_settings, train
from common.datalists import items, read_dataset
from common.evaluation import evaluate
from common.grids import read_volume
from common.labels import LESION, fitted, mirrored
from common.metrics import structure_dice
from common.prediction import segment, segment_anatomy

SMALL = {"channels": [4, 4, 8, 8], "batch_size": 2, "draws_per_epoch": 4, "epochs": 1, "num_workers": 0, "patience": 9}


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("anatomy") / "run"
    train("stroke_unet", ["anatomy"], dataset_dir=str(dataset), output_dir=str(folder), **SMALL)
    return folder


@pytest.fixture
def bare(dataset_copy):
    """A data set whose first three cases have lost their anatomy."""
    found = read_dataset(dataset_copy)
    lost = [case.subject for case in found.cases[:3]]
    content = json.loads((dataset_copy / "dataset.json").read_text()) | {"name": "bare"}
    for split in ("training", "validation", "test"):
        for entry in content[split]:
            if entry["subject"] in lost:
                (dataset_copy / entry["anatomy"]).unlink()
                entry["anatomy"] = None
    (dataset_copy / "dataset.json").write_text(json.dumps(content))
    return dataset_copy, lost


class Fixed(nn.Module):
    """Says the same label map to every image, with so many classes."""

    def __init__(self, labels: np.ndarray, classes: int):
        super().__init__()
        self.labels, self.classes = torch.as_tensor(labels).long(), classes

    def forward(self, image):
        return (
            nn.functional.one_hot(self.labels, self.classes).movedim(-1, 0)[None].float().repeat(len(image), 1, 1, 1, 1)
        )


def test_dice_of_known_label_maps():
    truth = np.array([1, 1, 2, 2, 3, 0])
    found = np.array([1, 1, 2, 3, 3, 5])
    dice = structure_dice(found, truth)
    np.testing.assert_allclose(dice[:3], [1, 2 / 3, 2 / 3])
    assert np.isnan(dice[3:]).all()  # also 5, which only the answer holds
    assert structure_dice(mirrored(truth[:, None]), truth[:, None])[0] == 0  # sides count


def test_labels_lie_in_the_brain_only(rng):
    labels = rng.integers(0, LESION, (4, 5, 6))
    image = rng.uniform(-1, 1, labels.shape).astype(np.float32)
    image[:2] = -1
    found = segment_anatomy(Fixed(labels, LESION), image)
    assert found.dtype == np.uint8
    assert not found[:2].any()
    np.testing.assert_array_equal(found[2:], labels[2:])


def test_a_network_of_the_other_kind_is_refused():
    image = np.zeros((2, 2, 2), np.float32)
    with pytest.raises(ValueError, match="28 classes apart, not 2"):
        segment_anatomy(Fixed(np.zeros(image.shape), 2), image)
    with pytest.raises(ValueError, match="segmenter of lesions is needed"):
        segment(Fixed(np.zeros(image.shape), LESION), image)


def test_the_atlas_is_fitted_to_the_brain():
    np.testing.assert_array_equal(fitted(np.array([3, 0, 4, 0]), np.array([True, True, False, False])), [3, 27, 0, 0])


def test_targets_are_label_maps_and_a_flip_swaps_their_sides(dataset):
    listed = items(str(dataset), "training", target="anatomy")
    assert all("/anatomy/" in item["label"] for item in listed)
    assert {item["cohort"] for item in listed} == {"normal", "stroke"}
    with pytest.raises(ValueError, match="expected lesion or anatomy"):
        items(str(dataset), "training", target="brain")

    parser = ConfigParser()
    parser.read_config([f"bundles/stroke_unet/configs/{name}.json" for name in ("train", "anatomy")])
    parser.update({"dataset_dir": str(dataset)})
    mirror = parser.get_parsed_content("train#random#0")
    mirror.prob = 1.0
    label_map = torch.as_tensor(read_volume(listed[0]["label"])[0])[None].float()
    flipped = mirror({"image": label_map, "label": label_map})["label"]
    np.testing.assert_array_equal(flipped[0], mirrored(label_map[0].numpy().astype(np.uint8)))


def test_cases_without_an_anatomy_are_left_out_of_the_training(bare):
    folder, lost = bare
    assert not set(lost) & {item["subject"] for item in items(str(folder), "training", target="anatomy")}


def test_only_cases_that_lack_an_anatomy_get_one_and_say_so(run, bare):
    folder, lost = bare
    before = {case.subject: read_volume(case.anatomy)[0] for case in read_dataset(folder).cases if case.anatomy}
    assert label_anatomies(str(folder), str(run)) == len(lost)

    for case in read_dataset(folder).cases:
        anatomy = read_volume(case.anatomy)[0]
        if case.subject in lost:
            assert anatomy.max() < LESION
            assert not anatomy[read_volume(case.image)[0] == -1].any()
            assert case.source["anatomy_by"]["run"] == str(run)
            assert case.source["cohort"] == case.cohort  # the rest of the sidecar is kept
        else:
            np.testing.assert_array_equal(anatomy, before[case.subject])
    assert label_anatomies(str(folder), str(run)) == 0


@pytest.mark.slow
def test_it_is_compared_on_cases_that_it_has_not_seen(run, dataset, bare, tmp_path):
    frame = score_anatomies(str(dataset), str(run))
    tested = {case.subject for case in read_dataset(dataset).select("test")}
    assert set(frame["subject"]) == tested
    assert frame["dice"].dropna().between(0, 1).all()
    assert (run / "anatomy_dice.csv").is_file()

    folder, _ = bare
    content = json.loads((folder / "dataset.json").read_text())
    own = content["test"][0]["subject"]
    (folder / content["test"][0]["anatomy"]).unlink()
    content["test"][0]["anatomy"] = None
    (folder / "dataset.json").write_text(json.dumps(content))
    label_anatomies(str(folder), str(run))
    assert set(score_anatomies(str(folder), str(run))["subject"]) == tested - {own}  # its own answer is no reference


def test_wrong_runs_and_grids_are_refused(run, dataset, make_dataset, tmp_path):
    assert read_settings(run)["settings"]["classes"] == LESION
    with pytest.raises(ValueError, match="segmenter of lesions is needed"):
        evaluate(str(run), str(dataset), str(tmp_path / "a.csv"), "validation")
    other = make_dataset(tmp_path / "other", (16, 16, 8)).folder
    with pytest.raises(ValueError, match=r"trained on a \(16, 24, 8\) grid.*--size 16,24,8"):
        label_anatomies(str(other), str(run))
    lesions = tmp_path / "lesions"
    shutil.copytree(run, lesions)
    content = read_settings(run)
    content["settings"] |= {"target": "lesion", "classes": 2}
    (lesions / "settings.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="weights do not fit"):
        label_anatomies(str(dataset), str(lesions))
