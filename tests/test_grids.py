from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from common.grids import (
    PAPER_SIZE,
    grid_affine,
    minimum_lesion_voxels,
    read_volume,
    spacing_of,
    voxel_ml,
    write_volume,
)

SHAPE = (7, 8, 9)


def test_paper_grid_has_the_papers_voxels():
    assert spacing_of(grid_affine(PAPER_SIZE)) == pytest.approx((1.414, 1.695, 4.525), abs=5e-4)
    assert voxel_ml(grid_affine(PAPER_SIZE)) == pytest.approx(0.01085, abs=1e-5)


@pytest.mark.parametrize("size", [SHAPE, (64, 64, 16), PAPER_SIZE])
def test_every_grid_covers_the_same_box(size):
    affine = grid_affine(size)
    corners = [affine @ [*corner, 1] for corner in ([-0.5] * 3, np.array(size) - 0.5)]

    np.testing.assert_allclose(corners[0][:3], [-90, -126, -53.9])
    np.testing.assert_allclose(corners[1][:3], [91, 91, 90.9])
    assert nib.aff2axcodes(affine) == ("R", "A", "S")


def test_minimum_lesion_is_20_voxels_on_the_papers_grid_and_the_same_volume_on_others():
    assert minimum_lesion_voxels(grid_affine(PAPER_SIZE)) == 20
    assert minimum_lesion_voxels(grid_affine((64, 64, 16))) == 3
    assert minimum_lesion_voxels(grid_affine((256, 128, 32))) == 40
    assert minimum_lesion_voxels(grid_affine(SHAPE)) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_volume_comes_back_as_it_was_written(tmp_path, rng, dtype):
    voxels = (rng.random(SHAPE) * 27).astype(dtype)
    path = tmp_path / "new" / "volume.nii.gz"

    write_volume(path, voxels, grid_affine(SHAPE))
    again, affine = read_volume(path)

    assert again.dtype == dtype
    np.testing.assert_array_equal(again, voxels)
    np.testing.assert_allclose(affine, grid_affine(SHAPE), rtol=1e-6)
    assert [file.name for file in path.parent.iterdir()] == ["volume.nii.gz"]


def test_the_same_voxels_give_the_same_file(tmp_path, rng):
    voxels = rng.random(SHAPE).astype(np.float32)
    for name in ("a", "b"):
        write_volume(tmp_path / name / "volume.nii.gz", voxels, grid_affine(SHAPE))

    again = [read_volume(tmp_path / name / "volume.nii.gz")[0] for name in ("a", "b")]

    np.testing.assert_array_equal(*again)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent.nii.gz: no such file"):
        read_volume(tmp_path / "absent.nii.gz")
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"no volume")
    with pytest.raises(ValueError, match=r"broken.nii.gz: cannot be read as NIfTI .* Is the copy complete\?"):
        read_volume(path)
