import json

import pytest

from common.datalists import read_dataset
from common.external import refuse_common_cases
from common.study import stages
from common.study_checks import refuse_impossible
from common.study_file import load_study


def edit(dataset, subject, **changes):
    path = dataset.folder / "sidecars" / f"{subject}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return read_dataset(dataset.folder)


@pytest.fixture
def pair(dataset_copy, make_dataset, tmp_path):
    """The study's data set, and one from elsewhere with no origin in common."""
    elsewhere = make_dataset(tmp_path / "elsewhere", seed=7)
    for case in elsewhere.cases:
        elsewhere = edit(elsewhere, case.subject, source_brain=f"there-{case.subject}", source_mask=None)
    return read_dataset(dataset_copy), elsewhere


@pytest.mark.parametrize("key", ["sha256", "source_brain", "source_mask"])
def test_an_origin_that_was_trained_or_selected_on_is_refused(pair, key):
    own, elsewhere = pair
    refuse_common_cases(own, elsewhere)
    for split in ("training", "validation"):
        twin = own.select(split, "stroke")[0]
        seen = edit(own, twin.subject, **{key: "the same"})
        theirs = edit(elsewhere, elsewhere.cases[-1].subject, **{key: "the same"})
        with pytest.raises(
            ValueError, match=rf"{elsewhere.cases[-1].subject} has the {key} the same of {twin.subject}"
        ):
            refuse_common_cases(seen, theirs)
        own = edit(own, twin.subject, **{key: None})


def test_a_test_case_in_common_is_no_leak(pair):
    own, elsewhere = pair
    own = edit(own, own.select("test")[0].subject, sha256="x")
    refuse_common_cases(own, edit(elsewhere, elsewhere.cases[0].subject, sha256="x"))


def test_the_data_set_itself_is_not_external(pair):
    with pytest.raises(ValueError, match="an external test set is another one"):
        refuse_common_cases(pair[0], pair[0])


def study_with(tmp_path, own, external):
    content = {
        "name": "s", "data": {"folder": str(own.folder)}, "seeds": [1], "baseline": "clinical",
        "segmenter": {"overlays": [], "settings": {"channels": [4, 4, 8]}}, "arms": {"clinical": {}},
    }  # fmt: skip
    (tmp_path / "s.json").write_text(json.dumps(content))
    return load_study(tmp_path / "s.json", external=external)


def test_a_study_scores_each_run_there_after_its_training(pair, tmp_path):
    own, elsewhere = pair
    study = study_with(tmp_path, own, {"isles": str(elsewhere.folder)})
    refuse_impossible(study, tmp_path / "out")
    by_name = {stage.name: stage for stage in stages(study, tmp_path / "out")}
    scored = by_name["score clinical seed 1 on isles"]
    assert set(scored.needs) == {"train clinical seed 1", "data isles"}
    assert scored.settings["split"] == "all"


def test_what_cannot_be_scored_is_refused_before_the_study_begins(pair, make_dataset, tmp_path):
    own, _ = pair
    other = make_dataset(tmp_path / "other", (16, 16, 8)).folder
    for name, folder, words in (
        ("isles", other, "lies on a grid of"),
        ("isles", own.folder, "is another one"),
        ("../isles", other, "expected letters, digits"),
        ("isles", tmp_path / "nowhere", "nowhere is not a data set"),
    ):
        with pytest.raises(ValueError, match=words):
            refuse_impossible(study_with(tmp_path, own, {name: str(folder)}), tmp_path / "out")
