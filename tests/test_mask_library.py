import os
from pathlib import Path

import numpy as np
import pytest

from common.grids import grid_affine, voxel_ml, write_volume
from common.mask_library import read_masks, resample_mask

FINE, COARSE = (18, 16, 14), (9, 8, 7)


def ball(size, radius=25.0, centre=(20.0, -20.0, 20.0)) -> np.ndarray:
    affine = grid_affine(size)
    axes = [affine[i, 3] + affine[i, i] * np.arange(n) - c for i, (n, c) in enumerate(zip(size, centre))]
    x, y, z = np.ix_(*axes)
    return (x**2 + y**2 + z**2 < radius**2).astype(np.uint8)


@pytest.fixture
def npz(tmp_path):
    rng = np.random.default_rng(0)

    def masks(count):
        return np.stack([ball(FINE, 30, rng.uniform(-30, 30, 3)) for _ in range(count)])

    path = tmp_path / "masks.npz"
    np.savez(
        path,
        shape=FINE,
        affine=grid_affine(FINE),
        train_masks=np.packbits(masks(6).reshape(6, -1), axis=1),
        train_subjects=np.arange(6),
        val_masks=np.packbits(masks(10).reshape(10, -1), axis=1),
        val_subjects=np.arange(100, 110),
    )
    return path


def test_validation_and_test_masks_of_an_npz_are_disjoint_and_complete(npz):
    ids = {split: read_masks(npz, FINE, split).ids for split in ("training", "validation", "test")}

    assert [len(ids[split]) for split in ("training", "validation", "test")] == [6, 3, 7]
    assert not set(ids["validation"]) & set(ids["test"])
    assert set(ids["validation"]) | set(ids["test"]) == {f"val-{n}" for n in range(100, 110)}


def test_packed_masks_come_back_unchanged_on_their_own_grid(npz):
    library = read_masks(npz, FINE)
    expected = np.unpackbits(np.load(npz)["train_masks"], axis=1)[:, : np.prod(FINE)].reshape(-1, *FINE)
    np.testing.assert_array_equal(library.masks, expected)


def test_every_file_of_a_folder_belongs_to_one_split(tmp_path):
    for n in range(12):
        write_volume(tmp_path / f"mask_{n:05d}.nii.gz", ball(FINE, 30, (n, 0, 0)), grid_affine(FINE))
    ids = [read_masks(tmp_path, COARSE, split).ids for split in ("training", "validation", "test")]

    assert sorted([*ids[0], *ids[1], *ids[2]]) == [f"mask_{n:05d}" for n in range(12)]
    assert len(ids[0]) == 8


def test_resampling_keeps_volume_and_place():
    mask = ball((45, 54, 36))
    coarse = resample_mask(mask, grid_affine(mask.shape), (23, 27, 18))

    volume = [m.sum() * voxel_ml(grid_affine(m.shape)) for m in (mask, coarse)]
    assert volume[1] == pytest.approx(volume[0], rel=0.1)
    centres = [np.argwhere(m).mean(0) * np.diag(grid_affine(m.shape))[:3] for m in (mask, coarse)]
    assert (
        np.linalg.norm(centres[0] - centres[1] + grid_affine(mask.shape)[:3, 3] - grid_affine((23, 27, 18))[:3, 3]) < 2
    )


def test_a_lesion_thinner_than_the_voxels_does_not_vanish():
    mask = np.zeros(FINE, np.uint8)
    mask[5, 6, 7] = 1
    assert resample_mask(mask, grid_affine(FINE), COARSE).sum() == 1


def test_a_mask_stored_right_to_left_is_the_same_mask(tmp_path):
    mask, affine = ball(FINE), grid_affine(FINE)
    flipped = affine.copy()
    flipped[0, 0] *= -1
    flipped[0, 3] += affine[0, 0] * (FINE[0] - 1)
    for n in range(2):
        write_volume(tmp_path / f"{n}.nii.gz", mask[::-1] if n else mask, flipped if n else affine)
    masks = [m for split in ("training", "test") for m in _safely(tmp_path, split)]

    np.testing.assert_array_equal(masks[0], masks[-1])


def _safely(folder, split):
    try:
        return list(read_masks(folder, FINE, split).masks)
    except ValueError:
        return []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("nowhere", FINE), FileNotFoundError, "no such mask library"),
        ((".", FINE, "train"), ValueError, "Unknown split 'train'"),
    ],
)
def test_bad_requests_are_refused(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        read_masks(tmp_path / arguments[0], *arguments[1:])


def test_an_npz_that_is_no_library_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match=r"other\.npz: lacks .*train_masks"):
        read_masks(tmp_path / "other.npz", FINE)


def test_soop_masks_split_as_documented():
    if not os.environ.get("REAL_DATA"):
        pytest.skip("set REAL_DATA to a folder with soop_lesion_masks.npz")
    path = Path(os.environ["REAL_DATA"]) / "soop_lesion_masks.npz"
    sets = {split: set(read_masks(path, (64, 64, 16), split).ids) for split in ("training", "validation", "test")}

    assert [len(sets[split]) for split in ("training", "validation", "test")] == [935, 60, 140]
    assert not sets["validation"] & sets["test"]
