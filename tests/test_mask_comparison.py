import json

import numpy as np
import pytest

from common.grids import axes_of, grid_affine, write_volume
from common.mask_comparison import compare_masks, nearest_dice
from common.phantom.lesions import TERRITORIES
from common.territories import territory_of_voxels

SIZE = (32, 32, 16)


def ball(centre, radius):
    """Around a point in MNI mm."""
    x, y, z = np.meshgrid(*axes_of(grid_affine(SIZE), SIZE), indexing="ij")
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < radius**2


def write(folder, masks):
    folder.mkdir()
    for number, mask in enumerate(masks):
        write_volume(folder / f"mask_{number:03d}.nii.gz", mask.astype(np.uint8), grid_affine(SIZE))
    return folder


def test_nearest_dice_is_the_best_of_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 4, 5, 6)) < 0.3, rng.random((7, 4, 5, 6)) < 0.3

    expected = [max(2 * (x & y).sum() / (x.sum() + y.sum()) for y in b) for x in a]

    assert nearest_dice(a, b) == pytest.approx(expected)
    assert nearest_dice(a, a) == pytest.approx([1, 1, 1])
    assert (nearest_dice(a, a, same=True) < 1).all()


def test_territories_lie_where_they_should():
    territories = territory_of_voxels(SIZE)
    names = ["none", *TERRITORIES]

    def at(point):
        index = [int(np.abs(axis - mm).argmin()) for axis, mm in zip(axes_of(grid_affine(SIZE), SIZE), point)]
        return names[territories[tuple(index)]]

    assert at((-48, -10, 15)) == at((48, -10, 15)) == "MCA"
    assert at((-6, 45, 15)) == "ACA"
    assert at((-10, -88, 5)) == "PCA"
    assert at((-20, -60, -40)) == "VB"


def test_masks_drawn_elsewhere_are_far_from_a_library_and_its_own_are_not(tmp_path):
    rng = np.random.default_rng(1)

    def cloud(count, x):
        return [
            ball((x + rng.normal(0, 6), rng.normal(-15, 8), rng.normal(15, 6)), rng.uniform(12, 20))
            for _ in range(count)
        ]

    library = write(tmp_path / "library", cloud(40, -45))
    like, unlike = write(tmp_path / "like", cloud(12, -45)), write(tmp_path / "unlike", cloud(12, 45))

    found = {
        name: json.loads(compare_masks(folder, library, tmp_path / "out" / name).read_text())
        for name, folder in (("like", like), ("unlike", unlike))
    }

    assert found["unlike"]["distances"]["drawn"]["side"] == 1
    assert found["like"]["distances"]["drawn"]["side"] == found["like"]["distances"]["training"]["side"] == 0
    assert found["unlike"]["drawn"]["nearest_dice"] == [0, 0, 0]
    assert min(found["like"]["drawn"]["nearest_dice"]) > 0.3
    assert found["like"]["drawn"]["n"] == 12
    assert found["like"]["training"]["n"] + found["like"]["held out"]["n"] == 40
    assert found["like"]["drawn"]["territory"]["MCA"] > 0.9
    assert {path.name for path in (tmp_path / "out" / "like").iterdir()} == {
        "comparison.json", "distributions.png", "pictures.png",
    }  # fmt: skip


def test_a_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no NIfTI masks there"):
        compare_masks(tmp_path, tmp_path, tmp_path / "out")
