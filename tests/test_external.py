import json
import shutil
from pathlib import Path

import pytest

from common.datalists import read_dataset
from common.external import refuse_common_cases, refuse_seen_cases
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


def seen(settings, dataset, **changes):
    return refuse_seen_cases({"dataset_dir": str(settings.folder), **changes}, dataset, dataset.cases)


def test_a_case_whose_mask_a_synthetic_set_has_painted_is_refused(pair, make_dataset, tmp_path):
    own, elsewhere = pair
    made = make_dataset(tmp_path / "synthetic", seed=9)
    (made.folder / "dataset.json").write_text(
        json.dumps(json.loads((made.folder / "dataset.json").read_text()) | {"synthetic": True})
    )
    edit(made, made.cases[0].subject, source_mask="isles-7", source_brain=None)
    theirs = edit(elsewhere, elsewhere.cases[0].subject, source_mask="isles-8")
    seen(own, theirs, synthetic_dir=str(made.folder))
    theirs = edit(elsewhere, elsewhere.cases[0].subject, source_mask="isles-7")
    with pytest.raises(ValueError, match="synthetic, .* has seen the source_mask isles-7, which is that of case-01"):
        seen(own, theirs, synthetic_dir=str(made.folder))


def test_what_cannot_be_checked_is_said(pair, tmp_path, capsys):
    own, elsewhere = pair
    seen(own, elsewhere, pretrained=str(tmp_path / "gone"))
    assert "was not checked as a whole" in capsys.readouterr().out
    refuse_seen_cases({"dataset_dir": str(tmp_path / "gone")}, elsewhere, elsewhere.cases)
    assert "whether these test cases have been seen was not checked" in capsys.readouterr().out


def test_a_training_case_that_is_a_test_case_in_a_copy_is_refused(pair, tmp_path):
    own, _ = pair
    twin = own.select("training", "stroke", has_lesion=True)[0]
    own = edit(own, twin.subject, sha256="that image")
    copy = Path(shutil.copytree(own.folder, tmp_path / "copy"))
    refuse_seen_cases({"dataset_dir": str(own.folder)}, (same := read_dataset(copy)), same.select("test"))
    content = json.loads((copy / "dataset.json").read_text())
    moved = next(entry for entry in content["training"] if twin.subject in entry["image"])
    content["training"].remove(moved)
    content["test"].append(moved)
    (copy / "dataset.json").write_text(json.dumps(content))
    copied = read_dataset(copy)
    with pytest.raises(ValueError, match=f"{twin.subject} has the sha256 that image of {twin.subject}, a training"):
        refuse_seen_cases({"dataset_dir": str(own.folder)}, copied, copied.select("test"))


def test_all_cases_of_a_copy_are_no_external_test_set(pair, tmp_path):
    own, _ = pair
    copied = read_dataset(shutil.copytree(own.folder, tmp_path / "copy"))
    with pytest.raises(ValueError, match="has the source_brain .* a training case of"):
        refuse_seen_cases({"dataset_dir": str(own.folder)}, copied, copied.select(cohort="stroke"))
