"""Which files make up a case, in every layout."""

from __future__ import annotations

import pytest
from scans import bids, isles15, isles22_a, isles22_b, isles22_c, save, scan, soop

from common.importing.layouts import detect, find_cases

ONE = scan()


def names(found):
    return [case.subject for case in found]


def test_isles22_as_on_zenodo(tmp_path):
    isles22_a(tmp_path, 1, ONE)
    isles22_a(tmp_path, 12, ONE, mask=False)
    found = find_cases("isles22", tmp_path)

    assert names(found) == ["sub-strokecase0001_ses-0001", "sub-strokecase0012_ses-0001"]
    assert [case.person for case in found] == ["sub-strokecase0001", "sub-strokecase0012"]
    assert found[0].masks["rater1"].name == "sub-strokecase0001_ses-0001_msk.nii.gz"
    assert found[1].masks == {}
    assert set(found[0].extra) == {"adc", "flair"}


def test_isles22_as_in_its_repository(tmp_path):
    isles22_b(tmp_path, 9, ONE)
    (case,) = find_cases("isles22", tmp_path)

    assert case.masks["rater1"].name.endswith("_msk.nii.gz")
    assert set(case.extra) == {"flair"}


def test_isles22_as_for_its_containers(tmp_path):
    isles22_c(tmp_path, "0ba6-uuid", ONE)
    (case,) = find_cases("isles22", tmp_path)

    assert case.subject == "0ba6-uuid"
    assert case.masks == {}
    assert case.extra["adc"].parent.name == "adc-brain-mri"


def test_isles15(tmp_path):
    isles15(tmp_path, 2, ONE)
    isles15(tmp_path, 10, ONE, truth=False)
    found = find_cases("isles15", tmp_path)

    assert names(found) == ["siss-02", "siss-10"]
    assert ".OT." in found[0].masks["rater1"].name
    assert found[1].masks == {}
    assert set(found[0].extra) == {"flair"}


def test_soop_takes_the_acute_lesion_and_not_the_chronic(tmp_path):
    soop(tmp_path, 10, ONE)
    soop(tmp_path, 2, ONE, acute=False)
    found = find_cases("soop", tmp_path)

    assert names(found) == ["sub-2", "sub-10"]  # as numbers
    assert found[0].masks == {}
    assert "lesionAcute" in found[1].masks["rater1"].name
    assert set(found[1].extra) == {"adc"}


def test_bids_with_sessions_and_raters(tmp_path):
    bids(tmp_path, "a", "1", ONE, raters=2)
    bids(tmp_path, "a", "2", ONE)
    bids(tmp_path, "b", "", ONE, raters=0)
    found = find_cases("bids", tmp_path)

    assert names(found) == ["sub-a_ses-1", "sub-a_ses-2", "sub-b"]
    assert [case.person for case in found] == ["sub-a", "sub-a", "sub-b"]
    assert [len(case.masks) for case in found] == [2, 1, 0]
    assert all("ses-2" in path.name for path in found[1].masks.values())


def test_folders_by_pattern_with_spaces_and_accents(tmp_path):
    for name in ("Frau Müller", "x-2"):
        save(tmp_path / "images" / f"{name}.nii.gz", ONE.image, ONE.affine)
    save(tmp_path / "masks" / "Frau Müller_lesion.nii.gz", ONE.mask, ONE.affine)
    found = find_cases("folder", tmp_path, "images/*.nii.gz", "masks/{subject}_lesion.nii.gz")

    assert names(found) == ["Frau_M_ller", "x-2"]
    assert [len(case.masks) for case in found] == [1, 0]


@pytest.mark.parametrize(
    ("make", "layout"), [(isles22_a, "isles22"), (isles22_b, "isles22"), (isles15, "isles15"), (soop, "soop")]
)
def test_a_wrong_layout_is_refused_with_the_one_that_it_looks_like(tmp_path, make, layout):
    make(tmp_path, 1, ONE)
    other = "isles15" if layout != "isles15" else "soop"

    assert detect(tmp_path)[0] == layout
    with pytest.raises(
        ValueError, match=rf"no case in the layout '{other}'.*looks like {layout}.*scripts\.data {layout}"
    ):
        find_cases(other, tmp_path)


def test_what_cannot_be_found_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        find_cases("bids", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="layout 'isles99' is not known; expected one of isles22"):
        find_cases("isles99", tmp_path)
    with pytest.raises(ValueError, match="no case in the layout 'bids'"):
        find_cases("bids", tmp_path)
    with pytest.raises(ValueError, match="--images is missing"):
        find_cases("folder", tmp_path)
    with pytest.raises(ValueError, match=r"expected exactly one \*"):
        find_cases("folder", tmp_path, "*/*.nii.gz")


def test_a_subject_that_is_there_twice_is_refused(tmp_path):
    soop(tmp_path / "first", 1, ONE)
    soop(tmp_path / "second", 1, ONE)

    with pytest.raises(ValueError, match=r"subject sub-1 is there twice, .*first.* and .*second"):
        find_cases("soop", tmp_path)
