from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from common.datalists import read_dataset
from common.dataset_check import findings, refuse_broken
from common.grids import grid_affine, write_volume
from common.labels import mirrored


def change(folder: Path, key: str, function, subject: str = "case-01", affine: np.ndarray | None = None) -> None:
    """Rewrite one file of a case with `function(voxels)`."""
    case = next(case for case in read_dataset(folder).cases if case.subject == subject)
    image = nib.load(getattr(case, key))
    voxels = function(np.array(image.dataobj))
    write_volume(getattr(case, key), voxels, image.affine if affine is None else affine)


def edit_json(folder: Path, function) -> None:
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def put(value):
    """A function that sets one voxel in the middle of the volume."""

    def changed(voxels):
        voxels[8, 12, 4] = value
        return voxels

    return changed


def corner(lesion):
    """A mask outside the brain."""
    lesion[:] = 0
    lesion[:2, :3] = 1
    return lesion


def only(folder: Path, severity: str | None = None):
    found = [finding for finding in findings(folder) if severity in (None, finding.severity)]
    assert len(found) == 1, [str(finding) for finding in found]
    return found[0]


def test_sound_data_have_no_findings(dataset):
    assert findings(dataset) == []
    refuse_broken(dataset, needs=("image", "anatomy"), splits=("training", "validation", "test"))


@pytest.mark.parametrize(
    ("key", "function", "severity", "message"),
    [
        ("image", put(np.nan), "error", "1 voxels are NaN"),
        ("image", put(np.inf), "error", "1 voxels are NaN or infinite"),
        ("image", put(1.5), "error", "to 1.5, expected -1 to 1"),
        ("image", np.zeros_like, "error", "all voxels are 0"),
        ("image", lambda v: v.clip(-0.5), "warning", "the background is -0.5, expected -1"),
        ("image", lambda v: np.stack([v, v], -1), "error", "4D of shape 16x24x8x2, expected 3D"),
        ("image", lambda v: v[:, :, :7], "error", "shape 16x24x7, expected 16x24x8"),
        ("label", lambda v: v.swapaxes(0, 1), "error", "shape 24x16x8, expected 16x24x8"),
        ("label", lambda v: v * 255, "error", r"mask values \[0, 255\], expected 0 and 1"),
        ("label", np.zeros_like, "warning", "the lesion mask is empty"),
        ("label", corner, "warning", "100% of the lesion lie on background of the image"),
        ("anatomy", put(77), "error", r"label ids \[77\] are not anatomy, expected 0 to 27"),
        ("anatomy", put(28), "error", r"label ids \[28\] are not anatomy"),
        ("anatomy", np.zeros_like, "error", "all voxels are background"),
        ("anatomy", lambda v: np.flip(v, 0), "error", "left and right are swapped: left labels have mean x 2"),
    ],
)
def test_damage_is_found_and_names_subject_and_file(dataset_copy, key, function, severity, message):
    change(dataset_copy, key, function)

    found = [finding for finding in findings(dataset_copy) if finding.severity == severity]

    assert found
    assert found[0].subject == "case-01"
    assert found[0].file.endswith("/case-01.nii.gz")
    assert found[0].remedy
    assert re.search(message, found[0].message)


def test_swapped_ids_of_one_pair_are_found(dataset_copy):
    def swap_ventricles(anatomy):
        return np.where(anatomy == 5, 6, np.where(anatomy == 6, 5, anatomy)).astype(np.uint8)

    change(dataset_copy, "anatomy", swap_ventricles)

    assert "left lateral ventricle (5) lies to the right" in only(dataset_copy).message


def test_mirrored_brain_with_swapped_ids_is_sound(dataset_copy):
    change(dataset_copy, "anatomy", mirrored, subject="case-06")

    assert findings(dataset_copy) == []


def test_mask_off_the_image_grid_is_an_error(dataset_copy):
    shifted = grid_affine((16, 24, 8))
    shifted[0, 3] += 2.5
    change(dataset_copy, "label", lambda v: v, affine=shifted)

    assert "off the grid: its affine differs from that of dataset.json by up to 2.5 mm" in only(dataset_copy).message


def test_truncated_file_is_an_error(dataset_copy):
    path = dataset_copy / "images" / "case-03.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])

    finding = only(dataset_copy)

    assert (finding.severity, finding.subject) == ("error", "case-03")
    assert "cannot be read as NIfTI" in finding.message


@pytest.mark.parametrize(("copy", "severity"), [("case-02", "warning"), ("case-12", "error")])
def test_duplicated_image_is_an_error_across_splits(dataset_copy, copy, severity):
    original = dataset_copy / "images" / "case-01.nii.gz"
    (dataset_copy / "images" / f"{copy}.nii.gz").write_bytes(original.read_bytes())

    duplicate = next(finding for finding in findings(dataset_copy) if "the same image" in finding.message)

    assert duplicate.severity == severity
    assert duplicate.message.startswith("the same image as case-01")


def test_speck_is_a_warning_where_the_grid_is_fine(make_dataset, tmp_path):
    folder = make_dataset(tmp_path / "fine", size=(64, 72, 40)).folder
    change(folder, "label", lambda v: (np.cumsum(v).reshape(v.shape) <= 5).astype(np.uint8) * v)

    assert "a lesion of 5 voxels, fewer than" in only(folder).message


def test_sidecar_of_another_subject_is_an_error(dataset_copy):
    sidecars = dataset_copy / "sidecars"
    content = json.loads((sidecars / "case-02.json").read_text()) | {"source_brain": None, "source_mask": None}
    (sidecars / "case-02.json").write_text(json.dumps(content | {"subject": "someone"}))

    assert only(dataset_copy).message == "belongs to subject someone"


def test_missing_header_words_and_sidecars_are_warnings(dataset_copy):
    edit_json(dataset_copy, lambda content: content.update(licence="", simulated="no"))
    edit_json(dataset_copy, lambda content: content["training"][0].update(sidecar=None))

    found = {finding.severity: finding.message for finding in findings(dataset_copy)[:2]}

    assert found == {"error": "'simulated' is 'no', expected true or false", "warning": "says nothing of licence"}
    assert findings(dataset_copy)[2].message.startswith("1 cases have no sidecar (case-01")


def test_broken_data_are_refused_before_training_with_the_first_errors_and_the_command(dataset_copy):
    for subject in ("case-01", "case-02", "case-09"):
        change(dataset_copy, "image", put(np.nan), subject)

    with pytest.raises(ValueError, match=r"3 errors in the data:\n  case-01: images/case-01.nii.gz: 1 voxels are NaN"):
        refuse_broken(dataset_copy)
    with pytest.raises(ValueError, match=r"`python -m scripts.data check --data \S+` lists all"):
        refuse_broken(dataset_copy)


def test_only_used_splits_are_looked_at(dataset_copy):
    change(dataset_copy, "image", put(np.nan), "case-12")

    refuse_broken(dataset_copy, splits=("training", "validation"))
    with pytest.raises(ValueError, match="1 error in the data"):
        refuse_broken(dataset_copy, splits=("test",))


def test_warnings_do_not_refuse(dataset_copy):
    change(dataset_copy, "label", np.zeros_like)

    refuse_broken(dataset_copy)


def test_empty_split_missing_anatomy_and_wrong_size_are_refused(dataset_copy):
    with pytest.raises(
        ValueError, match=r"the grid is 16x24x8, expected 16x16x8. Make the data set with `--size 16,16,8`"
    ):
        refuse_broken(dataset_copy, size=(16, 16, 8))
    edit_json(dataset_copy, lambda content: content["training"][1].update(anatomy=None))
    with pytest.raises(ValueError, match="subject case-02 has no anatomy, needed here"):
        refuse_broken(dataset_copy, needs=("image", "anatomy"))
    edit_json(dataset_copy, lambda content: content.update(training=[]))
    with pytest.raises(ValueError, match=r"no training cases. `python -m scripts.data split"):
        refuse_broken(dataset_copy)


def test_folder_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a data set: it has no dataset.json"):
        refuse_broken(tmp_path)


def test_preflight_reads_every_file_once_and_none_of_other_splits(make_dataset, tmp_path, monkeypatch):
    dataset = make_dataset(tmp_path / "demo")
    reads = []
    monkeypatch.setattr(nib, "load", lambda path, load=nib.load: reads.append(str(path)) or load(path))

    refuse_broken(dataset.folder, needs=("image", "anatomy"), splits=("training",))

    files = {getattr(case, key) for case in dataset.select("training") for key in ("image", "label", "anatomy")}
    assert sorted(reads) == sorted(str(file) for file in files if file is not None)
