"""What is wrong with a case is said in words, with the file's name; nothing half-written stays."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans import SHAPE, affine_of, save, scan

from common.importing.case import Job, import_case
from common.importing.layouts import Found
from common.importing.reading import read_dwi, read_lesion_mask
from common.preprocessing.pipeline import Options

ONE = scan()
OPTIONS = Options((32, 32, 16), "shift")


def changed(**values):
    """The DWI with some voxels or all replaced."""

    def make(path):
        image = ONE.image.copy()
        if "everywhere" in values:
            image[:] = values["everywhere"]
        if "some" in values:
            image[10:14, 10:14, 5] = values["some"]
        return save(path, image, ONE.affine)

    return make


def with_affine(affine, **codes):
    return lambda path: save(path, ONE.image, affine, **codes)


def shaped(*shape):
    return lambda path: save(path, np.ones(shape) * 300, affine_of())


def raw(content):
    def make(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return make


def whole(path):
    return save(path, ONE.image, ONE.affine)


def truncated(path):
    data = save(path, ONE.image, ONE.affine).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def not_compressed(path):
    save(path, ONE.image, ONE.affine)
    path.write_bytes(gzip.decompress(path.read_bytes())[:200])
    return path


def broken_link(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.parent / "gone.nii.gz")
    return path


def colour(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(voxels, ONE.affine), path)
    return path


def stacked(count, bval=None):
    def make(path):
        save(path, np.stack([ONE.image] * count, -1), ONE.affine)
        if bval is not None:
            path.with_name(path.name.replace(".nii.gz", ".bval")).write_text(bval)
        return path

    return make


def named(name):
    def make(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(name).write_bytes(b"1234567890")
        return path.with_name(name)

    return make


BAD_IMAGES = {
    "missing": (lambda path: path, "no such file"),
    "broken link": (broken_link, "no such file (a broken link)"),
    "zero bytes": (raw(b""), "is empty (0 bytes)"),
    "truncated": (truncated, "Is the copy complete?"),
    "not gzip": (raw(b"hello, this is text and no volume at all"), "cannot be read"),
    "header only": (not_compressed, "cannot be read"),
    "html of a failed download": (raw(b"<html>404</html>"), "cannot be read"),
    "wrong ending": (named("image.jpg"), "expected .nii, .nii.gz, .mha"),
    "mha that is none": (named("image.mha"), "cannot be read"),
    "colour": (colour, "is a colour picture"),
    "no orientation": (with_affine(affine_of(), qcode=0, scode=0), "has no orientation (qform and sform code 0)"),
    "one slice": (shaped(48, 56, 1), "has 48 x 56 x 1 voxels"),
    "2D": (shaped(48, 56), "expected a volume"),
    "three slices": (shaped(48, 56, 3), "has 48 x 56 x 3 voxels"),
    "5D": (shaped(12, 12, 8, 2, 3), "expected a volume, or several of one head"),
    "two volumes": (stacked(2), "holds 2 volumes, and no .bval file beside it"),
    "b-values of another file": (stacked(2, "0 1000 1000"), "holds 2 volumes, and no .bval file"),
    "b-values that are placeholders": (stacked(2, "0 0"), "holds 2 volumes, and no .bval file"),
    "b-values in letters": (stacked(2, "b0 b1000"), "holds 2 volumes, and no .bval file"),
    "0.1 mm": (with_affine(np.diag([0.1, 0.1, 0.1, 1])), "its voxels are 0.1 x 0.1 x 0.1 mm"),
    "in metres": (with_affine(np.diag([0.004, 0.004, 0.0075, 1])), "Is the header in mm?"),
    "30 mm": (with_affine(np.diag([4, 4, 30, 1])), "its voxels are 4 x 4 x 30 mm"),
    "huge field of view": (with_affine(np.diag([15, 15, 15, 1])), "its field of view is 720 x 840 x 300 mm"),
    "tiny field of view": (with_affine(np.diag([1, 1, 1, 1])), "field of view is 48 x 56 x 20 mm"),
    "singular affine": (with_affine(affine_of(), sform=np.diag([4.0, 0, 7.5, 1])), "its affine is not usable"),
    "all zeros": (changed(everywhere=0), "every voxel is 0"),
    "constant": (changed(everywhere=7), "every voxel is 7"),
    "all NaN": (changed(everywhere=np.nan), "no voxel is a number"),
    "all infinite": (changed(everywhere=np.inf), "no voxel is a number"),
    "all negative": (changed(everywhere=-5), "every voxel is 0"),
    "not a brain": (
        lambda path: save(path, np.where(np.indices(SHAPE)[0] < 3, 300.0, 0), ONE.affine),
        "what looks like the brain has",
    ),
    "a body": (lambda path: save(path, np.where(np.indices(SHAPE)[0] < 46, 300.0, 0), ONE.affine), "the brain has"),
}  # fmt: skip


def bad_mask(voxels, affine=None):
    return lambda path: save(path, voxels, ONE.affine if affine is None else affine)


FAR = ONE.affine + np.array([[0, 0, 0, 900]] + [[0] * 4] * 3)
SMALL_LESION_OUTSIDE = np.zeros(SHAPE)
SMALL_LESION_OUTSIDE[:, :, 0] = 1
BAD_MASKS = {
    "missing": (lambda path: path, "no such file"),
    "zero bytes": (raw(b""), "is empty (0 bytes)"),
    "truncated": (truncated, "Is the copy complete?"),
    "the image itself": (whole, "expected a mask of 0 and 1. Is it the image?"),
    "a probability beyond 1": (bad_mask(np.linspace(0, 3, ONE.mask.size).reshape(SHAPE)), "expected a mask of 0 and 1"),
    "in another space": (bad_mask(ONE.mask, FAR), "lies outside the image's field of view"),
    "no orientation": (lambda path: save(path, ONE.mask, ONE.affine, qcode=0, scode=0), "has no orientation"),
    "2D": (lambda path: save(path, np.ones((48, 56)), ONE.affine), "expected a volume"),
    "four raters in one file": (stacked(4), "holds 4 volumes"),
}


@pytest.mark.parametrize(("make", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_a_bad_image_is_skipped_with_its_reason(tmp_path, make, message):
    path = make(tmp_path / "source" / "image.nii.gz")
    row = import_case(Job(tmp_path / "data", "stroke", OPTIONS), Found("a", "a", path))

    assert row["status"] == "skipped"
    assert message in row["message"]
    assert str(path) in row["message"]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("make", "message"), BAD_MASKS.values(), ids=BAD_MASKS.keys())
def test_a_bad_mask_is_skipped_with_its_reason(tmp_path, make, message):
    image = whole(tmp_path / "source" / "image.nii.gz")
    mask = make(tmp_path / "source" / "mask.nii.gz")
    row = import_case(Job(tmp_path / "data", "stroke", OPTIONS), Found("a", "a", image, {"rater1": mask}))

    assert row["status"] == "skipped"
    assert message in row["message"]
    assert str(mask) in row["message"]
    assert not (tmp_path / "data").exists()


def test_there_are_forty_of_them():
    assert len(BAD_IMAGES) + len(BAD_MASKS) >= 40


MENDED = {
    "NaN": (changed(some=np.nan), "16 voxels are not finite; set to 0"),
    "negative": (changed(some=-3), "16 voxels are negative; set to 0"),
    "qform and sform apart": (
        with_affine(affine_of(), qform=affine_of("RAS", 20)), "qform and sform differ by up to"),
    "b0 and b1000": (stacked(2, "0 1000"), "of 2 volumes, number 1 (b = 1000) is used"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "note"), MENDED.values(), ids=MENDED.keys())
def test_what_can_be_mended_is_mended_and_noted(tmp_path, make, note):
    volume, notes = read_dwi(make(tmp_path / "image.nii.gz"))

    assert any(note in one for one in notes)
    assert volume.voxels.shape == SHAPE
    assert np.isfinite(volume.voxels).all()
    assert volume.voxels.min() == 0
    np.testing.assert_allclose(volume.affine, ONE.affine, atol=1e-4)


def test_singleton_axes_and_slopes_go(tmp_path):
    path = save(tmp_path / "image.nii.gz", ONE.image[..., None, None], ONE.affine, np.int16)
    volume, _ = read_dwi(path)
    np.testing.assert_allclose(volume.voxels, np.trunc(ONE.image), atol=1)

    image = nib.Nifti1Image((ONE.image * 10).astype(np.int16), ONE.affine)
    image.header.set_slope_inter(0.1, 0)
    nib.save(image, Path(tmp_path / "scaled.nii.gz"))
    loaded = nib.load(tmp_path / "scaled.nii.gz").get_fdata()
    np.testing.assert_allclose(read_dwi(tmp_path / "scaled.nii.gz")[0].voxels, loaded.clip(0), atol=1e-3)


@pytest.mark.parametrize("ones", [1, 0.9999999997, 255, 3])
def test_masks_are_what_lies_above_a_half(tmp_path, ones):
    like, _ = read_dwi(whole(tmp_path / "image.nii.gz"))
    mask, notes = read_lesion_mask(save(tmp_path / "mask.nii.gz", ONE.mask * ones, ONE.affine, np.float64), like)

    np.testing.assert_array_equal(mask.voxels, ONE.mask)
    assert notes == []


def test_a_mask_on_another_grid_is_carried_over(tmp_path):
    like, _ = read_dwi(whole(tmp_path / "image.nii.gz"))
    fine = np.kron(ONE.mask, np.ones((2, 2, 3)))
    affine = ONE.affine @ np.diag([0.5, 0.5, 1 / 3, 1])
    affine[:3, 3] = ONE.affine[:3, 3] + ONE.affine[:3, :3] @ np.array([-0.25, -0.25, -1 / 3])
    mask, notes = read_lesion_mask(save(tmp_path / "mask.nii.gz", fine, affine), like)

    assert "lies on another grid, 96x112x60" in notes[0]
    millilitres = [
        one.sum() * abs(np.linalg.det(a[:3, :3])) for one, a in ((mask.voxels, affine), (ONE.mask, ONE.affine))
    ]
    assert millilitres[0] == pytest.approx(millilitres[1])


def test_an_affine_that_is_off_by_rounding_is_the_images(tmp_path):
    like, _ = read_dwi(whole(tmp_path / "image.nii.gz"))
    near = ONE.affine.copy()
    near[:3, 3] += 0.3
    mask, notes = read_lesion_mask(save(tmp_path / "mask.nii.gz", ONE.mask, near), like)

    assert "is up to 0.5 mm off the image's, which is used" in notes[0]
    np.testing.assert_array_equal(mask.affine, like.affine)


@pytest.mark.parametrize("change", ["turned", "another spacing"])
def test_a_mask_of_the_same_shape_and_origin_keeps_an_affine_of_its_own(tmp_path, change):
    like, _ = read_dwi(whole(tmp_path / "image.nii.gz"))
    other = affine_of("RAS", 5)[:3, :3] if change == "turned" else ONE.affine[:3, :3] * 1.03
    affine = ONE.affine.copy()
    affine[:3, :3] = other
    mask, notes = read_lesion_mask(save(tmp_path / "mask.nii.gz", ONE.mask, affine), like)

    assert "lies on another grid" in notes[0]
    np.testing.assert_allclose(mask.affine, affine, atol=1e-5)
