"""Every kind of arm and set that a study may have, made, trained and scored for real on a small data set."""

import json
import shutil

import pandas as pd
import pytest

from common.bundles import read_settings
from common.datalists import read_dataset
from common.leaks import origins_of
from common.reporting import write_report
from common.stage_state import run_stage
from common.study import stages
from common.study_checks import refuse_impossible
from common.study_file import begin, load_study

ONCE = {"epochs": 1, "val_interval": 1}
ARMS = {
    "clinical": {},
    "few": {"clinical_cases": 2},
    "alone": {"clinical_cases": 0, "synthetic": "synthetic"},
    "tuned": {"clinical_cases": 2, "pretrained": "alone"},
    "honest": {"fraction": 0.5, "synthetic": "synthetic", "protocol": "honest", "synthetic_share": 0.5},
    "stroke_maps": {"synthetic": "synthetic_stroke_maps"},
    "lesion_free": {"synthetic": "synthetic_lesion_free"},
    "fusion": {"synthetic": "synthetic_fusion"},
    "randomised": {"synthetic": "synthetic_randomised", "noise_augmentation": 0.2, "remap_augmentation": 0.5},
}


@pytest.fixture(scope="module")
def study(dataset, make_dataset, tmp_path_factory):
    """Folder of a study, all stages of which have been run in this process."""
    folder = tmp_path_factory.mktemp("arms")
    own = shutil.copytree(dataset, folder / "own")  # readings of test cases are logged in it
    elsewhere = make_dataset(folder / "elsewhere", seed=5).folder
    for path in (elsewhere / "sidecars").glob("*.json"):
        content = json.loads(path.read_text())
        content |= {key: f"elsewhere-{content[key]}" for key in ("source_brain", "source_mask") if content[key]}
        path.write_text(json.dumps(content))
    translator = {**ONCE, "filters": 4, "depth": 3, "draws_per_epoch": 2, "batch_size": 2}
    gan = {**ONCE, "channels": [8, 8], "critic_filters": 4, "val_masks": 8, "draws_per_epoch": 12, "batch_size": 2}
    content = {
        "name": "arms", "data": {"folder": str(own)}, "seeds": [1], "baseline": "clinical",
        "lesion_wgan": {"overlays": ["demo"], "settings": gan}, "masks": {"count": 4, "seed": 1, "minimum_voxels": 1},
        "translators": {"p2p": {"bundle": "pix2pix_itm", "overlays": ["demo"], "settings": translator}},
        "images": {"seed": 1, "noise": "none", "brightness": "none", "unevenness": "none", "minimum_voxels": 1},
        "variants": {
            "stroke_maps": {"donors": "stroke_negative", "per_donor": 2, "masks": "clinical"},
            "lesion_free": {"masks": None},
            "fusion": {"method": "fusion", "masks": "clinical"},
            "randomised": {"method": "randomised"},
        },
        "segmenter": {
            "overlays": ["demo"], "settings": {**ONCE, "channels": [4, 4, 8], "draws_per_epoch": 2},
        },
        "arms": ARMS,
    }  # fmt: skip
    (folder / "arms.json").write_text(json.dumps(content))
    definition = load_study(folder / "arms.json", external={"elsewhere": str(elsewhere)})
    refuse_impossible(definition, folder / "out")
    begin(definition, folder / "out")
    for stage in stages(definition, folder / "out"):
        run_stage(stage, folder / "out")
    return folder / "out"


def settings(study, run):
    return read_settings(study / "runs" / run)["settings"]


@pytest.mark.slow
def test_every_arm_is_scored_on_the_same_cases(study):
    scored = {arm: pd.read_csv(study / f"results/{arm}_seed1.csv") for arm in ARMS}
    assert {tuple(rows["subject"]) for rows in scored.values()} == {tuple(scored["clinical"]["subject"])}


@pytest.mark.slow
def test_every_arm_is_scored_on_all_stroke_cases_of_a_set_from_elsewhere(study):
    expected = {case.subject for case in read_dataset(study / "external/elsewhere").cases if case.cohort == "stroke"}
    for arm in ARMS:
        assert set(pd.read_csv(study / f"results/external/elsewhere/{arm}_seed1.csv")["subject"]) == expected
    write_report(study)
    summary = json.loads((study / "report/summary.json").read_text())
    assert set(summary["external"]["elsewhere"]) == set(ARMS)
    assert summary["external"]["elsewhere"]["few"]["difference"]["n_seeds"] == 1
    assert (study / "report/figures/external_elsewhere.png").is_file()


@pytest.mark.slow
def test_a_tuned_arm_goes_on_from_the_synthetic_one(study):
    assert settings(study, "tuned_seed1")["pretrained"] == str(study / "runs/alone_seed1")
    assert settings(study, "alone_seed1")["clinical_cases"] == 0


@pytest.mark.slow
def test_an_honest_arm_has_seen_its_own_cases_and_the_normal_cohort_whatever_way_one_follows(study):
    data = read_dataset(study / "data")
    own = {case.subject for case in data.select("training", "stroke", has_lesion=True)[:2]}
    normal = {case.subject for case in data.select("training", "normal")}

    def seen(arm):
        found = origins_of(settings(study, f"{arm}_seed1"), arm)
        return {origin.name for origin in found if origin.kind == "subject"}

    assert seen("honest") == own | normal
    assert seen("few") <= own | normal
    assert seen("alone") > own | normal


@pytest.mark.slow
def test_sets_are_of_the_donors_and_masks_that_they_name(study):
    donors = {case.source["donor"] for case in read_dataset(study / "synthetic_stroke_maps").cases}
    negative = read_dataset(study / "data").select("training", "stroke", has_lesion=False)
    assert donors == {case.subject for case in negative}
    assert len(read_dataset(study / "synthetic_stroke_maps").cases) == 2 * len(negative)
    assert all(case.label is None for case in read_dataset(study / "synthetic_lesion_free").cases)
