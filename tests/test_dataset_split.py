from __future__ import annotations

import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from common.datalists import SPLITS, read_dataset
from common.dataset_split import split_dataset


@pytest.fixture(scope="module")
def original(make_dataset, tmp_path_factory) -> Path:
    """40 cases with a lesion, 3 DWI-negative, 5 normal."""
    counts = {"normal": 5, "training": 30, "validation": 4, "test": 6}
    return make_dataset(tmp_path_factory.mktemp("split") / "data", size=(8, 12, 7), counts=counts).folder


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def edit_sidecar(folder: Path, subject: str, **changes) -> None:
    path = folder / "sidecars" / f"{subject}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def splits(folder: Path) -> dict[str, str]:
    return {case.subject: case.split for case in read_dataset(folder).cases}


def positives(folder: Path) -> dict[str, int]:
    return Counter(case.split for case in read_dataset(folder).cases if case.label)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shares_are_met_within_one_case(folder, seed):
    split_dataset(folder, seed, validation=0.15, test=0.2)

    found = positives(folder)
    assert abs(found["validation"] - 6) <= 1
    assert abs(found["test"] - 8) <= 1
    assert sum(found.values()) == 40


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_few_cases_still_give_every_split_one_with_a_lesion(make_dataset, tmp_path, seed):
    counts = {"normal": 2, "training": 6, "validation": 1, "test": 2}
    folder = make_dataset(tmp_path / "few", size=(8, 12, 7), counts=counts).folder

    split_dataset(folder, seed)

    found = positives(folder)
    assert found["validation"] == 1
    assert found["test"] in (1, 2)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_split_holds_the_centres_in_their_shares(folder, seed):
    subjects = [case.subject for case in read_dataset(folder).cases if case.label]
    centre_of = {subject: "large" if number < 30 else "small" for number, subject in enumerate(subjects)}
    for subject, centre in centre_of.items():
        edit_sidecar(folder, subject, centre=centre)
    split_dataset(folder, seed, validation=0.2, test=0.2)

    split_of = splits(folder)
    small = Counter(split_of[subject] for subject, centre in centre_of.items() if centre == "small")
    assert abs(small["validation"] - 2) <= 1
    assert abs(small["test"] - 2) <= 1


def test_no_case_and_no_word_of_the_header_is_lost(folder):
    before = read_dataset(folder)
    split_dataset(folder, seed=1)
    after = read_dataset(folder)

    assert {case.subject for case in after.cases} == {case.subject for case in before.cases}
    ignored = ("numTraining", "numTest")
    assert {k: v for k, v in after.header.items() if k not in ignored} == {
        k: v for k, v in before.header.items() if k not in ignored
    }


def test_lesion_volumes_are_alike_in_the_splits(folder):
    split_dataset(folder, seed=1, validation=0.25, test=0.25)

    medians = [
        np.median([case.source["lesion_ml"] for case in read_dataset(folder).select(split, has_lesion=True)])
        for split in SPLITS
    ]
    everything = [case.source["lesion_ml"] for case in read_dataset(folder).select(has_lesion=True)]
    low, high = np.quantile(everything, [0.25, 0.75])
    assert all(low <= median <= high for median in medians)


def test_same_seed_gives_the_same_split_and_another_seed_another(folder):
    drawn = []
    for seed in (1, 2, 1):
        split_dataset(folder, seed)
        drawn.append([case.subject for case in read_dataset(folder).cases])
        (folder / "dataset.json").write_text((folder / "dataset.json.before-split-1").read_text())

    assert drawn[0] == drawn[2]
    assert drawn[0] != drawn[1]


def test_order_is_positive_then_negative_then_normal_and_drawn(folder):
    split_dataset(folder, seed=1)

    for split in SPLITS:
        kinds = [2 if c.cohort == "normal" else int(c.label is None) for c in read_dataset(folder).select(split)]
        assert kinds == sorted(kinds)
    subjects = [case.subject for case in read_dataset(folder).select("training", has_lesion=True)]
    assert any(one > other for one, other in pairwise(subjects))


def test_normal_cohort_stays_in_training_unless_told_otherwise(folder):
    split_dataset(folder, seed=1)
    assert {case.split for case in read_dataset(folder).select(cohort="normal")} == {"training"}

    split_dataset(folder, seed=1, validation=0.3, test=0.4, move_normal=True)
    assert {case.split for case in read_dataset(folder).select(cohort="normal")} > {"training"}


def test_cases_that_share_a_brain_or_a_mask_stay_together_even_over_a_chain(folder):
    # All six are in training, so that the data set is valid before the draw.
    for subject, brain, mask in (
        ("case-01", "a", "m1"), ("case-02", "a", "m2"), ("case-03", "b", "m2"),
        ("case-04", "c", "m3"), ("case-05", "c", "m4"), ("case-06", "d", "m4"),
    ):  # fmt: skip
        edit_sidecar(folder, subject, source_brain=brain, source_mask=mask)

    for seed in range(4):
        split_dataset(folder, seed, validation=0.3, test=0.4)
        found = splits(folder)
        assert len({found[f"case-0{n}"] for n in (1, 2, 3)}) == 1
        assert len({found[f"case-0{n}"] for n in (4, 5, 6)}) == 1


def test_the_old_list_is_kept_each_time(folder):
    old = (folder / "dataset.json").read_text()
    split_dataset(folder, seed=1)
    between = (folder / "dataset.json").read_text()
    split_dataset(folder, seed=2)

    assert (folder / "dataset.json.before-split-1").read_text() == old
    assert (folder / "dataset.json.before-split-2").read_text() == between


def test_impossible_shares_are_refused(folder):
    with pytest.raises(ValueError, match=r"shares are validation 0.6, test 0.4: .* together less than 1"):
        split_dataset(folder, 1, validation=0.6, test=0.4)
    with pytest.raises(ValueError, match="each at least 0"):
        split_dataset(folder, 1, validation=-0.1)


def test_share_of_nothing_leaves_a_split_empty(folder):
    split_dataset(folder, seed=1, validation=0, test=0.2)

    assert positives(folder)["validation"] == 0
    assert abs(positives(folder)["test"] - 8) <= 1


def test_one_brain_for_all_is_refused_and_nothing_is_written(make_dataset, tmp_path):
    folder = make_dataset(
        tmp_path / "d", size=(8, 12, 7), counts={"normal": 2, "training": 9, "validation": 0, "test": 0}
    ).folder
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {"validation": [], "test": []}))
    for case in read_dataset(folder).cases:
        edit_sidecar(folder, case.subject, source_brain="the only one")
    before = (folder / "dataset.json").read_text()

    with pytest.raises(ValueError, match="validation would get 0 cases with a lesion instead of 1"):
        split_dataset(folder, seed=1)

    assert (folder / "dataset.json").read_text() == before
    assert not list(folder.glob("*before-split*"))


def test_synthetic_sets_are_not_split(folder):
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {"synthetic": True}))

    with pytest.raises(ValueError, match="synthetic cases are for training only"):
        split_dataset(folder, seed=1)
