"""Whole imports: what comes out lies where it was, on the right side, in the right split."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scans import LESION_MM, affine_of, bids, isles15, isles22_a, isles22_b, isles22_c, save, scan, soop

from common.datalists import read_dataset
from common.dataset_check import findings
from common.grids import grid_affine, read_volume
from common.importing.importer import import_dataset
from common.preprocessing.pipeline import Options
from common.preprocessing.restoring import restore_volume
from common.preprocessing.to_mni import shift_to_mni

SIZE = (64, 64, 32)
QUICK = Options(SIZE, "shift")


def imported(tmp_path, layout, **settings):
    return import_dataset(layout, tmp_path / "source", tmp_path / "data", options=QUICK, **settings)


def centre(mask, affine):
    return np.argwhere(mask > 0).mean(0) @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("layout", ["isles22_a", "isles22_b", "isles15", "soop", "bids"])
@pytest.mark.parametrize(("codes", "degrees"), [("RAS", 0), ("LAS", 0), ("LPS", 12), ("LPI", -12)])
def test_image_and_mask_end_where_they_were_whatever_the_axes(tmp_path, layout, codes, degrees):
    one = scan(codes, degrees)
    source = tmp_path / "source"
    if layout == "bids":
        bids(source, "a", "", one)
    else:
        {"isles22_a": isles22_a, "isles22_b": isles22_b, "isles15": isles15, "soop": soop}[layout](source, 1, one)

    dataset = imported(tmp_path, layout.split("_")[0])

    (case,) = dataset.cases
    image, lesion = read_volume(case.image)[0], read_volume(case.label)[0]
    shift = np.array(case.source["preparation"]["matrix"])
    expected = LESION_MM - shift[:3, 3]
    assert expected[0] > 20  # right
    np.testing.assert_allclose(centre(lesion, dataset.affine), expected, atol=2.5)
    np.testing.assert_allclose(centre(image > 0.95, dataset.affine), expected, atol=3)
    volume = lesion.sum() * dataset.voxel_ml
    assert volume == pytest.approx(one.mask.sum() * 0.12, rel=0.15)
    assert image.min() == -1
    assert [finding for finding in findings(dataset) if finding.severity == "error"] == []


def test_containers_mha_is_read_with_its_orientation(tmp_path):
    one = scan("LPS", 12)
    isles22_c(tmp_path / "source", "case", one)
    dataset = imported(tmp_path, "isles22")

    (case,) = dataset.cases
    shift = np.array(case.source["preparation"]["matrix"])
    np.testing.assert_allclose(
        centre(read_volume(case.image)[0] > 0.95, dataset.affine), LESION_MM - shift[:3, 3], atol=3
    )
    assert case.label is None
    assert (tmp_path / "data" / "extra" / "case_adc.nii.gz").is_file()


@pytest.mark.slow
def test_registration_undoes_a_turn_that_shifting_cannot(tmp_path):
    from common.phantom.mni import MNI_AFFINE, mni_maps

    maps = mni_maps()
    brain = (1.1 * maps.grey + 0.95 * maps.white + 0.35 * maps.csf)[::3, ::3, ::3] * 300
    own = MNI_AFFINE @ np.diag([3, 3, 3, 1])
    angle = np.deg2rad(15)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = (10, -20, 30)
    save(tmp_path / "source" / "a.nii.gz", brain, turn @ own)

    dataset = import_dataset("folder", tmp_path / "source", tmp_path / "data", options=Options(SIZE), images="*.nii.gz")

    found = np.array(dataset.cases[0].source["preparation"]["matrix"])
    points = np.argwhere(brain > 100)[::50] @ own[:3, :3].T + own[:3, 3]
    error = np.linalg.norm(points @ (found - turn)[:3, :3].T + (found - turn)[:3, 3], axis=1)
    assert error.mean() < 1.5
    assert error.max() < 3
    naive = shift_to_mni(brain > 0, turn @ own) - turn
    assert np.linalg.norm(points @ naive[:3, :3].T + naive[:3, 3], axis=1).max() > 10


@pytest.mark.slow
def test_a_deformed_import_leads_back_to_the_scanner(tmp_path):
    from common.phantom.mni import MNI_AFFINE, mni_maps

    maps = mni_maps()
    brain = (1.1 * maps.grey + 0.95 * maps.white + 0.35 * maps.csf)[::3, ::3, ::3] * 300
    affine = MNI_AFFINE @ np.diag([3.3, 2.9, 3, 1])
    mask = np.zeros(brain.shape, np.uint8)
    mask[36:44, 40:50, 24:32] = brain[36:44, 40:50, 24:32] > 100
    save(tmp_path / "source" / "images" / "a.nii.gz", brain, affine)
    save(tmp_path / "source" / "masks" / "a.nii.gz", mask, affine)
    dataset = import_dataset(
        "folder", tmp_path / "source", tmp_path / "data", options=Options((128, 128, 64), "deform"),
        images="images/*.nii.gz", masks="masks/*.nii.gz",
    )  # fmt: skip

    assert read_volume(tmp_path / "data" / "warps" / "a.nii.gz")[0].ndim == 4
    out = restore_volume(tmp_path / "data", "a", dataset.cases[0].label, tmp_path / "back.nii.gz")
    back = nib.load(out)
    np.testing.assert_allclose(back.affine, affine, atol=1e-4)
    restored = np.asarray(back.dataobj)
    assert 2 * (restored & mask).sum() / (restored.sum() + mask.sum()) >= 0.95
    (tmp_path / "data" / "warps" / "a.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match="was registered deformably"):
        restore_volume(tmp_path / "data", "a", dataset.cases[0].label, tmp_path / "again.nii.gz")


def test_sessions_of_a_person_stay_together_and_splits_are_seeded(tmp_path):
    for number in range(12):
        for session in ("1", "2") if number < 4 else ("1",):
            bids(tmp_path / "source", f"{number:02d}", session, scan(seed=number), raters=int(number % 6 > 0))
    dataset = imported(tmp_path, "bids", validation=0.2, test=0.3, workers=2)

    splits = {case.subject: case.split for case in dataset.cases}
    assert len(splits) == 16
    assert all(splits[f"sub-{n:02d}_ses-1"] == splits[f"sub-{n:02d}_ses-2"] for n in range(4))
    assert all(dataset.select(split, has_lesion=True) for split in ("training", "validation", "test"))
    again = import_dataset("bids", tmp_path / "source", tmp_path / "again", options=QUICK, validation=0.2, test=0.3)
    assert {case.subject: case.split for case in again.cases} == splits


@pytest.mark.parametrize("column", ["site", "Centre"])
def test_the_centre_is_taken_from_the_participants(tmp_path, column):
    for name in ("a", "b", "c"):
        bids(tmp_path / "source", name, "", scan())
    table = f"age\tparticipant_id\t{column}\n70\tsub-a\tZurich\n71\tb\tBasel\n72\tsub-c\tn/a\n"
    (tmp_path / "source" / "participants.tsv").write_text(table)

    found = {case.subject: case.source["centre"] for case in imported(tmp_path, "bids").cases}
    assert found == {"sub-a": "Zurich", "sub-b": "Basel", "sub-c": None}


def test_several_raters_are_kept_and_their_majority_is_the_label(tmp_path):
    bids(tmp_path / "source", "a", "", scan(), raters=3)
    two = tmp_path / "source" / "derivatives" / "rater3" / "sub-a" / "dwi"
    path = next(two.glob("*.nii.gz"))
    save(path, np.zeros_like(scan().mask), affine_of(), np.uint8)
    dataset = imported(tmp_path, "bids")

    raters = [read_volume(tmp_path / "data" / "raters" / f"sub-a_rater{n}.nii.gz")[0] for n in (1, 2, 3)]
    assert [bool(rater.any()) for rater in raters] == [True, True, False]
    np.testing.assert_array_equal(read_volume(dataset.cases[0].label)[0], raters[0])


def test_missing_and_empty_masks_are_negative_cases(tmp_path):
    soop(tmp_path / "source", 1, scan(), acute=False)
    soop(tmp_path / "source", 2, scan())
    empty = scan()
    empty.mask[:] = 0
    soop(tmp_path / "source", 3, empty)
    dataset = imported(tmp_path, "soop")

    assert {case.subject: case.label is not None for case in dataset.cases} == {
        "sub-1": False, "sub-2": True, "sub-3": False
    }  # fmt: skip
    assert all(case.cohort == "stroke" for case in dataset.cases)


def test_a_healthy_cohort_joins_and_earlier_cases_keep_their_split(tmp_path):
    for number in range(6):
        soop(tmp_path / "source", number, scan(seed=number))
    first = {case.subject: case.split for case in imported(tmp_path, "soop", validation=0.2, test=0.2).cases}
    save(tmp_path / "healthy" / "h1.nii.gz", scan(seed=9).image, affine_of())
    dataset = import_dataset(
        "folder", tmp_path / "healthy", tmp_path / "data", "normal", QUICK, images="*.nii.gz", anatomies="atlas"
    )

    assert {case.subject: case.split for case in dataset.select(cohort="stroke")} == first
    (healthy,) = dataset.select(cohort="normal")
    assert healthy.split == "training"
    anatomy, image = read_volume(healthy.anatomy)[0], read_volume(healthy.image)[0]
    assert len(np.unique(anatomy)) > 15
    assert not anatomy[image == -1].all()


def test_a_bad_case_is_skipped_and_listed_and_stops_a_strict_import(tmp_path):
    soop(tmp_path / "source", 1, scan())
    soop(tmp_path / "source", 2, scan())
    (tmp_path / "source" / "sub-2" / "dwi" / "sub-2_rec-TRACE_dwi.nii.gz").write_bytes(b"")
    dataset = imported(tmp_path, "soop")

    assert [case.subject for case in dataset.cases] == ["sub-1"]
    rows = pd.read_csv(tmp_path / "data" / "import.csv").set_index("subject")
    assert rows["status"].to_dict() == {"sub-1": "imported", "sub-2": "skipped"}
    assert "empty (0 bytes)" in rows.loc["sub-2", "message"]
    assert not [path for path in (tmp_path / "data").rglob("*") if path.name.startswith(".")]
    with pytest.raises(ValueError, match=r"empty \(0 bytes\).*--strict"):
        import_dataset("soop", tmp_path / "source", tmp_path / "strict", options=QUICK, strict=True)


def test_a_second_call_goes_on_and_leaves_finished_cases_alone(tmp_path, monkeypatch):
    soop(tmp_path / "source", 1, scan())
    imported(tmp_path, "soop")
    before = (tmp_path / "data" / "images" / "sub-1.nii.gz").stat().st_mtime_ns
    soop(tmp_path / "source", 2, scan(seed=1))
    dataset = imported(tmp_path, "soop")

    assert [case.subject for case in dataset.cases] == ["sub-1", "sub-2"]
    assert (tmp_path / "data" / "images" / "sub-1.nii.gz").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="sub-1 was imported with floor 0.1 instead of 0.2"):
        import_dataset("soop", tmp_path / "source", tmp_path / "data", options=Options(SIZE, "shift", 0.2))
    with pytest.raises(ValueError, match="made with other settings: size"):
        import_dataset("soop", tmp_path / "source", tmp_path / "data", options=Options((32, 32, 16), "shift"))


@pytest.mark.parametrize(("codes", "degrees"), [("RAS", 0), ("LPI", 12)])
def test_a_mask_comes_back_to_the_scanners_space(tmp_path, codes, degrees):
    one = scan(codes, degrees)
    soop(tmp_path / "source", 1, one)
    fine = Options((128, 128, 64), "shift")  # as fine as the source
    dataset = import_dataset("soop", tmp_path / "source", tmp_path / "data", options=fine)
    out = restore_volume(tmp_path / "data", "sub-1", dataset.cases[0].label, tmp_path / "back.nii.gz")

    back = nib.load(out)
    np.testing.assert_allclose(back.affine, one.affine, atol=1e-4)
    restored = np.asarray(back.dataobj)
    assert restored.shape == one.mask.shape
    assert 2 * (restored & one.mask).sum() / (restored.sum() + one.mask.sum()) >= 0.97
    with pytest.raises(ValueError, match="is there already"):
        restore_volume(tmp_path / "data", "sub-1", dataset.cases[0].label, tmp_path / "back.nii.gz")


def test_an_image_comes_back_in_its_units(tmp_path):
    one = scan("LAS")
    soop(tmp_path / "source", 1, one)
    dataset = import_dataset("soop", tmp_path / "source", tmp_path / "data", options=Options((128, 128, 64), "shift"))
    out = restore_volume(tmp_path / "data", "sub-1", dataset.cases[0].image, tmp_path / "back.nii.gz")

    back = np.asarray(nib.load(out).dataobj)
    inside = (one.image > 250) & (one.image < 350)
    assert np.abs(back - one.image)[inside].mean() < 25
    assert json.loads(dataset.cases[0].sidecar.read_text())["preparation"]["brain"] == "stripped"
    assert read_dataset(tmp_path / "data").affine == pytest.approx(grid_affine((128, 128, 64)))
