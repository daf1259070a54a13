"""Scans and their masks on the grid of a segmenter: what a training through MONAI Label learns from."""

import numpy as np
import pytest
import torch
from scans import LESION_MM, affine_of, points_of, save, save_mha, scan

from common.datalists import read_dataset
from common.grids import grid_affine, read_volume, write_volume
from common.labelled_scans import LabelToGrid
from common.scanner_space import FromScannerd

SIZE = (64, 64, 32)


def on_grid(image, label, size=SIZE):
    return LabelToGrid()(FromScannerd("image", size)({"image": str(image), "label": str(label)}))


@pytest.mark.parametrize(("codes", "degrees"), [("RAS", 0), ("LAS", 0), ("LPI", -12)])
def test_the_mask_lies_on_the_lesion_of_the_image_on_the_grid(tmp_path, codes, degrees):
    one = scan(codes, degrees)
    image = save(tmp_path / "scan.nii.gz", one.image, one.affine)
    label = save(tmp_path / "label.nii.gz", one.mask, one.affine, np.uint8)

    item = on_grid(image, label)

    bright = item["image"] > 0.8  # the lesion is the brightest by far
    found = item["label"] > 0
    assert item["label"].dtype == item["image"].dtype == torch.float32
    assert set(item["label"].unique().tolist()) == {0, 1}
    assert 2 * (bright & found).sum() / (bright.sum() + found.sum()) > 0.8
    volume = float(found.sum()) * abs(np.linalg.det(grid_affine(SIZE)[:3, :3]))
    assert volume == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.15)  # mm3 of the ball


def test_a_mask_on_other_voxels_than_the_scan_is_carried_by_its_affine(tmp_path):
    one = scan("LAS", 10)
    image = save(tmp_path / "scan.nii.gz", one.image, one.affine)
    same = save(tmp_path / "same.nii.gz", one.mask, one.affine, np.uint8)
    affine = affine_of("RAS") @ np.diag([0.8, 0.8, 0.5, 1])
    affine[:3, 3] = LESION_MM - affine[:3, :3] @ np.array([15, 15, 15])
    ball = np.linalg.norm(points_of(affine, (31, 31, 31)) - LESION_MM, axis=-1) < 14

    other = on_grid(image, save_mha(tmp_path / "other.mha", ball, affine))["label"] > 0

    expected = on_grid(image, same)["label"] > 0
    assert 2 * (other & expected).sum() / (other.sum() + expected.sum()) > 0.75  # two voxelisations of one ball


def test_on_the_grid_mask_and_image_stay_as_they_are(dataset):
    data = read_dataset(dataset)
    case = data.select("training", has_lesion=True)[0]
    item = on_grid(case.image, case.label, data.size)

    for key, path in (("image", case.image), ("label", case.label)):
        assert np.array_equal(item[key][0].numpy(), read_volume(path)[0])


@pytest.mark.filterwarnings("ignore:.*No lesion is looked for")
def test_what_cannot_be_learned_from_is_refused_by_name(tmp_path):
    one = scan()
    label = save(tmp_path / "label.nii.gz", one.mask, one.affine, np.uint8)
    blank = save(tmp_path / "blank.nii.gz", np.zeros_like(one.image), one.affine)
    with pytest.raises(ValueError, match=r"blank.nii.gz: cannot be trained on"):
        on_grid(blank, label)

    image = save(tmp_path / "scan.nii.gz", one.image, one.affine)
    far = one.affine.copy()
    far[:3, 3] += 900
    write_volume(tmp_path / "far.nii.gz", one.mask, far)
    with pytest.raises(ValueError, match=r"far.nii.gz: its lesion lies outside"):
        on_grid(image, tmp_path / "far.nii.gz")
