import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from common.labels import PARENCHYMA
from common.phantom.cohort import make_phantom
from common.phantom.plan import plan_subjects, split_brains
from common.phantom.subject import VENTRICLE_ML, draw_ventricle_ml

SIZE = (20, 18, 8)


def voxels(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def contents(dataset) -> dict:
    return {
        str(path.relative_to(dataset.folder)): voxels(path)
        for case in dataset.cases
        for path in (case.image, case.label, case.anatomy)
        if path
    }


def test_files_do_not_depend_on_the_number_of_workers(tmp_path):
    one, two = (contents(make_phantom(tmp_path / str(n), 4, SIZE, seed=5, workers=n)) for n in (1, 2))

    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_a_rerun_keeps_a_split_that_was_made_since(tmp_path):
    first = make_phantom(tmp_path, 4, SIZE)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text() + "\n")  # any change that is still a data set

    before = path.read_bytes()
    again = make_phantom(tmp_path, 4, SIZE)

    assert path.read_bytes() == before
    assert len(again.cases) == len(first.cases)


def test_another_seed_gives_other_subjects(tmp_path):
    a, b = (contents(make_phantom(tmp_path / str(seed), 2, SIZE, seed=seed)) for seed in (1, 2))
    assert any(a[name].shape != b[name].shape or (a[name] != b[name]).any() for name in a.keys() & b.keys())


def test_images_lie_in_range_with_background_exactly_minus_one(phantom):
    for case in phantom.cases:
        image, anatomy = voxels(case.image), voxels(case.anatomy)
        assert image.dtype == np.float32
        assert image.min() == -1
        assert image.max() == 1
        assert (image[anatomy == 0] == -1).all()


def test_lesions_lie_in_the_parenchyma_and_are_brighter_than_their_ring(phantom):
    differences = []
    for case in phantom.select(has_lesion=True):
        image, lesion, anatomy = voxels(case.image), voxels(case.label) > 0, voxels(case.anatomy)
        assert PARENCHYMA[anatomy][lesion].all()
        ring = ndimage.binary_dilation(lesion, iterations=2) & ~lesion & PARENCHYMA[anatomy]
        differences.append(image[lesion].mean() - image[ring].mean())
    assert min(differences) > 0


def test_sidecars_say_where_a_case_came_from(phantom):
    for case in phantom.cases:
        sidecar = case.source
        assert sidecar["subject"] == case.subject
        assert sidecar["simulated"] is True
        assert (sidecar["lesion_ml"] > 0) == (case.label is not None)
        if case.label:
            measured = voxels(case.label).sum() * phantom.voxel_ml
            assert sidecar["lesion_ml"] == pytest.approx(measured)
        assert {"territory", "side", "tesla", "snr", "intensity", "lateral_ventricle_ml"} <= sidecar.keys()


def test_drawn_ventricles_have_the_paper_s_mean_and_spread_in_each_cohort(rng):
    for cohort, (mean, deviation) in VENTRICLE_ML.items():
        drawn = np.array([draw_ventricle_ml(rng, cohort) for _ in range(4000)])
        assert drawn.mean() == pytest.approx(mean, rel=0.1)
        assert drawn.std() == pytest.approx(deviation, rel=0.2)


def test_ventricles_of_the_label_maps_have_the_volume_of_the_sidecar(phantom):
    for case in phantom.cases:
        drawn, measured = case.source["warp"]["ventricle_ml"], case.source["lateral_ventricle_ml"]
        assert measured == pytest.approx(drawn, rel=0.35, abs=3)


def test_a_rerun_makes_nothing_again_and_replaces_what_is_missing(tmp_path):
    first = make_phantom(tmp_path, 4, SIZE)
    times = {case.subject: case.image.stat().st_mtime_ns for case in first.cases}
    lost = first.cases[0]
    before = voxels(lost.image)
    lost.sidecar.unlink()
    (tmp_path / "dataset.json").unlink()

    second = make_phantom(tmp_path, 4, SIZE)

    changed = [case.subject for case in second.cases if case.image.stat().st_mtime_ns != times[case.subject]]
    assert changed == [lost.subject]
    np.testing.assert_array_equal(voxels(lost.image), before)


def test_a_folder_with_other_parameters_is_refused_by_name(tmp_path):
    make_phantom(tmp_path, 2, SIZE, seed=1)
    with pytest.raises(ValueError, match="seed was 1, now 2"):
        make_phantom(tmp_path, 2, SIZE, seed=2)


def test_a_foreign_data_set_is_not_overwritten(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "clinical"}))
    with pytest.raises(ValueError, match="did not make"):
        make_phantom(tmp_path, 2, SIZE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": 0}, "at least one subject"),
        ({"subjects": {"train": 3}}, r"unknown keys \['train'\]"),
        ({"size": (64, 64)}, "expected three numbers"),
        ({"negatives": 1.5}, "negatives is 1.5"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_phantom(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_plan_counts_positives_and_orders_positive_negative_normal():
    plan = plan_subjects({"normal": 3, "training": 8, "validation": 4, "test": 6}, negatives=0.25)
    kinds = [subject.kind for subject in plan if subject.split == "training"]

    assert kinds == ["positive"] * 8 + ["negative"] * 2 + ["normal"] * 3
    assert sum(subject.split == "test" and subject.kind == "positive" for subject in plan) == 6
    assert len({subject.name for subject in plan}) == len(plan)


def test_plan_of_a_total_is_half_normal_and_splits_the_strokes():
    plan = plan_subjects(48, negatives=0.25)
    stroke = [subject.split for subject in plan if subject.cohort == "stroke"]

    assert len(plan) == 48
    assert [stroke.count(split) for split in ("training", "validation", "test")] == [12, 5, 7]
    assert sum(subject.kind == "negative" for subject in plan) == 3 + 1 + 2


def test_no_brain_serves_two_splits(brain):
    brains = [replace(brain, name=str(n), source=f"sha-{n}") for n in range(14)]
    names = {split: {b.name for b in members} for split, members in split_brains(brains, seed=1).items()}

    assert [len(names[split]) for split in ("training", "validation", "test")] == [8, 2, 4]
    assert len(set.union(*names.values())) == 14
    with pytest.raises(ValueError, match="at least 3"):
        split_brains(brains[:2], seed=1)


@pytest.mark.slow
def test_no_real_brain_or_mask_is_in_two_splits(tmp_path, real_data):
    subjects = {"normal": 2, "training": 3, "validation": 2, "test": 3}
    dataset = make_phantom(
        tmp_path,
        subjects,
        SIZE,
        anatomies=real_data / "anatomies",
        lesions=real_data / "soop_lesion_masks.npz",
        workers=2,
    )
    for key in ("source_brain", "source_mask"):
        used = [{case.source[key] for case in dataset.select(split)} - {None} for split in ("training", "test")]
        assert used[0]
        assert not used[0] & used[1]
