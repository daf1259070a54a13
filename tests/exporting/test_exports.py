"""A data set as nnU-Net and as BIDS want it."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from common.datalists import read_dataset, write_dataset
from common.exporting.bids import export_bids
from common.exporting.nnunet import export_nnunet
from common.grids import read_volume


@pytest.fixture
def synthetic(make_dataset, dataset, tmp_path):
    """A synthetic set of three cases, donors from the training cases of `dataset`."""
    donors = read_dataset(dataset).select("training", "normal")

    def make(donor=donors[0].subject):
        made = make_dataset(tmp_path / "synthetic", counts={"normal": 0, "training": 3, "validation": 0, "test": 0})
        cases = [case for case in made.cases if case.label is not None and case.split == "training"]
        for case in cases:
            case.sidecar.write_text(
                json.dumps({**case.source, "donor": donor, "source_brain": None, "source_mask": None})
            )
        cases = [replace(case, subject=f"synthetic-{n:05d}") for n, case in enumerate(cases)]
        return write_dataset(made.folder, {**made.header, "synthetic": True}, cases).folder

    return make


def test_nnunet_gets_files_labels_and_one_fold_in_which_synthetic_cases_train(dataset, synthetic, tmp_path):
    real, made = read_dataset(dataset), synthetic()
    raw = export_nnunet(dataset, tmp_path / "nnunet", 501, made)

    assert raw.name == "Dataset501_fabricated"
    description = json.loads((raw / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "DWI"}
    assert description["labels"] == {"background": 0, "lesion": 1}
    images = {path.name.removesuffix("_0000.nii.gz") for path in (raw / "imagesTr").iterdir()}
    assert {path.name.removesuffix(".nii.gz") for path in (raw / "labelsTr").iterdir()} == images
    assert description["numTraining"] == len(images)
    (fold,) = json.loads((tmp_path / "nnunet/nnUNet_preprocessed/Dataset501_fabricated/splits_final.json").read_text())
    drawn = {f"synthetic-{n:05d}" for n in range(3)}
    assert set(description["synthetic"]) == drawn <= set(fold["train"])
    assert set(fold["val"]) == {case.subject for case in real.select("validation", "stroke")}
    assert set(fold["train"]) | set(fold["val"]) == images
    tests = {path.name.removesuffix("_0000.nii.gz") for path in (raw / "imagesTs").iterdir()}
    assert tests == {case.subject for case in real.select("test", "stroke")}
    assert not tests & images
    for case in real.select("training", "stroke"):
        label = np.asarray(nib.load(raw / "labelsTr" / f"{case.subject}.nii.gz").dataobj)
        expected = np.zeros(real.size) if case.label is None else read_volume(case.label)[0]
        np.testing.assert_array_equal(label, expected)


def test_nnunet_refuses_what_would_leak_or_be_lost(dataset, synthetic, tmp_path):
    held_out = read_dataset(dataset).select("test")[0].subject
    with pytest.raises(ValueError, match=rf"donor {held_out} of synthetic case .* is in 'test'"):
        export_nnunet(dataset, tmp_path / "nnunet", 501, synthetic(held_out))
    with pytest.raises(ValueError, match="is no synthetic data set"):
        export_nnunet(dataset, tmp_path / "nnunet", 501, dataset)
    with pytest.raises(ValueError, match="--number 0: expected 1 to 999"):
        export_nnunet(dataset, tmp_path / "nnunet", 0)
    export_nnunet(dataset, tmp_path / "nnunet", 501)
    with pytest.raises(ValueError, match="is there already"):
        export_nnunet(dataset, tmp_path / "nnunet", 501)


def test_bids_derivatives_say_what_they_are_and_hold_every_case(synthetic, tmp_path):
    made = read_dataset(synthetic())
    out = export_bids(made.folder, tmp_path / "bids")

    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"]
    assert len((out / "participants.tsv").read_text().splitlines()) == 4
    for n, case in enumerate(made.cases):
        start = out / f"sub-synthetic{n:05d}" / "dwi" / f"sub-synthetic{n:05d}_space-MNI152NLin2009aSym"
        image = nib.load(f"{start}_desc-synthetic_dwi.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), read_volume(case.image)[0])
        np.testing.assert_allclose(image.affine, made.affine, atol=1e-4)
        assert nib.load(f"{start}_label-lesion_mask.nii.gz").shape == made.size
        sidecar = json.loads((start.parent / f"{start.name}_desc-synthetic_dwi.json").read_text())
        assert sidecar["Provenance"]["donor"] == case.source["donor"]
    with pytest.raises(ValueError, match="is there already"):
        export_bids(made.folder, out)
