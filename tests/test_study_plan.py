"""What a study's plan refuses, writes out and estimates; paper.json as a whole."""

import json
from pathlib import Path

import pytest

from common.report.published import PUBLISHED
from common.study import stages
from common.study_cases import cases_of
from common.study_checks import refuse_impossible
from common.study_file import load_study
from common.study_needs import RUNS_AT_A_TIME, Need, needs_of, room_of, set_size
from common.study_parts import reference_of

TABLE_1 = ["clinical"]
TABLE_1 += [f"clinical_{name}" for name in ("pix2pix10", "pix2pix100", "spade")]
TABLE_1 += [f"{name}_alone" for name in ("pix2pix10", "pix2pix100", "spade")]
TABLE_1 += [f"{name}_tuned_{n}" for name in ("pix2pix10", "pix2pix100", "spade") for n in (10, 50)]
TABLE_2 = [f"clinical_{p}_percent" for p in (10, 25, 50)]
TABLE_2 += ["geometric_noise", "no_augmentation", "noise", "geometric_intensity", "intensity"]
TABLE_2 += [f"clinical_{p}_percent_pix2pix10" for p in (10, 25, 50)]
TABLE_2 += [f"clinical_{p}_percent_stroke_maps" for p in (10, 25, 50, 100)] + ["clinical_stroke_maps_4x"]


CIRCLE = {"clinical": {}, "few": {"pretrained": "tuned"}, "tuned": {"pretrained": "few"}}


def load(tmp_path, **changes):
    """A small study, with some of its entries changed."""
    study = {
        "name": "small",
        "data": {
            "subjects": {"normal": 6, "training": 9, "validation": 2, "test": 3},
            "negatives": 0, "size": [32, 32, 16], "seed": 1,
        },
        "lesion_wgan": {"overlays": ["demo"], "settings": {}},
        "masks": {"count": 6, "seed": 1},
        "translators": {"p2p": {"bundle": "pix2pix_itm", "overlays": ["demo"], "settings": {}}},
        "images": {"seed": 1},
        "segmenter": {"overlays": ["demo"], "settings": {}},
        "arms": {"clinical": {}, "few": {"clinical_cases": 3}},
        "baseline": "clinical",
        "seeds": [1, 2],
    }  # fmt: skip
    path = tmp_path / "small.json"
    path.write_text(json.dumps({**study, **changes}))
    return load_study(path, library=str(path))


def check(tmp_path, **changes):
    refuse_impossible(load(tmp_path, **changes), tmp_path)


def test_a_fraction_becomes_a_number_of_cases_and_halves_are_rounded_up(tmp_path):
    arms = {"clinical": {"fraction": 1}, "half": {"fraction": 0.5}, "third": {"fraction": 0.33}}
    found = load(tmp_path, arms=arms)["arms"]
    assert [arm.get("clinical_cases") for arm in found.values()] == [None, 5, 3]
    with pytest.raises(ValueError, match="0.05 of 9 .* is less than one case"):
        check(tmp_path, arms={"clinical": {"fraction": 0.05}})
    with pytest.raises(ValueError, match="both a fraction and"):
        check(tmp_path, arms={"clinical": {"fraction": 0.5, "clinical_cases": 3}})


def test_an_honest_arm_gets_a_translator_a_gan_and_a_segmenter_of_its_own_cases(tmp_path):
    arms = {"clinical": {}, "few": {"clinical_cases": 3}}
    arms["honest"] = {"clinical_cases": 3, "synthetic": "synthetic", "protocol": "honest"}
    arms["library"] = {"clinical_cases": 4, "synthetic": "synthetic", "protocol": "honest_library"}
    by_name = {stage.name: stage for stage in stages(load(tmp_path, arms=arms), tmp_path)}

    train, made = by_name["train honest seed 2"], by_name["make synthetic_of_3"]
    assert train.settings["synthetic_dir"] == str(tmp_path / "synthetic_of_3")
    assert made.needs == ("train p2p_of_3", "draw masks_of_3")
    translator = by_name["train p2p_of_3"]
    assert translator.settings["clinical_cases"] == by_name["train lesion_wgan_of_3"].settings["clinical_cases"] == 3
    assert translator.settings["segmenter"] == by_name["train few seed 1"].settings["output_dir"]
    assert "clinical_cases" not in by_name["train p2p"].settings
    library = by_name["make synthetic_of_4_library"]
    assert library.settings["masks"] == str(tmp_path / "small.json")
    assert "segmenter" not in by_name["train p2p_of_4"].settings  # no arm of four clinical cases: chosen by L1
    assert "train lesion_wgan_of_4" not in by_name


def test_an_arm_goes_on_from_the_same_seed_of_another(tmp_path):
    arms = {"tuned": {"clinical_cases": 3, "pretrained": "clinical"}, "clinical": {}}
    todo = stages(load(tmp_path, arms=arms), tmp_path)
    by_name = {stage.name: stage for stage in todo}
    assert by_name["train tuned seed 2"].settings["pretrained"] == str(tmp_path / "runs/clinical_seed2")
    assert "train clinical seed 2" in by_name["train tuned seed 2"].needs
    seen = set()
    for stage in todo:
        assert seen >= set(stage.needs)
        seen.add(stage.name)


@pytest.mark.parametrize(
    ("match", "changes"),
    [
        ("in a circle .*few -> tuned -> few", {"arms": CIRCLE}),
        ("'gone'; its arms are clinical", {"arms": {"clinical": {"pretrained": "gone"}}}),
        ("synthetc is no knob of stroke_unet", {"arms": {"clinical": {"synthetc": "synthetic"}}}),
        ("no overlay dem ", {"segmenter": {"overlays": ["dem"], "settings": {}}}),
        ("no bundle 'pix3pix'", {"translators": {"p2p": {"bundle": "pix3pix", "overlays": [], "settings": {}}}}),
        ("asks for 10 clinical cases, but training has 9", {"arms": {"clinical": {"clinical_cases": 10}}}),
        ("synthetic_share, but no synthetic set", {"arms": {"clinical": {"synthetic_share": 0.5}}}),
        ("nothing to train on", {"arms": {"clinical": {"clinical_cases": 0}}}),
        ("'clinical' and 'again' are the same", {"arms": {"clinical": {}, "again": {"title": "other"}}}),
        ("anatomy of 'stroke_negative', but training has no", {"images": {"seed": 1, "donors": "stroke_negative"}}),
        ("nois is not known", {"images": {"seed": 1, "nois": "none"}}),
        ("masks 'gone' is neither", {"images": {"seed": 1, "masks": "gone"}}),
        ("seeds are \\[1, 1\\]", {"seeds": [1, 1]}),
        ("expected one of as_paper", {"arms": {"clinical": {"synthetic": "synthetic", "protocol": "honst"}}}),
        ("names no synthetic set to be honest about", {"arms": {"clinical": {"protocol": "honest"}}}),
        ("no data set|not a data set", {"data": {"folder": "nowhere"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_run_is_refused_in_words(match, changes, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        check(tmp_path, **changes)


def test_a_disk_too_small_for_the_kept_epochs_is_refused(tmp_path, monkeypatch):
    study = load(tmp_path, segmenter={"overlays": ["demo"], "settings": {"keep_last": 30}})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0.2e9}))
    with pytest.raises(ValueError, match="needs about 1 GB in .* 0 GB are free"):
        refuse_impossible(study, tmp_path)
    refuse_impossible(study, tmp_path, room=False)


def test_a_finished_study_needs_no_room(tmp_path, monkeypatch):
    """Its kept epochs went when they were scored: the same command must still draw the report."""
    study = load(tmp_path, segmenter={"overlays": ["demo"], "settings": {"keep_last": 30}})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0.01e9}))
    lines = [json.dumps({"stage": stage.name, "seconds": 1.0, "peak_gb": 0.1}) for stage in stages(study, tmp_path)]
    (tmp_path / "stages.jsonl").write_text("\n".join(lines) + "\n")
    refuse_impossible(study, tmp_path)
    (tmp_path / "stages.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    refuse_impossible(study, tmp_path)  # what is left takes next to nothing
    (tmp_path / "stages.jsonl").write_text("\n".join(lines[:1]) + "\n")
    with pytest.raises(ValueError, match="what is left to do needs"):
        refuse_impossible(study, tmp_path)


def test_kept_epochs_of_so_many_runs_are_there_at_a_time():
    kept = [Need(1.0, gb=3.0, kept_gb=2.0)] * (RUNS_AT_A_TIME + 5)
    assert room_of(kept) == pytest.approx(len(kept) * 1.0 + RUNS_AT_A_TIME * 2.0)


def test_each_stage_comes_after_what_it_needs_whatever_the_baseline_is(tmp_path):
    arms = {"tuned": {"pretrained": "first", "clinical_cases": 3}, "clinical": {}, "first": {"clinical_cases": 2}}
    arms["mixed"] = {"synthetic": "synthetic"}
    for baseline in ("tuned", "clinical"):
        found = stages(load(tmp_path, arms=arms, baseline=baseline), tmp_path)
        places = {stage.name: place for place, stage in enumerate(found)}
        assert all(places[name] < places[stage.name] for stage in found for name in stage.needs)
    with pytest.raises(ValueError, match="in a circle: .*train mixed seed 1 <- make synthetic <- train p2p"):
        stages(load(tmp_path, arms=arms, baseline="mixed"), tmp_path)


@pytest.mark.parametrize("part", ["arms", "variants", "translators"])
def test_names_that_are_no_file_names_are_refused(part, tmp_path):
    entry = {"arms": {"clinical": {}, "a+b": {"clinical_cases": 2}}, "variants": {"a+b": {}}}
    entry["translators"] = {"a+b": {"bundle": "pix2pix_itm", "overlays": [], "settings": {}}}
    with pytest.raises(ValueError, match=r"'(synthetic_)?a\+b' becomes part of file names"):
        stages(load(tmp_path, **{part: entry[part]}), tmp_path)


def test_names_that_would_share_files_are_refused(tmp_path):
    translators = {"clinical_seed_1": {"bundle": "pix2pix_itm", "overlays": [], "settings": {}}}
    with pytest.raises(ValueError, match="would share files"):
        stages(load(tmp_path, translators=translators), tmp_path)


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("clinical", None),
        ("few", "clinical"),
        ("few_mixed", "few"),
        ("few_tuned", "few"),
        ("all_mixed", "clinical"),
        ("alone", "clinical"),
        ("noise", "clinical"),
        ("mine", "few_mixed"),
    ],
)
def test_an_arm_is_compared_with_as_many_clinical_cases_alone(arm, expected):
    arms = {
        "noise": {"noise_augmentation": 0.2},
        "clinical": {"title": "all"},
        "few_noise": {"clinical_cases": 3, "noise_augmentation": 0.2},
        "few": {"clinical_cases": 3, "epochs": 500},
        "few_mixed": {"clinical_cases": 3, "synthetic": "synthetic"},
        "few_tuned": {"clinical_cases": 3, "pretrained": "alone"},
        "all_mixed": {"synthetic": "synthetic"},
        "alone": {"clinical_cases": 0, "synthetic": "synthetic"},
        "mine": {"clinical_cases": 3, "against": "few_mixed"},
    }
    assert reference_of({"arms": arms, "baseline": "clinical"}, arm) == expected


def test_an_arm_that_is_compared_with_nobody_or_itself_is_refused(tmp_path):
    for against, words in (("gone", "its arms are clinical"), ("few", "compared with itself")):
        with pytest.raises(ValueError, match=words):
            stages(load(tmp_path, arms={"clinical": {}, "few": {"clinical_cases": 3, "against": against}}), tmp_path)


def test_a_study_takes_an_existing_data_set(dataset, tmp_path):
    study = load(tmp_path, data={"folder": str(dataset)}, arms={"clinical": {}, "few": {"fraction": 0.5}})
    assert study["arms"]["few"]["clinical_cases"] == 2
    data = stages(study, tmp_path)[0]
    data.run()
    data.run()
    assert (tmp_path / "data").resolve() == dataset.resolve()


@pytest.mark.parametrize("scale", [None, "small"])
def test_own_data_are_compared_alone_with_synthetic_ones_and_by_a_quarter(scale, dataset, tmp_path):
    study = load_study("scripts/studies/own_data.json", scale, data=str(dataset))
    refuse_impossible(study, tmp_path, room=False)
    compared = {arm: reference_of(study, arm) for arm in study["arms"]}
    assert compared == {
        "clinical": None, "translated": "clinical", "scan": "clinical", "fusion": "clinical", "quarter": "clinical",
        "quarter_scan": "quarter",
    }  # fmt: skip
    by_name = {stage.name: stage.settings for stage in stages(study, tmp_path)}
    assert by_name["train quarter seed 1"]["clinical_cases"] == 1
    assert by_name["train pix2pix_of_1"]["clinical_cases"] == by_name["train lesion_wgan_of_1"]["clinical_cases"] == 1
    assert by_name["train quarter_scan seed 1"]["synthetic_dir"].endswith("synthetic_scan_of_1")
    with pytest.raises(FileNotFoundError, match="not a data set"):
        load_study("scripts/studies/own_data.json", scale, data=str(tmp_path))


def test_the_paper_is_there_as_a_whole(tmp_path):
    study = load_study("scripts/studies/paper.json", library=str(tmp_path))
    arms, cases = study["arms"], cases_of(study["data"])
    assert (len(TABLE_1), len(TABLE_2)) == (13, 16)  # 18 rows, of which the baseline and Pix2Pix 10 stand in Table I
    assert [name for name in [*TABLE_1, *TABLE_2, "clinical_10", "clinical_50"] if name not in arms] == []
    assert [arms[f"clinical_{p}_percent"]["clinical_cases"] for p in (10, 25, 50)] == [31, 78, 156]
    assert (set_size(study, "synthetic", cases), set_size(study, "synthetic_stroke_maps", cases)) == (2027, 428)
    assert set_size(study, "synthetic_stroke_maps_4x", cases) == 1712
    by_name = {stage.name: stage for stage in stages(study, tmp_path)}
    assert len(by_name) == len(stages(study, tmp_path))
    refuse_impossible(study, tmp_path, room=False)
    tuned = by_name["train spade_tuned_10 seed 3"].settings
    assert (tuned["epochs"], tuned["keep_last"], tuned["clinical_cases"]) == (150, 100, 10)
    assert tuned["pretrained"] == by_name["train spade_alone seed 3"].settings["output_dir"]
    assert by_name["train clinical seed 1"].settings["epochs"] == 500
    assert "val_interval" not in by_name["train clinical seed 1"].settings  # train.json's own: every epoch


def test_without_a_public_library_the_paper_leaves_out_the_arm_that_needs_one():
    with pytest.raises(
        ValueError, match='"protocol": "honest_library", for which set REAL_DATA=DIR .* or give --library'
    ):
        load_study("scripts/studies/paper.json")
    arms = load_study("scripts/studies/paper.json", "no_library")["arms"]
    assert "library_10_percent_pix2pix10" not in arms
    assert "honest_10_percent_pix2pix10" in arms


def test_a_run_of_the_paper_keeps_about_two_gigabytes_of_epochs_and_goes_through_its_steps(tmp_path, monkeypatch):
    cost = type("Cost", (), {"step_seconds": 0.5, "weights": 5_645_410, "memory_gb": 5.0})
    monkeypatch.setattr("common.study_needs._predicted", lambda *_: cost)
    study = load_study("scripts/studies/paper.json", library=str(tmp_path))
    by_name = {stage.name: stage for stage in stages(study, tmp_path)}

    def need(name):
        return needs_of(study, by_name[name], cases_of(study["data"]), "A100")

    assert 2.2 < need("train clinical seed 1").kept_gb < 2.4
    assert need("train clinical seed 1").steps == 500 * (311 // 5)
    assert need("train clinical_pix2pix10 seed 1").steps == 300 * ((311 + 2027) // 5)
    assert need("train pix2pix10").steps == 100 * ((311 + 428 + 2027) // 8)
    assert need("train pix2pix10_tuned_10 seed 1").seconds == 150 * 2 * 0.5
    assert need("score clinical seed 1 by epoch").seconds == pytest.approx(100 * 159 * 0.0344)


def test_kept_epochs_are_scored_and_only_they(tmp_path):
    settings = {"overlays": ["demo"], "settings": {"epochs": 30, "keep_last": 10}}
    study = load(tmp_path, segmenter=settings, arms={"clinical": {}, "few": {"clinical_cases": 3, "keep_last": 0}})
    by_epoch = [stage for stage in stages(study, tmp_path) if stage.kind == "epochs"]
    assert [stage.name for stage in by_epoch] == ["score clinical seed 1 by epoch", "score clinical seed 2 by epoch"]
    assert by_epoch[0].needs == ("train clinical seed 1",)
    assert by_epoch[0].settings["split"] == "test"
    score = next(stage for stage in stages(study, tmp_path) if stage.kind == "score")
    once, each = (needs_of(study, stage, cases_of(study["data"]), None) for stage in (score, by_epoch[0]))
    assert each.gb == pytest.approx(10 * once.gb)
    assert not [stage for stage in stages(load(tmp_path), tmp_path) if stage.kind == "epochs"]


def test_each_arm_that_the_paper_published_is_there(tmp_path):
    study = load_study("scripts/studies/paper.json", library=str(tmp_path))
    tables = json.loads(PUBLISHED.read_text())
    named = [name for row in tables["table_1"]["arms"] for name in row if name]
    named += [name for (name,) in tables["few_cases"]["arms"]] + tables["table_2"]["arms"]
    assert study["published"]
    assert set(named) <= set(study["arms"])
    assert set(named) == {*TABLE_1, *TABLE_2, "clinical_10", "clinical_50"}
    parts = [tables[key] for key in ("table_1", "few_cases", "table_2")]
    assert [len(part["arms"]) for part in parts] == [len(part["rows"]) for part in parts] == [5, 2, 18]


def test_every_path_of_a_study_file_is_one_of_the_repository():
    for path in Path("scripts/studies").glob("*.json"):
        assert '"/' not in path.read_text()
