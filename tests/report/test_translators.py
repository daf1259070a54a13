import json

import pandas as pd
import pytest
import torch
from study_fixture import SIZE, add_translator, start_study

from common.report.folder import Section, StudyFolder
from common.report.translators import translators


@pytest.fixture
def folder(tmp_path, make_dataset):
    """Two translators, of which one is trained."""
    path = start_study(tmp_path / "study")
    study = json.loads((path / "study.json").read_text())
    part = {"bundle": "pix2pix_itm", "overlays": [], "settings": {}}
    (path / "study.json").write_text(json.dumps({**study, "translators": {"plain": part, "other": part}}))
    counts = {"normal": 1, "training": 1, "validation": 1, "test": 1}
    run = add_translator(path, "plain", make_dataset(path / "data", SIZE, counts), {})
    losses = {"epoch": [1, 2, 3, 4], "val_l1": [0.4, 0.3, None, 0.2], "val_recovered_gap": [0.3, 0.1, None, 0.2]}
    pd.DataFrame(losses).to_csv(run / "losses.csv", index=False)
    (path / "stages.jsonl").write_text(json.dumps({"stage": "train plain", "seconds": 90.0, "peak_gb": 1.0}) + "\n")
    return path


def test_a_translator_is_shown_by_the_epoch_that_was_chosen(folder, tmp_path):
    section = Section("translators", "Translators")
    translators(StudyFolder(folder, tmp_path), section)

    row = section.numbers["plain"]
    assert (row["epoch"], row["val_l1"], row["val_recovered_gap"]) == (2, 0.3, 0.1)
    assert row["seconds"] == 90
    weights = torch.load(folder / "runs" / "plain" / "model.pt")["model"]
    trained = {name: w for name, w in weights.items() if not name.endswith(("running_mean", "running_var", "tracked"))}
    assert row["parameters"] == sum(weight.numel() for weight in trained.values())
    shown = dict(zip(section.tables[0].columns, section.tables[0].rows[0]))
    assert (shown["epoch"], shown["minutes"], shown["L1"]) == ("2", "1.5", "0.300")
    assert shown["chosen by"] == "6 clinical"
    assert section.missing == ["the translator other"]


@pytest.mark.parametrize(("arm", "words"), [("clinical_synthetic", "6 clinical + 8 synthetic"), (None, "L1")])
def test_what_chose_the_epoch_is_named(arm, words, folder, tmp_path):
    path = folder / "study.json"
    study = json.loads(path.read_text())
    study["translators"]["plain"]["segmenter"] = arm
    path.write_text(json.dumps(study))
    section = Section("translators", "Translators")
    translators(StudyFolder(folder, tmp_path), section)
    assert dict(zip(section.tables[0].columns, section.tables[0].rows[0]))["chosen by"] == words
