import numpy as np
import pytest

from common.grids import PAPER_SIZE, grid_affine, write_volume
from common.labels import LABELS, mirrored
from common.mask_library import read_masks
from common.phantom.anatomy import MINIMUM_OVERLAP, default_brains, read_brains
from common.phantom.mni import MNI_AFFINE, MNI_SHAPE, mni_brain
from common.phantom.warp import nearest_labels


def test_default_brain_has_every_structure_with_left_labels_on_the_left(brain):
    left = np.zeros(MNI_SHAPE, bool)
    left[: int(-MNI_AFFINE[0, 3])] = True
    for label in LABELS[1:28]:
        found = brain.labels == label.id
        assert found.sum() > 800, label.name
        if label.mirror != label.id:
            assert left[found].mean() == pytest.approx(float(label.name.startswith("left")), abs=0.05), label.name


def test_default_brain_is_its_own_mirror_image(brain):
    assert (mirrored(brain.labels) == brain.labels).mean() > 0.99


def test_volumes_of_the_default_brain_are_those_of_an_adult(brain):
    ml = np.bincount(brain.labels.ravel(), minlength=28) / 1000
    assert 900 < ml[1:5].sum() < 1450
    assert 110 < ml[7:11].sum() < 210
    assert 15 < ml[25] < 40
    assert 12 < ml[5:7].sum() < 30
    assert 100 < ml[27] < 350


def test_default_brains_grow_older():
    csf = [np.count_nonzero(brain.labels == 27) for brain in default_brains()]
    assert csf[0] * 1.2 < csf[1] < csf[2] / 1.2


def test_moving_the_ventricle_wall_outwards_asks_for_more_volume(brain):
    assert brain.wall_shift(brain.ventricle_ml) == pytest.approx(0, abs=0.51)  # voxels know no smaller step
    assert brain.wall_shift(8) < brain.wall_shift(20) < brain.wall_shift(40)


def test_a_folder_without_label_maps_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \*\.nii\.gz"):
        read_brains(tmp_path)


def test_a_label_map_without_deep_structures_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    half = np.zeros((9, 10, 11), np.uint8)
    half[2:7, 2:8, 2:9] = 3
    write_volume(tmp_path / "half.nii.gz", half, np.eye(4))
    with pytest.raises(ValueError, match=r"half\.nii\.gz: holds 1 of 18 deep structures"):
        read_brains(tmp_path)


@pytest.mark.slow
def test_every_real_brain_overlaps_the_mni_brain(real_data):
    brains = read_brains(real_data / "anatomies", workers=2)
    assert [brain.name for brain in brains] == sorted(brain.name for brain in brains)
    assert len(brains) == 14
    assert min(brain.overlap for brain in brains) > MINIMUM_OVERLAP
    assert all(np.isin(range(1, 28), brain.labels).all() for brain in brains)


@pytest.mark.slow
def test_ninety_percent_of_library_lesion_voxels_fall_inside_every_real_brain(real_data):
    masks = read_masks(real_data / "soop_lesion_masks.npz", PAPER_SIZE, "test").masks
    density = masks.sum(0)
    affine = grid_affine(PAPER_SIZE)
    axes = [affine[i, 3] + affine[i, i] * np.arange(n) for i, n in enumerate(PAPER_SIZE)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    for brain in read_brains(real_data / "anatomies"):
        inside = density[nearest_labels(brain, points) > 0].sum() / density.sum()
        assert inside > 0.9, brain.name


def test_template_brain_is_one_piece():
    assert 1700 < mni_brain().sum() / 1000 < 2000
