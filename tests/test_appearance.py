from types import SimpleNamespace

import numpy as np
import pytest

from common.appearance import (
    Appearance,
    appearances,
    apply_appearance,
    choose_appearance,
    references,
)
from common.datalists import read_dataset
from common.labels import LESION

SIZE = (11, 12, 5)


def scan(rng, white=0.3):
    """White matter with a brighter lesion and darker CSF in the middle of the grid."""
    label_map = np.zeros(SIZE, np.uint8)
    label_map[1:10, 1:11] = 1
    label_map[2:4, 2:5] = LESION
    label_map[7:9, 5:8] = 27
    level = np.select([label_map == LESION, label_map == 27, label_map == 1], [0.7, -0.6, white], -1.0)
    return np.where(label_map > 0, level + rng.normal(0, 0.02, SIZE), -1).astype(np.float32), label_map


def test_nothing_wanted_changes_nothing(rng):
    image, label_map = scan(rng)
    same, entry = apply_appearance(
        image, label_map, Appearance("a", 0.1, 0.0, 3.0, 0.3), noise=False, brightness=False, rng=rng, spacing=(3, 3, 9)
    )
    np.testing.assert_array_equal(same, image)
    assert entry == {"reference": "a"}


@pytest.mark.parametrize("brightness", [False, True])
def test_an_uneven_lesion_stays_in_range(rng, brightness):
    image, label_map = scan(rng)
    healthy = np.where(label_map == LESION, 0.3, image).astype(np.float32)
    target = Appearance("a", 0.1, 0.0, 3.0, 0.8)
    uneven, entry = apply_appearance(
        image, label_map, target, noise=False, brightness=brightness, rng=rng, healthy=healthy, spacing=(3, 3, 9)
    )
    assert uneven.min() >= -1
    assert uneven.max() <= 1
    assert entry["unevenness"] == 0.8
    assert np.ptp(uneven[label_map == LESION]) > 2 * np.ptp(image[label_map == LESION])


def test_references_are_training_cases_that_the_translator_saw(dataset):
    data = read_dataset(dataset)
    few = references(data, lesion=True, clinical_cases=2)
    assert few == data.select("training", "stroke", has_lesion=True)[:2]
    free = references(data, lesion=False, clinical_cases=2)
    assert {case.cohort for case in free} == {"normal"}
    assert len(references(data, lesion=True, clinical_cases=None)) > len(few)


def test_data_without_anatomies_is_refused_with_a_way_out(tmp_path):
    with pytest.raises(ValueError, match="--noise none --brightness none"):
        appearances([], SimpleNamespace(folder=tmp_path))


def test_a_synthetic_scan_takes_after_one_whose_lesion_is_about_as_large(rng):
    targets = [Appearance(f"{ml} ml", 0.1, 0.0, ml, 0.3) for ml in (90, 0.5, 30, 1, 60, 2, 4, 120)]
    chosen = {choose_appearance(targets, 1.5, rng).subject for _ in range(60)}
    assert chosen == {"0.5 ml", "1 ml", "2 ml", "4 ml"}


def test_lesions_too_small_to_tell_are_as_uneven_as_the_others_on_average(dataset, monkeypatch):
    data = read_dataset(dataset)
    cases = references(data, lesion=True, clinical_cases=3)
    told = iter([0.2, float("nan"), 0.4])
    monkeypatch.setattr("common.appearance.lesion_unevenness", lambda *_: next(told))
    assert [one.unevenness for one in appearances(cases, data)] == pytest.approx([0.2, 0.3, 0.4])
