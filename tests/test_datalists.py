from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from monai.data import load_decathlon_datalist

from common.datalists import fingerprint, items, read_dataset, refuse_foreign_donors, size_of, write_dataset


def edit(folder: Path, function) -> None:
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def edit_sidecar(folder: Path, subject: str, **changes) -> None:
    path = folder / "sidecars" / f"{subject}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def make_synthetic(make_dataset, folder: Path, donor: str) -> Path:
    """A data set whose training cases are synthetic ones of one donor."""
    dataset = make_dataset(folder, seed=9, counts={"normal": 1, "training": 2, "validation": 0, "test": 0})
    write_dataset(folder, dataset.header | {"synthetic": True}, dataset.select("training"))
    edit(folder, lambda content: [entry.update(subject=f"syn-{entry['subject']}") for entry in content["training"]])
    for case in dataset.select("training"):
        edit_sidecar(folder, case.subject, donor=donor)
    return folder


def test_reading_gives_cases_by_split_cohort_and_lesion(dataset):
    data = read_dataset(dataset)

    assert data.size == (16, 24, 8)
    assert size_of(str(dataset)) == [16, 24, 8]
    assert len(data.select("training", "stroke", has_lesion=True)) == 4
    assert len(data.select("training", "normal")) == 3
    assert len(data.select("test", has_lesion=False)) == 1
    assert all(case.label is None for case in data.select(cohort="normal"))
    assert data.cases[0].source["source_brain"] == "brain-case-01"


def test_writing_what_was_read_changes_nothing(dataset_copy):
    before = (dataset_copy / "dataset.json").read_text()
    data = read_dataset(dataset_copy)

    write_dataset(dataset_copy, data.header, data.cases)

    assert (dataset_copy / "dataset.json").read_text() == before


def test_monai_reads_the_same_file(dataset):
    listed = load_decathlon_datalist(str(dataset / "dataset.json"), data_list_key="training")

    assert len(listed) == len(read_dataset(dataset).select("training"))
    assert Path(listed[0]["image"]).is_file()


def test_items_name_files_and_leave_out_the_label_of_lesion_free_cases(dataset):
    listed = items(str(dataset), "training", ("image", "label", "anatomy"))

    assert {item["source"] for item in listed} == {"real"}
    assert [("label" in item) for item in listed] == [True] * 4 + [False] * 4
    assert all(Path(item["anatomy"]).is_file() for item in listed)
    assert len(items(str(dataset), "training", lesions_only=True)) == 4


def test_fewer_clinical_cases_are_nested_and_keep_the_normal_cohort(dataset):
    smaller, larger = (
        {item["subject"] for item in items(str(dataset), "training", clinical_cases=count)} for count in (1, 3)
    )

    assert smaller < larger
    assert {"case-06", "case-07", "case-08"} <= smaller
    assert len(smaller) == 4
    with pytest.raises(ValueError, match="clinical_cases is 5, but training has 4"):
        items(str(dataset), "training", clinical_cases=5)


def test_synthetic_cases_are_appended_and_marked(dataset, make_dataset, tmp_path):
    synthetic = make_synthetic(make_dataset, tmp_path / "synthetic", donor="case-06")

    listed = items(str(dataset), "training", lesions_only=True, synthetic_dir=str(synthetic))

    assert [item["source"] for item in listed] == ["real"] * 4 + ["synthetic"] * 4
    assert sorted("label" in item for item in listed) == [False] * 2 + [True] * 6  # of a set every case is wanted


def test_synthetic_cases_of_a_held_out_donor_are_refused(dataset, make_dataset, tmp_path):
    synthetic = make_synthetic(make_dataset, tmp_path / "synthetic", donor="case-12")

    with pytest.raises(ValueError, match=r"donor case-12 of synthetic case syn-case-01 is in 'test'"):
        items(str(dataset), "training", synthetic_dir=str(synthetic))
    with pytest.raises(ValueError, match="Draw the set again from training cases"):
        refuse_foreign_donors(read_dataset(dataset), read_dataset(synthetic))


def test_synthetic_cases_on_another_grid_are_refused(dataset, make_dataset, tmp_path):
    other = make_dataset(tmp_path / "other", size=(16, 16, 8))

    with pytest.raises(ValueError, match=r"grid \(16, 16, 8\), but .* has \(16, 24, 8\)"):
        items(str(dataset), "training", synthetic_dir=str(other.folder))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda c: c.pop("size"), ValueError, r"lacks \['size'\]"),
        (lambda c: c["training"][0].pop("subject"), ValueError, "an entry of 'training' has no subject"),
        (lambda c: c["training"][0].update(cohort="sick"), ValueError, "case-01 has cohort 'sick'; expected one of"),
        (lambda c: c["training"][0].update(image=None), ValueError, "case-01 has no image"),
        (lambda c: c["training"][0].update(image="../x.nii.gz"), ValueError, "outside the data set. Copy it inside"),
        (lambda c: c["training"][0].update(image="images/x.nii.gz"), FileNotFoundError, "image of subject case-01 is"),
        (lambda c: c["test"].append(c["training"][0]), ValueError, "case-01 stands in 'training' and 'test'"),
        (lambda c: c["test"].append(c["test"][0]), ValueError, "case-12 stands twice in 'test'"),
    ],
)
def test_broken_contract_is_refused_with_file_and_subject(dataset_copy, function, error, message):
    edit(dataset_copy, function)

    with pytest.raises(error, match=message) as raised:
        read_dataset(dataset_copy)
    assert str(dataset_copy / "dataset.json") in str(raised.value)


@pytest.mark.parametrize("key", ["source_brain", "source_mask", "donor"])
def test_one_origin_in_two_splits_is_refused(dataset_copy, key):
    for subject in ("case-01", "case-12"):
        edit_sidecar(dataset_copy, subject, **{key: "shared"})

    with pytest.raises(ValueError, match=f"{key} 'shared' is in 'training' .* and in 'test' .*case-12"):
        read_dataset(dataset_copy)


def test_invalid_json_and_no_json_are_refused(dataset_copy, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no dataset.json. Make one with `python -m scripts.data phantom"):
        read_dataset(tmp_path / "nowhere")
    (dataset_copy / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_dataset(dataset_copy)


def test_nothing_to_train_on_and_missing_anatomy_are_refused(dataset_copy):
    edit(dataset_copy, lambda content: content["training"][0].update(anatomy=None))
    with pytest.raises(ValueError, match="subject case-01 has no anatomy, needed here"):
        items(str(dataset_copy), "training", ("image", "anatomy"))
    edit(dataset_copy, lambda content: content.update(validation=[]))
    with pytest.raises(ValueError, match=r"no validation cases. `python -m scripts.data split"):
        items(str(dataset_copy), "validation")


def test_volume_of_a_voxel_follows_the_affine(dataset):
    data = read_dataset(dataset)

    assert data.voxel_ml == pytest.approx(np.prod(data.spacing) / 1000)
    assert data.simulated
    assert not data.synthetic


@pytest.mark.parametrize("key", ["source_brain", "source_mask"])
def test_synthetic_cases_from_a_brain_or_mask_of_a_held_out_case_are_refused(dataset, make_dataset, tmp_path, key):
    held_out = read_dataset(dataset).select("test", has_lesion=True)[0]
    synthetic = read_dataset(make_synthetic(make_dataset, tmp_path / "synthetic", donor="case-01"))
    for case in synthetic.cases:
        changes = {"source_brain": None, "source_mask": None, key: held_out.source[key]}
        case.sidecar.write_text(json.dumps(case.source | changes))

    with pytest.raises(ValueError, match=rf"{key} .* of synthetic case syn-.* is in 'test'"):
        refuse_foreign_donors(read_dataset(dataset), read_dataset(synthetic.folder))


def test_a_broken_sidecar_is_named(dataset_copy):
    sidecar = next(iter(sorted((dataset_copy / "sidecars").iterdir())))
    sidecar.write_text("{")
    with pytest.raises(ValueError, match=rf"{sidecar.name}: sidecar of subject .* is not valid JSON"):
        read_dataset(dataset_copy)


def test_a_new_split_changes_the_fingerprint(dataset, dataset_copy):
    assert fingerprint(dataset) == fingerprint(dataset_copy)
    content = json.loads((dataset_copy / "dataset.json").read_text())
    content["test"].append(content["training"].pop())
    (dataset_copy / "dataset.json").write_text(json.dumps(content))
    assert fingerprint(dataset) != fingerprint(dataset_copy)
