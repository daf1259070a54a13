"""A planted leak stops a run, by whichever way it comes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from common.datalists import fingerprint, read_dataset, write_dataset
from common.grids import read_volume, write_volume
from common.leaks import refuse_leaks
from common.stage_state import run_stage, state_of
from common.study import stages


@pytest.fixture
def world(dataset_copy, make_dataset, tmp_path):
    """Settings of a segmenter whose synthetic set, translator, GAN and masks are all of the training split."""
    counts = {"normal": 0, "training": 2, "validation": 0, "test": 0}
    made = make_dataset(tmp_path / "synthetic", counts=counts, seed=7)
    cases = made.select("training", has_lesion=True)
    donor = read_dataset(dataset_copy).select("training", "normal")[0].subject
    for case in cases:
        case.sidecar.write_text(json.dumps({"subject": case.subject, "donor": donor}))
    write_dataset(tmp_path / "synthetic", {**made.header, "synthetic": True}, cases)
    (tmp_path / "masks").mkdir()
    write(tmp_path / "masks/masks.json", {"model": str(tmp_path / "gan")})
    made_by = {"model": str(tmp_path / "translator"), "masks": str(tmp_path / "masks")}
    write(tmp_path / "synthetic/synthesis.json", made_by)
    data = {"dataset_dir": str(dataset_copy), "dataset": fingerprint(str(dataset_copy)), "clinical_cases": 2}
    run(tmp_path / "gan", data)
    run(tmp_path / "first", data)
    run(tmp_path / "translator", data | {"segmenter": str(tmp_path / "first")})
    return {"dataset_dir": str(dataset_copy), "synthetic_dir": str(tmp_path / "synthetic"), "clinical_cases": 2}


def write(path, content):
    path.write_text(json.dumps(content))


def run(folder, settings):
    folder.mkdir(exist_ok=True)
    write(folder / "settings.json", {"bundle": "x", "settings": settings})


def change(folder, **settings):
    path = folder / "settings.json"
    run(folder, json.loads(path.read_text())["settings"] | settings)


def sidecar(world, **entries):
    path = read_dataset(world["synthetic_dir"]).cases[0].sidecar
    write(path, json.loads(path.read_text()) | entries)


def held_out(world, split="test"):
    return read_dataset(world["dataset_dir"]).select(split, has_lesion=True)[0]


@pytest.mark.parametrize("key", ["appearance", "drawn"])
def test_a_case_whose_noise_or_strength_was_taken_counts_as_seen(key, world):
    own = read_dataset(world["dataset_dir"]).select("training", "stroke", has_lesion=True)
    sidecar(world, **{key: {"reference": own[0].subject}})
    refuse_leaks(world, honest=True)
    sidecar(world, **{key: {"reference": own[3].subject}})
    refuse_leaks(world)
    with pytest.raises(ValueError, match=f"honest arm of 2 .* {key} of .* has seen the subject {own[3].subject}"):
        refuse_leaks(world, honest=True)
    sidecar(world, **{key: {"reference": held_out(world).subject}})
    with pytest.raises(ValueError, match="test results would be too good"):
        refuse_leaks(world)


def forget_masks(world):
    """As imported cases are: none tells which mask of a library is its own."""
    for case in read_dataset(world["dataset_dir"]).cases:
        number = case.subject.removeprefix("case-")
        content = json.loads(case.sidecar.read_text())
        write(case.sidecar, content | {"source_mask": None, "source_brain": f"hospital/sub-0{number}"})
    case = held_out(world)
    lesion, affine = read_volume(case.label)
    write_volume(case.label, ndimage.binary_dilation(lesion, iterations=2).astype(np.uint8), affine)  # > 20 voxels


def plant(library, case, name="sub-77", shift=0):
    """A library whose training masks hold the lesion of a case, moved by so many voxels."""
    lesion, affine = read_volume(case.label)
    for number in range(8):
        other = np.zeros_like(lesion)
        other[number, 3:6, 2:5] = 1
        write_volume(library / f"other-{number}x.nii.gz", other, affine)
    for place in "abcd":  # at least one of them is of the library's training split
        write_volume(library / f"{place}_{name}.nii.gz", np.roll(lesion, shift, 0), affine)


def learn_from(library, world, tmp_path):
    size = list(read_dataset(world["dataset_dir"]).size)
    change(tmp_path / "gan", dataset_dir=None, dataset=None, mask_library=str(library), size=size)


def test_a_library_that_holds_a_held_out_patients_lesion_stops_the_run(world, tmp_path):
    case, library = held_out(world), tmp_path / "library"
    forget_masks(world)
    plant(library, case)
    learn_from(library, world, tmp_path)
    with pytest.raises(ValueError, match=rf"gan has learned from .*library, whose mask .* {case.subject} in 'test'"):
        refuse_leaks(world)


def test_masks_that_a_gan_was_made_to_take_after_count_as_well(world, tmp_path):
    case, library = held_out(world), tmp_path / "library"
    forget_masks(world)
    plant(library, case)
    size = list(read_dataset(world["dataset_dir"]).size)
    write(tmp_path / "masks/masks.json", {"model": str(tmp_path / "gan"), "select": str(library), "size": size})
    with pytest.raises(ValueError, match=rf"masks, selected has learned from .*library.* lesion of {case.subject}"):
        refuse_leaks(world)


def test_a_lesion_that_came_to_the_atlas_by_another_way_is_known_by_its_number(world, tmp_path):
    case = held_out(world)
    forget_masks(world)
    number = case.subject.removeprefix("case-")
    plant(tmp_path / "others", case, "sub-4711", shift=1)
    learn_from(tmp_path / "others", world, tmp_path)
    refuse_leaks(world)
    plant(tmp_path / "own", case, f"sub-{number}", shift=1)
    learn_from(tmp_path / "own", world, tmp_path)
    with pytest.raises(ValueError, match=rf"_sub-{number} seems to be the lesion of {case.subject}"):
        refuse_leaks(world)


def test_without_a_leak_nothing_is_said(world):
    refuse_leaks(world)
    refuse_leaks(world, honest=True)


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("key", ["donor", "source_brain", "source_mask", "mask_subject"])
def test_a_planted_donor_or_mask_stops_the_run(key, split, world):
    case = held_out(world, split)
    name = case.source.get(key, case.subject)
    sidecar(world, **{key: name})
    with pytest.raises(ValueError, match=rf"the segmenter <- synthetic.* has seen the .* {name}.*{split!r}"):
        refuse_leaks(world)


@pytest.mark.parametrize(
    ("run_name", "way"),
    [
        ("translator", "synthetic <- translator has"),
        ("gan", "synthetic <- masks <- gan has"),
        ("first", "translator <- first has"),
    ],
)
def test_a_model_that_was_trained_on_another_split_of_the_same_cases_stops_the_run(run_name, way, world, tmp_path):
    other = Path(shutil.copytree(world["dataset_dir"], tmp_path / "other"))
    content = json.loads((other / "dataset.json").read_text())
    content["training"].insert(0, content["test"].pop(0))
    write(other / "dataset.json", content)
    change(tmp_path / run_name, dataset_dir=str(other), dataset=fingerprint(str(other)))
    with pytest.raises(ValueError, match=f"{way} seen the subject {held_out(world).subject}"):
        refuse_leaks(world)


def test_a_data_set_that_was_split_anew_after_the_training_stops_the_run(world, tmp_path):
    change(tmp_path / "gan", dataset="0" * 64)
    with pytest.raises(ValueError, match="has changed since .*gan was trained on it"):
        refuse_leaks(world)


@pytest.mark.parametrize("run_name", ["translator", "gan", "first"])
def test_an_honest_arm_refuses_a_model_that_has_seen_more_clinical_cases(run_name, world, tmp_path):
    change(tmp_path / run_name, clinical_cases=3)
    refuse_leaks(world)
    with pytest.raises(ValueError, match=rf"honest arm of 2 clinical cases .* {run_name} has seen"):
        refuse_leaks(world, honest=True)


def test_what_a_segmenter_goes_on_from_counts_as_well(world, tmp_path):
    run(tmp_path / "before", {"dataset_dir": world["dataset_dir"], "clinical_cases": 4})
    with pytest.raises(ValueError, match="the segmenter <- before has seen"):
        refuse_leaks(world | {"pretrained": str(tmp_path / "before")}, honest=True)
    with pytest.raises(FileNotFoundError, match="nobody can tell"):
        refuse_leaks(world | {"pretrained": str(tmp_path / "gone")})


def test_a_study_stops_at_a_planted_leak_before_it_trains(world, tmp_path):
    study = {
        "name": "leak", "data": {"folder": world["dataset_dir"]}, "seeds": [1], "baseline": "clinical",
        "translators": {"translator": {"bundle": "pix2pix_itm", "overlays": [], "settings": {}}},
        "images": {"seed": 1, "masks": "clinical"}, "segmenter": {"overlays": ["demo"], "settings": {}},
        "arms": {"clinical": {}, "mixed": {"synthetic": "synthetic"}},
    }  # fmt: skip
    by_name = {stage.name: stage for stage in stages(study, tmp_path)}
    by_name["data"].run()  # the data set is in its place
    sidecar(world, donor=held_out(world).subject)
    stage = by_name["train mixed seed 1"]
    with pytest.raises(ValueError, match="test results would be too good"):
        run_stage(stage, tmp_path)
    assert state_of(stage, tmp_path, {}) == "failed"
    assert not (tmp_path / "runs/mixed_seed1").exists()
