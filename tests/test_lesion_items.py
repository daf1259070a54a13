import numpy as np
import pytest

from common.datalists import read_dataset
from common.grids import grid_affine, minimum_lesion_voxels, read_volume, write_volume
from common.lesions import lesion_items

SIZE = (16, 24, 8)


def test_items_are_the_training_masks_of_the_data_set(dataset):
    found = lesion_items("training", SIZE, dataset_dir=str(dataset))
    cases = read_dataset(dataset).select("training", has_lesion=True)
    assert len(found) == len(cases)
    for item, case in zip(found, cases, strict=True):
        np.testing.assert_array_equal(item["lesion"][0].numpy(), read_volume(case.label)[0])


def test_only_the_first_clinical_cases_are_seen(dataset):
    assert len(lesion_items("training", SIZE, dataset_dir=str(dataset), clinical_cases=2)) == 2


def test_masks_below_the_minimum_are_left_out(tmp_path):
    minimum = minimum_lesion_voxels(grid_affine(SIZE))
    for number in range(40):
        mask = np.zeros(SIZE, np.uint8)
        mask.flat[1000 : 1000 + (minimum if number % 2 else minimum - 1)] = 1
        write_volume(tmp_path / f"m{number:02d}.nii.gz", mask, grid_affine(SIZE))
    found = lesion_items("training", SIZE, mask_library=str(tmp_path))
    assert all(item["lesion"].sum() >= minimum for item in found)


def test_too_few_masks_are_refused(dataset):
    with pytest.raises(ValueError, match="1 training masks of .* needs two or more"):
        lesion_items("training", SIZE, dataset_dir=str(dataset), clinical_cases=1)
