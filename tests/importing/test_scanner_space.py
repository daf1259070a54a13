"""Inference on images as scanners write them: the mask lies where the lesion is, in the image's own space."""

import copy
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from scans import LESION_MM, SHAPE, affine_of, save, save_mha, scan

from common.grids import grid_affine, write_volume
from common.handlers.lesion_table import LesionTable
from common.inferer import PrecisionInferer
from common.scanner_space import FromScannerd, ToScannerd, image_items, image_root, trained_size

SIZE = (64, 64, 32)


class Bright(torch.nn.Module):
    """Logits that call the brightest tissue lesion."""

    def forward(self, image):
        return torch.cat([torch.zeros_like(image), image - 0.8], 1)


def segmented(path, size=SIZE, brain=None, **options):
    item = {"image": str(path)} | ({"brain": str(brain)} if brain else {})
    item = copy.deepcopy(FromScannerd("image", size, **options))(item)
    assert item["image"].shape == (1, *size)
    item["pred"] = PrecisionInferer("fp32")(item["image"].as_tensor()[None], Bright())[0]
    return copy.deepcopy(ToScannerd("pred"))(item)["pred"], item["image"]


@pytest.mark.parametrize(("codes", "degrees"), [("RAS", 0), ("LAS", 0), ("LPS", 12), ("LPI", -12)])
def test_the_mask_has_the_images_grid_and_lies_on_the_lesion(tmp_path, codes, degrees):
    one = scan(codes, degrees)
    path = save(tmp_path / "scan.nii.gz", one.image, one.affine)
    mask, image = segmented(path)

    assert mask.dtype == torch.uint8
    assert tuple(mask.shape[1:]) == one.image.shape
    np.testing.assert_allclose(mask.affine, one.affine, atol=1e-5)
    found = mask[0].numpy()
    centre = np.argwhere(found).mean(0) @ one.affine[:3, :3].T + one.affine[:3, 3]
    np.testing.assert_allclose(centre, LESION_MM, atol=3)  # right, front, up
    assert 2 * (found & one.mask).sum() / (found.sum() + one.mask.sum()) > 0.8
    assert image.meta["warning"] == ""
    assert image.min() == -1
    assert image.max() == pytest.approx(1)


def test_a_brain_mask_is_taken_where_one_is_given(tmp_path):
    one = scan()
    noisy = one.image + 250 * (one.image == 0)  # so bright outside that no threshold finds the brain
    path = save(tmp_path / "scan.nii.gz", noisy, one.affine)
    brain = save(tmp_path / "brains" / "scan.nii.gz", one.image > 0, one.affine, np.uint8)
    mask, image = segmented(path, brain=brain)

    assert image.meta["warning"] == ""
    assert (image.numpy() == -1).mean() > 0.3
    assert mask.any()


def test_an_image_on_the_grid_is_taken_as_it_is(tmp_path, rng):
    voxels = rng.uniform(-1, 1, SIZE).astype(np.float32)
    voxels[:9] = -1
    path = save(tmp_path / "prepared.nii.gz", voxels, grid_affine(SIZE))
    mask, image = segmented(path)

    np.testing.assert_array_equal(image[0].numpy(), voxels)
    np.testing.assert_array_equal(mask[0].numpy(), voxels > 0.8)


def bad_images(folder):
    one = scan()
    affine = affine_of()
    yield "zeros", save(folder / "zeros.nii.gz", np.zeros(SHAPE), affine), "every voxel is 0"
    yield "one slice", save(folder / "slice.nii.gz", one.image[:, :, :1], affine), "expected"
    yield "four volumes", save(folder / "four.nii.gz", np.stack([one.image] * 4, -1), affine), "4"
    yield "all NaN", save(folder / "nan.nii.gz", np.full(SHAPE, np.nan), affine), "no voxel is a number"
    tiny = affine @ np.diag([0.025, 0.025, 0.0134, 1])
    yield "0.1 mm", save(folder / "tiny.nii.gz", one.image, tiny), "voxel"
    huge = affine @ np.diag([5, 5, 5, 1])
    yield "huge field", save(folder / "huge.nii.gz", one.image, huge), "expected"
    ball = 100.0 * (np.linalg.norm(np.indices(SHAPE).T - [24, 28, 10], axis=-1).T < 4)
    yield "no brain", save(folder / "ball.nii.gz", ball, affine), "looks like the brain"
    yield "no orientation", save(folder / "bare.nii.gz", one.image, affine, qcode=0, scode=0), "orientation"


BAD = ("zeros", "one slice", "four volumes", "all NaN", "0.1 mm", "huge field", "no brain", "no orientation")


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_dwi_of_a_head_gives_an_empty_mask_on_its_own_grid_and_a_warning(tmp_path, kind):
    path, words = next((path, words) for name, path, words in bad_images(tmp_path) if name == kind)
    with pytest.warns(UserWarning, match="No lesion is looked for"):
        mask, image = segmented(path)

    file = nib.load(path)
    assert tuple(mask.shape[1:]) == file.shape[:3]
    np.testing.assert_allclose(mask.affine, file.affine, atol=1e-5)
    assert not mask.any()
    assert words in image.meta["warning"]
    assert str(path) in image.meta["warning"]


def test_an_image_that_cannot_be_used_has_no_lesion_whatever_the_network_says(tmp_path):
    path = save(tmp_path / "scan.nii.gz", np.zeros((20, 24, 12)), np.diag([5.0, 5, 6, 1]))
    with pytest.warns(UserWarning, match="No lesion is looked for"):
        item = FromScannerd("image", SIZE)({"image": str(path)})
    item["pred"] = torch.stack([torch.zeros(SIZE), torch.ones(SIZE)])

    assert not ToScannerd("pred")(item)["pred"].any()


def test_a_few_voxels_that_are_no_numbers_do_not_matter(tmp_path):
    one = scan()
    one.image[3, 3, 3] = np.nan
    mask, image = segmented(save(tmp_path / "nan.nii.gz", one.image, one.affine))
    assert mask.any()
    assert "not finite" in image.meta["warning"]


def test_a_broken_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"\x1f\x8b broken")
    with pytest.raises(ValueError, match=r"broken\.nii\.gz.*cannot be read as an image"):
        segmented(path)


def test_images_are_a_file_a_folder_or_a_pattern(tmp_path):
    for name in ("b.nii.gz", "a.nii"):
        save(tmp_path / name, np.ones((4, 4, 4)), np.eye(4))
    (tmp_path / "notes.txt").touch()
    names = [item["image"].rsplit("/", 1)[1] for item in image_items(str(tmp_path))]
    assert names == ["a.nii", "b.nii.gz"]
    assert len(image_items(str(tmp_path / "a.nii"))) == len(image_items(str(tmp_path / "b*"))) == 1
    with pytest.raises(FileNotFoundError, match=r"--images .*nothing: no image there"):
        image_items(str(tmp_path / "nothing"))
    (tmp_path / "brains").mkdir()
    (tmp_path / "brains" / "a.nii").touch()
    with pytest.raises(FileNotFoundError, match=r"b\.nii\.gz: not there. --brain_masks"):
        image_items(str(tmp_path), str(tmp_path / "brains"))


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path):
    save(tmp_path / "good.nii.gz", np.ones((4, 4, 4)), np.eye(4))
    save_mha(tmp_path / "good.mha", np.ones((4, 4, 4)), np.eye(4))
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.warns(UserWarning, match=r"broken\.nii\.gz: cannot be read.*It is left out"):
        listed = image_items(str(tmp_path))
    assert [item["image"].rsplit("/", 1)[1] for item in listed] == ["good.mha", "good.nii.gz"]


def test_a_blank_mha_has_an_empty_mask_on_its_own_grid(tmp_path):
    affine = affine_of("LPS", 12)
    with pytest.warns(UserWarning, match="No lesion is looked for"):
        mask, _ = segmented(save_mha(tmp_path / "blank.mha", np.zeros(SHAPE), affine))
    assert tuple(mask.shape[1:]) == SHAPE
    np.testing.assert_allclose(mask.affine, affine, atol=1e-5)
    assert not mask.any()


def test_the_grid_is_that_of_the_run(tmp_path):
    assert trained_size(str(tmp_path), (1, 2, 3)) == [1, 2, 3]
    (tmp_path / "settings.json").write_text('{"settings": {"size": [4, 5, 6]}}')
    assert trained_size(str(tmp_path), (1, 2, 3)) == [4, 5, 6]


def test_the_table_counts_what_was_found(tmp_path):
    from ignite.engine import Engine
    from monai.data import MetaTensor

    mask = torch.zeros(1, 10, 10, 10, dtype=torch.uint8)
    mask[0, :2, :2, :2] = 1
    mask[0, 2, 2, 2] = 1  # touches the first by a corner
    mask[0, 7:9, 7, 7] = 1
    meta = {"filename_or_obj": "x.nii.gz", "warning": "small"}
    case = {"pred": MetaTensor(mask, affine=torch.diag(torch.tensor([10.0, 10, 10, 1])), meta=meta)}
    engine = Engine(lambda *_: [case])
    LesionTable(str(tmp_path)).attach(engine)
    engine.run([0])

    assert (tmp_path / "lesions.csv").read_text() == (
        "image,volume_ml,lesions,largest_ml,warning\nx.nii.gz,11.0,2,9.0,small\n"
    )


def test_transforms_do_not_warn_about_good_images(tmp_path):
    one = scan()
    path = save(tmp_path / "scan.nii.gz", one.image, one.affine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segmented(path)


def test_an_image_of_a_data_set_on_another_grid_keeps_its_contrast(tmp_path):
    """Its negative values are the dark half of the brain, no fault of a scanner."""
    one = scan()
    scaled = np.where(one.image > 0, one.image / 300 - 1, -1).clip(-1, 1).astype(np.float32)
    write_volume(tmp_path / "scaled.nii.gz", scaled, one.affine)
    save(tmp_path / "scan.nii.gz", one.image, one.affine)
    same, image = segmented(tmp_path / "scaled.nii.gz")
    mask, _ = segmented(tmp_path / "scan.nii.gz", floor=0.0)

    assert image.meta["warning"] == ""
    inside = image[image > -1]
    assert -0.1 < float(inside.median()) < 0.1  # 300 of 600
    assert 2 * (same & mask).sum() / (same.sum() + mask.sum()) > 0.95


def test_a_volume_of_a_4d_file_can_be_chosen(tmp_path):
    one = scan()
    path = save(tmp_path / "four.nii.gz", np.stack([one.image * 0 + 1, one.image], -1), one.affine)
    mask, image = segmented(path, volume=1)

    assert image.meta["warning"] == ""
    assert mask.shape == (1, *one.image.shape)
    assert 2 * (mask[0].numpy() & one.mask).sum() / (mask.sum() + one.mask.sum()) > 0.8


def test_labels_of_more_classes_than_two_come_back_as_labels(tmp_path):
    """A run of the anatomy has 28; the first two of them are not lesion and background."""
    one = scan("LAS", 12)
    item = FromScannerd("image", SIZE)({"image": str(save(tmp_path / "scan.nii.gz", one.image, one.affine))})
    labels = torch.where(item["image"].as_tensor()[0] > 0.8, 3, torch.where(item["image"].as_tensor()[0] > -1, 2, 0))
    item["pred"] = torch.nn.functional.one_hot(labels.long(), 4).movedim(-1, 0).float()
    found = ToScannerd("pred")(item)["pred"][0].numpy()

    assert set(np.unique(found)) == {0, 2, 3}
    assert 2 * ((found == 3) & (one.mask > 0)).sum() / ((found == 3).sum() + one.mask.sum()) > 0.7


def test_images_of_one_name_lie_below_one_root_so_that_their_masks_do_not_meet(tmp_path):
    for subject in ("a", "b"):
        save(tmp_path / "scans" / subject / "dwi.nii.gz", np.ones((4, 4, 4)), np.eye(4))

    assert image_root(str(tmp_path / "scans" / "*" / "dwi.nii.gz")) == str((tmp_path / "scans").resolve())
    assert image_root(str(tmp_path / "scans" / "a" / "dwi.nii.gz")) == str((tmp_path / "scans" / "a").resolve())
    assert image_root(None) == ""
