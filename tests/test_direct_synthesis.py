"""Sets without a translator: fused lesions, random contrast; and the masks of clinical cases."""

import json

import numpy as np
import pytest

from common.datalists import items, read_dataset
from common.direct_synthesis import synthesize_directly
from common.grids import grid_affine, read_volume, spacing_of
from common.labels import LESION, PARENCHYMA, inject
from common.lesion_fusion import fuse_lesion
from common.placement import read_pool
from common.randomised_images import randomised_image


def first_case(folder):
    return read_dataset(folder).select("training", "normal")[0], read_dataset(folder).select("test", has_lesion=True)[0]


def parts(folder):
    """Scan and anatomy of a healthy donor, and its label map with another case's lesion."""
    donor, other = first_case(folder)
    scan, anatomy = read_volume(donor.image)[0], read_volume(donor.anatomy)[0].astype(np.uint8)
    return scan, anatomy, inject(anatomy, read_volume(other.label)[0])


def test_fusion_raises_the_signal_inside_the_contour_by_the_same_amount_and_nothing_else(dataset):
    scan, anatomy, label_map = parts(dataset)
    low, high = (fuse_lesion(scan, anatomy, label_map, strength) + 1 for strength in (1e-9, 0.2))
    lesion, others = label_map == LESION, (label_map != LESION) & (anatomy > 0) & (scan < 0.5)
    others &= low < 1.9  # what is near the ceiling is clipped
    scale = np.median(high[others] / low[others])  # the 99.5th percentile is at 1 again
    np.testing.assert_allclose(high[others], scale * low[others], rtol=1e-3, atol=1e-3)
    added = high[lesion] / scale - low[lesion]
    unclipped = high[lesion] < 1.999
    assert np.ptp(added[unclipped]) < 1e-3
    assert added.min() > 0
    assert (fuse_lesion(scan, anatomy, label_map, 0.2)[anatomy == 0] == scan[anatomy == 0]).all()
    with pytest.raises(ValueError, match="expected more than 0"):
        fuse_lesion(scan, anatomy, label_map, -0.1)


def test_random_contrast_keeps_the_lesion_brighter_than_what_is_around(dataset):
    _, anatomy, label_map = parts(dataset)
    affine = grid_affine(anatomy.shape)
    images, contrasts = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        image, drawn = randomised_image(label_map, affine, spacing_of(affine), rng)
        assert image.min() == -1
        assert image.max() <= 1
        assert (image[anatomy == 0] == -1).all()
        assert 1.15 <= drawn["lesion_ratio"] <= 2.5
        healthy = PARENCHYMA[label_map] & (label_map != LESION)
        contrasts.append(np.median(image[label_map == LESION]) - np.median(image[healthy]))
        images.append(np.median(image[np.isin(label_map, (1, 2))]))
    assert np.mean(np.array(contrasts) > 0) > 0.8  # other tissue, far from the lesion, may be brighter still
    assert np.std(images) > 0.05


def test_clinical_masks_are_those_of_the_first_training_cases(dataset):
    data = read_dataset(dataset)
    pool = read_pool("clinical", data, clinical_cases=2)
    first = data.select("training", "stroke", has_lesion=True)[:2]
    assert pool.ids == [case.subject for case in first]
    np.testing.assert_array_equal(pool.read(1), read_volume(first[1].label)[0])
    assert pool.sources == {case.subject: case.source["source_mask"] for case in first}


@pytest.mark.parametrize("method", ["fusion", "randomised"])
def test_a_set_is_made_goes_on_and_is_a_training_set(method, dataset, tmp_path):
    arguments = {"method": method, "data": dataset, "seed": 3, "out": tmp_path / "set", "masks": "clinical"}
    arguments |= {"clinical_cases": 2, "per_donor": 2, "minimum_voxels": 1, "noise": "none"}
    synthesize_directly(**arguments)
    made = read_dataset(tmp_path / "set")
    assert len(made.cases) == 2 * len(read_dataset(dataset).select("training", "normal"))
    content = {case.subject: case.image.read_bytes() for case in made.cases}
    lost = made.cases[1]
    lost.sidecar.unlink()
    lost.image.unlink()
    synthesize_directly(**arguments)
    assert {case.subject: case.image.read_bytes() for case in made.cases} == content

    clinical = {case.subject for case in read_dataset(dataset).select("training", "stroke", has_lesion=True)[:2]}
    sidecar = json.loads(lost.sidecar.read_text())
    assert sidecar["mask_subject"] in clinical
    assert sidecar["source_mask"] == f"mask-{sidecar['mask_subject']}"
    assert len(
        items(str(dataset), "training", clinical_cases=0, lesions_only=True, synthetic_dir=str(tmp_path / "set"))
    )
    with pytest.raises(ValueError, match="clinical_cases 2 instead of 3"):
        synthesize_directly(**arguments | {"clinical_cases": 3})
