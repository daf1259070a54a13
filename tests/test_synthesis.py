"""Synthetic sets on disk."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from synthetic_world import (
    MINIMUM,
    Flat,
    content,
    times,
    write_run,
)

from common import synthesis
from common.datalists import read_dataset
from common.grids import read_volume, write_volume
from common.labels import PARENCHYMA, inject
from common.noise import noise_level
from common.synthesis import synthesize_images


def test_synthetic_set_is_a_data_set_that_says_where_it_came_from(tmp_path, world):
    synthesize_images(out=tmp_path / "synthetic", **world)

    dataset = read_dataset(tmp_path / "synthetic")
    assert (dataset.synthetic, dataset.simulated, len(dataset.cases)) == (True, True, 3)
    assert dataset.header["bundle"] == "pix2pix_itm"
    for case, donor in zip(dataset.cases, read_dataset(world["data"]).select("training", "normal")):
        image, anatomy, lesion = (read_volume(path)[0] for path in (case.image, case.anatomy, case.label))
        assert (case.cohort, case.split) == ("stroke", "training")
        assert case.source["donor"] == donor.subject
        assert case.source["source_brain"] == donor.source["source_brain"]
        assert case.source["model_sha256"] == dataset.header["model_sha256"]
        assert case.source["lesion_voxels_after"] == lesion.sum() >= MINIMUM
        np.testing.assert_array_equal(anatomy, read_volume(donor.anatomy)[0])
        assert PARENCHYMA[anatomy[lesion > 0]].all()
        assert (image[anatomy == 0] == -1).all()
        assert np.abs(image).max() <= 1


def test_lesion_changes_the_image_there(tmp_path, world):
    synthesize_images(out=tmp_path / "stroke", noise="none", brightness="none", **world)
    synthesize_images(out=tmp_path / "normal", noise="none", brightness="none", **(world | {"masks": None}))

    for ill, healthy in zip(read_dataset(tmp_path / "stroke").cases, read_dataset(tmp_path / "normal").cases):
        lesion = read_volume(ill.label)[0] > 0
        change = np.abs(read_volume(ill.image)[0] - read_volume(healthy.image)[0])
        assert change[lesion].min() > 0
        assert change[lesion].mean() > 3 * change[~lesion].mean()


def test_without_masks_brains_are_lesion_free(tmp_path, world):
    synthesize_images(out=tmp_path / "synthetic", **(world | {"masks": None}))

    cases = read_dataset(tmp_path / "synthetic").cases
    assert [(case.cohort, case.label, case.source["mask"]) for case in cases] == [("normal", None, None)] * 3


def test_synthesis_after_an_interruption_is_the_same_and_finished_cases_are_not_touched(tmp_path, world):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    synthesize_images(out=whole, count=5, **world)
    synthesize_images(out=broken, count=5, **world)
    (broken / "dataset.json").unlink()
    for case in (2, 5):  # killed between the image and the sidecar, and before anything
        (broken / f"sidecars/synthetic-{case:05d}.json").unlink()
    (broken / "images/synthetic-00005.nii.gz").unlink()
    finished = {name: time for name, time in times(broken).items() if not re.search("00002|00005", name)}

    synthesize_images(out=broken, count=5, **world)

    assert content(broken) == content(whole)
    assert finished.items() <= times(broken).items()


def test_finished_set_is_left_alone(tmp_path, world):
    synthesize_images(out=tmp_path / "synthetic", **world)
    before = times(tmp_path / "synthetic")

    synthesize_images(out=tmp_path / "synthetic", **world)

    assert times(tmp_path / "synthetic") == before


def test_larger_set_begins_with_the_smaller_one_and_uses_new_masks_on_the_same_donors(tmp_path, world):
    synthesize_images(out=tmp_path / "a", **world)
    synthesize_images(out=tmp_path / "a", count=6, **world)
    synthesize_images(out=tmp_path / "b", count=6, **world)

    cases = read_dataset(tmp_path / "a").cases
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert [case.source["donor"] for case in cases] == ["normal0", "normal1", "normal2"] * 2
    assert len({case.source["mask"] for case in cases}) == 6  # of 7: without replacement


def test_smaller_set_in_the_same_folder_is_refused(tmp_path, world):
    synthesize_images(out=tmp_path / "a", **world)

    with pytest.raises(ValueError, match="holds 3 cases, --count 2"):
        synthesize_images(out=tmp_path / "a", count=2, **world)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 2}, "seed 1 instead of 2"),
        ({"noise": "none"}, "noise 'auto' instead of 'none'"),
        ({"masks": None}, "masks"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused_by_name(tmp_path, world, change, name):
    synthesize_images(out=tmp_path / "a", **world)

    with pytest.raises(ValueError, match=name):
        synthesize_images(out=tmp_path / "a", **(world | change))


def test_noise_of_the_real_images_comes_back(tmp_path, world, monkeypatch):
    monkeypatch.setattr(synthesis, "load_network", lambda run, bundle, device: Flat().eval())
    synthesize_images(out=tmp_path / "smooth", noise="none", brightness="none", **world)
    synthesize_images(out=tmp_path / "noisy", **world)

    levels = {}
    for name in ("smooth", "noisy"):
        found = []
        for case in read_dataset(tmp_path / name).cases:
            image, anatomy, lesion = (read_volume(path)[0] for path in (case.image, case.anatomy, case.label))
            found.append(noise_level(image, inject(anatomy, lesion)))
        levels[name] = np.mean(found)
    assert levels["smooth"] == 0
    assert levels["noisy"] == pytest.approx(0.07, rel=0.2)


class Grainy(Flat):
    """Labels in one grey each, and the noise that it is given."""

    def draw_noise(self, slices, generator, device):
        return torch.randn(slices, 1, 24, 32, generator=generator).to(device)

    def forward(self, label_map, noise):
        return super().forward(label_map) + 0.1 * noise


def test_noise_of_the_translator_follows_from_the_seed_and_the_number_of_the_case(tmp_path, world, monkeypatch):
    monkeypatch.setattr(synthesis, "load_network", lambda run, bundle, device: Grainy().eval())
    plain = world | {"noise": "none", "brightness": "none", "masks": None}
    few, many = (synthesize_images(out=tmp_path / f"{n}", count=n, **plain) for n in (2, 4))
    other = synthesize_images(out=tmp_path / "other", count=2, **(plain | {"seed": 2}))

    first, second, _, fourth = (read_volume(case.image)[0] for case in read_dataset(many).cases)
    again = [read_volume(case.image)[0] for case in read_dataset(few).cases]
    np.testing.assert_array_equal(again, [first, second])
    assert (read_volume(read_dataset(other).cases[0].image)[0] != first).any()
    assert (fourth != first).any()  # the same donor once more
    seeds = [case.source["seeds"] for case in read_dataset(many).cases]
    assert [entry["case"] for entry in seeds] == [1, 2, 3, 4]
    assert len({entry["translator_noise"] for entry in seeds}) == 4


def test_an_uneven_lesion_changes_nothing_else_though_the_translator_draws_noise(tmp_path, world, monkeypatch):
    monkeypatch.setattr(synthesis, "load_network", lambda run, bundle, device: Grainy().eval())
    monkeypatch.setattr("common.appearance.lesion_unevenness", lambda *_: 0.4)
    plain = world | {"noise": "none", "brightness": "none", "count": 1}
    even, uneven = (
        read_dataset(synthesize_images(out=tmp_path / name, unevenness=name, **plain)).cases[0]
        for name in ("none", "auto")
    )
    changed = read_volume(even.image)[0] != read_volume(uneven.image)[0]
    lesion = read_volume(even.label)[0] > 0
    assert changed[lesion].mean() > 0.9
    assert not changed[~lesion].any()


def test_on_the_background_of_the_scan_only_the_lesion_is_the_translators(tmp_path, world, monkeypatch):
    monkeypatch.setattr(synthesis, "load_network", lambda run, bundle, device: Flat().eval())
    plain = world | {"noise": "none", "brightness": "none", "unevenness": "none"}
    synthesize_images(out=tmp_path / "synthetic", background="scan", **plain)

    donors = {case.subject: case for case in read_dataset(world["data"]).cases}
    for case in read_dataset(tmp_path / "synthetic").cases:
        image, scan = read_volume(case.image)[0], read_volume(donors[case.source["donor"]].image)[0]
        lesion, brain = read_volume(case.label)[0] > 0, read_volume(case.anatomy)[0] > 0
        around = brain & ~lesion & (scan > -1) & (image < 1)
        gain = (image[around] + 1) / (scan[around] + 1)
        assert np.ptp(gain) < 1e-4
        assert ((image - scan)[lesion] > 0).mean() > 0.9


def test_a_scan_with_a_lesion_of_its_own_is_no_background(tmp_path, world):
    with pytest.raises(ValueError, match="scan of donor stroke3 shows a lesion of its own"):
        synthesize_images(out=tmp_path / "synthetic", background="scan", donors="all", **world)


def test_a_background_without_masks_is_the_scan_as_it_is(tmp_path, world):
    synthesize_images(out=tmp_path / "synthetic", background="scan", **(world | {"masks": None}))

    made, donors = read_dataset(tmp_path / "synthetic"), {c.subject: c for c in read_dataset(world["data"]).cases}
    assert not any(case.label for case in made.cases)
    for case in made.cases:
        scan = read_volume(donors[case.source["donor"]].image)[0]
        np.testing.assert_array_equal(read_volume(case.image)[0], scan)


def test_what_a_set_is_made_of_stands_in_it(tmp_path, world):
    made = read_dataset(synthesize_images(out=tmp_path / "synthetic", background="scan", **world))

    assert {case.source["background"] for case in made.cases} == {"scan"}
    assert (made.header["background"], made.header["noise"]) == ("scan", "auto")
    assert "own scans of training donors" in made.header["description"]
    whole = read_dataset(synthesize_images(out=tmp_path / "whole", **world))
    assert "own scans" not in whole.header["description"]


def spoil(path, change):
    voxels, affine = read_volume(path)
    write_volume(path, *change(voxels.copy(), affine))


def shifted(voxels, affine):
    affine = affine.copy()
    affine[0, 3] += 30
    return voxels, affine


def hollow(voxels, affine):
    voxels[3, 3, 3] = np.nan
    return voxels, affine


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("image", shifted, "normal0"),
        ("image", hollow, "normal0 holds NaN"),
        ("anatomy", lambda v, a: (np.where(v > 0, 3, 0).astype(np.uint8), a), "donor normal0, case 1: no white matter"),
    ],
)
def test_a_scan_that_cannot_be_painted_on_is_refused_by_name(tmp_path, world, file, change, message):
    donor = next(case for case in read_dataset(world["data"]).cases if case.subject == "normal0")
    spoil(getattr(donor, file), change)

    with pytest.raises(ValueError, match=message):
        synthesize_images(out=tmp_path / "synthetic", background="scan", **world)
    assert not list((tmp_path / "synthetic").glob("sidecars/*"))


def test_held_out_donor_is_refused(tmp_path, world):
    with pytest.raises(ValueError, match=r"normal5: is in 'test'.*must be in 'training'"):
        synthesize_images(out=tmp_path / "synthetic", donors=["normal0", "normal5"], **world)


@pytest.mark.parametrize(
    ("donors", "subjects"),
    [
        ("stroke", {"stroke3"}),
        ("normal2,stroke3", {"normal2", "stroke3"}),
        ("all", {"normal0", "normal1", "normal2", "stroke3"}),
    ],
)
def test_donors_are_training_cases_of_the_cohort_or_those_named(tmp_path, world, donors, subjects):
    synthesize_images(out=tmp_path / "synthetic", donors=donors, **world)

    assert {case.source["donor"] for case in read_dataset(tmp_path / "synthetic").cases} == subjects


def test_model_of_another_grid_is_refused(tmp_path, world):
    other = write_run(tmp_path / "other", "pix2pix_itm", num_labels=29)
    (other / "settings.json").write_text(json.dumps({"bundle": "pix2pix_itm", "settings": {"size": [64, 64, 16]}}))

    with pytest.raises(ValueError, match=r"trained on a grid of \(64, 64, 16\) voxels"):
        synthesize_images(out=tmp_path / "synthetic", **(world | {"model": other}))


def test_masks_of_another_grid_are_refused(tmp_path, world):
    header = json.loads((world["masks"] / "masks.json").read_text())
    (world["masks"] / "masks.json").write_text(json.dumps(header | {"size": [64, 64, 16]}))

    with pytest.raises(ValueError, match=r"masks are on a grid of \(64, 64, 16\)"):
        synthesize_images(out=tmp_path / "synthetic", **world)


def test_unfinished_mask_set_is_refused(tmp_path, world):
    (world["masks"] / "mask_00003.nii.gz").unlink()

    with pytest.raises(ValueError, match="6 of 7 masks"):
        synthesize_images(out=tmp_path / "synthetic", **world)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "expected at least 1"),
        ({"noise": "gaussian"}, "'gaussian' is not known"),
        ({"background": "black"}, "'black' is not known"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, world, change, message):
    with pytest.raises(ValueError, match=message):
        synthesize_images(out=tmp_path / "synthetic", **(world | change))

    assert not (tmp_path / "synthetic").exists()


def test_synthetic_donors_are_refused(tmp_path, world):
    synthesize_images(out=tmp_path / "synthetic", **world)

    with pytest.raises(ValueError, match="donors come from the real one"):
        synthesize_images(out=tmp_path / "again", **(world | {"data": tmp_path / "synthetic"}))
