from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common import mask_drawing, synthesis
from common.datalists import Case, read_dataset, write_dataset
from common.grids import grid_affine, minimum_lesion_voxels, read_volume, write_volume
from common.labels import LESION, PARENCHYMA, inject
from common.noise import add_rician, noise_level
from common.placement import MaskQueue, read_pool
from common.synthesis import draw_masks, latent_items, place_lesion, synthesize_images, translate_volume

SIZE = (24, 32, 16)
AFFINE = grid_affine(SIZE)
MINIMUM = minimum_lesion_voxels(AFFINE)


class Blobs(nn.Module):
    """A mask generator: a box whose place and size follow from the latent; some are too small."""

    latent_size = 5

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        lesion = torch.full((len(noise), *SIZE), 0.4)
        for row, (x, y, z, edge, _) in enumerate(noise.tolist()):
            start = [int(n / 2 + n / 8 * np.tanh(k)) - 2 for n, k in zip(SIZE, (x, y, z))]
            edge = int(2.5 + 2 * np.tanh(edge))
            lesion[(row, *(slice(at, at + edge) for at in start))] = 0.6
        return torch.stack([1 - lesion, lesion], 1)


class Translator(nn.Module):
    """A small network from one-hot slices to images with an instance norm in it, as in Pix2Pix."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(29, 6, 3, padding=1),
            nn.InstanceNorm2d(6, affine=True),
            nn.LeakyReLU(0.2),
            nn.Conv2d(6, 1, 3, padding=1),
        )

    def forward(self, label_map: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layers(label_map))


class Flat(Translator):
    """The id of a label as its intensity, without any noise."""

    def forward(self, label_map: torch.Tensor) -> torch.Tensor:
        return label_map.argmax(1, keepdim=True) / 100


def brain() -> np.ndarray:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    radius = np.hypot(x, y) + 0.1 * z**2
    return np.select([radius < 0.12, radius < 0.6, radius < 0.8], [5, 1, 3], 0).astype(np.uint8)


def write_data(folder: Path, size=SIZE):
    """Three normal training donors, one stroke case in training and one in test."""
    cases = []
    for number, (cohort, split) in enumerate(
        [("normal", "training")] * 3 + [("stroke", "training"), ("stroke", "test"), ("normal", "test")]
    ):
        name = f"{cohort}{number}"
        anatomy = np.roll(brain(), number - 1, axis=1)
        image = add_rician(np.where(anatomy > 0, 0.1, -1.0), anatomy > 0, 0.07, np.random.default_rng(number))
        files = {"image": image, "anatomy": anatomy}
        if cohort == "stroke":
            files["label"] = np.pad(np.ones((3, 3, 3), np.uint8), [(9, 12), (9, 20), (6, 7)])
        paths = {key: folder / key / f"{name}.nii.gz" for key in files}
        for key, voxels in files.items():
            write_volume(paths[key], voxels, AFFINE)
        sidecar = folder / f"{name}.json"
        sidecar.write_text(json.dumps({"source_brain": f"brain{number}"}))
        cases.append(Case(name, cohort, split, label=paths.pop("label", None), sidecar=sidecar, **paths))
    header = {"name": "toy", "licence": "CC0", "simulated": True, "synthetic": False, "size": size, "affine": AFFINE}
    return write_dataset(folder, header, cases)


def write_run(folder: Path, bundle: str, **settings) -> Path:
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"bundle": bundle, "settings": {"size": SIZE, **settings}}))
    (folder / "model.pt").write_bytes(bundle.encode())
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Run folders of the lesion GAN and the translator whose networks are the small ones above."""
    monkeypatch.setattr(mask_drawing, "load_network", lambda run, bundle, device: Blobs().eval())
    monkeypatch.setattr(synthesis, "load_network", lambda run, bundle, device: Translator().eval())
    return write_run(tmp_path / "gan", "lesion_wgan"), write_run(tmp_path / "itm", "pix2pix_itm", num_labels=29)


@pytest.fixture
def world(tmp_path, runs):
    """Arguments of `synthesize_images` but for `out`."""
    gan, itm = runs
    write_data(tmp_path / "data")
    masks = draw_masks(gan, 7, seed=3, out=tmp_path / "masks")
    return {"bundle": "pix2pix_itm", "model": itm, "data": tmp_path / "data", "masks": masks, "seed": 1}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}


# Masks


def test_masks_have_the_minimum_size_and_rejections_are_logged(tmp_path, runs):
    draw_masks(runs[0], 20, seed=3, out=tmp_path / "masks")

    log = json.loads((tmp_path / "masks" / "masks.json").read_text())
    volumes = [read_volume(path)[0] for path in sorted((tmp_path / "masks").glob("*.nii.gz"))]
    assert len(volumes) == 20
    assert min(volume.sum() for volume in volumes) >= MINIMUM
    assert log["rejected"]
    assert all(voxels < MINIMUM for tries in log["rejected"].values() for voxels in tries)


def test_mask_is_the_first_latent_of_its_number_that_is_large_enough(tmp_path, runs):
    draw_masks(runs[0], 20, seed=3, out=tmp_path / "masks")
    log = json.loads((tmp_path / "masks" / "masks.json").read_text())["rejected"]

    for number in range(1, 21):
        attempt = len(log.get(f"mask_{number:05d}", []))
        noise = torch.from_numpy(mask_drawing.latent(3, number, attempt, 5))[None]
        np.testing.assert_array_equal(
            read_volume(tmp_path / "masks" / f"mask_{number:05d}.nii.gz")[0], Blobs()(noise)[0, 1] > 0.5
        )


def test_masks_after_an_interruption_are_the_same_and_finished_ones_are_not_touched(tmp_path, runs):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    draw_masks(runs[0], 20, seed=3, out=whole)
    draw_masks(runs[0], 20, seed=3, out=broken)
    for number in (4, 5, 17):
        (broken / f"mask_{number:05d}.nii.gz").unlink()
    finished = {name: time for name, time in times(broken).items() if name.startswith("mask_")}

    draw_masks(runs[0], 20, seed=3, out=broken)

    assert content(broken) == content(whole)
    assert finished.items() <= times(broken).items()


def test_more_masks_begin_with_those_of_a_smaller_count(tmp_path, runs):
    draw_masks(runs[0], 5, seed=3, out=tmp_path / "a")
    draw_masks(runs[0], 20, seed=3, out=tmp_path / "a")
    draw_masks(runs[0], 20, seed=3, out=tmp_path / "b")

    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_masks_of_another_seed_in_the_same_folder_are_refused_by_name(tmp_path, runs):
    draw_masks(runs[0], 2, seed=3, out=tmp_path / "masks")

    with pytest.raises(ValueError, match="seed 3 instead of 4"):
        draw_masks(runs[0], 2, seed=4, out=tmp_path / "masks")


def test_masks_into_a_folder_of_something_else_are_refused(tmp_path, runs):
    with pytest.raises(ValueError, match=r"has no masks\.json"):
        draw_masks(runs[0], 2, seed=3, out=runs[1])


def test_generator_that_draws_nothing_is_given_up(tmp_path, runs, monkeypatch):
    monkeypatch.setattr(Blobs, "forward", lambda self, noise: torch.zeros(len(noise), 2, *SIZE))

    with pytest.raises(ValueError, match=r"in a row have fewer than \d+ voxels.*train it longer"):
        draw_masks(runs[0], 2, seed=3, out=tmp_path / "masks")


def test_inference_items_are_the_first_latents_of_the_masks():
    items = latent_items(seed=3, count=2, latent_size=5)

    np.testing.assert_array_equal([item["image"] for item in items], [mask_drawing.latent(3, n, 0, 5) for n in (1, 2)])


# Placement


def test_injection_changes_exactly_the_voxels_of_mask_and_parenchyma(world):
    dataset = read_dataset(world["data"])
    pool, anatomy = read_pool(world["masks"], dataset), brain()

    placement = place_lesion(anatomy, pool, MaskQueue(7, seed=1), MINIMUM, "donor")

    mask = pool.read(pool.ids.index(placement.mask)) > 0
    changed = placement.label_map != anatomy
    np.testing.assert_array_equal(changed, mask & PARENCHYMA[anatomy])
    assert (placement.label_map[changed] == LESION).all()
    assert (placement.voxels_before, placement.voxels_after) == (mask.sum(), changed.sum())


def test_voxels_are_counted_after_clipping(world):
    pool = read_pool(world["masks"], read_dataset(world["data"]))
    first = pool.read(MaskQueue(7, seed=1).take()) > 0
    anatomy = np.where(first, 27, brain()).astype(np.uint8)  # the first mask falls into CSF but for one voxel less
    kept = np.argwhere(first)[: MINIMUM - 1]
    anatomy[tuple(kept.T)] = 1

    placement = place_lesion(anatomy, pool, MaskQueue(7, seed=1), MINIMUM, "donor")

    assert placement.voxels_after >= MINIMUM
    assert MINIMUM - 1 in placement.rejected.values()


def test_donor_without_room_for_any_mask_is_refused_by_name(world):
    pool = read_pool(world["masks"], read_dataset(world["data"]))

    with pytest.raises(ValueError, match=r"7 masks were tried.*donor somebody"):
        place_lesion(np.full(SIZE, 27, np.uint8), pool, MaskQueue(7, seed=1), MINIMUM, "somebody")


def test_queue_gives_each_mask_once_before_any_comes_again():
    queue = MaskQueue(7, seed=1)
    passes = [[queue.take() for _ in range(7)] for _ in range(2)]

    assert [sorted(order) for order in passes] == [list(range(7))] * 2
    assert passes[0] != passes[1]


# Translation


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_translation_does_not_depend_on_the_batch(batch_size):
    label_map = inject(brain(), np.pad(np.ones((4, 5, 3)), [(9, 11), (10, 17), (5, 8)]))

    image = translate_volume(Translator().eval(), label_map, 29, "fp32", batch_size)

    np.testing.assert_allclose(image, translate_volume(Translator().eval(), label_map, 29, "fp32"), atol=1e-5)


def test_translation_keeps_slices_in_place_and_clears_the_background():
    image = translate_volume(Flat(), brain(), 29, "fp32")

    np.testing.assert_allclose(image[brain() > 0], brain()[brain() > 0] / 100, rtol=1e-6)
    assert (image[brain() == 0] == -1).all()


def test_translation_is_of_axial_one_hot_slices():
    shapes = []
    network = Flat()
    network.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))

    translate_volume(network, brain(), 29, "fp32")

    assert shapes == [(SIZE[2], 29, *SIZE[:2])]


def test_label_that_the_translator_does_not_know_is_refused():
    with pytest.raises(ValueError, match="holds id 5, but the translator knows 0 to 4"):
        translate_volume(Translator(), brain(), 5, "fp32")


# Synthetic data sets


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
    synthesize_images(out=tmp_path / "stroke", noise="none", **world)
    synthesize_images(out=tmp_path / "normal", noise="none", **(world | {"masks": None}))

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
    synthesize_images(out=tmp_path / "smooth", noise="none", **world)
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
    ("change", "message"), [({"count": 0}, "expected at least 1"), ({"noise": "gaussian"}, "'gaussian' is not known")]
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, world, change, message):
    with pytest.raises(ValueError, match=message):
        synthesize_images(out=tmp_path / "synthetic", **(world | change))

    assert not (tmp_path / "synthetic").exists()


def test_synthetic_donors_are_refused(tmp_path, world):
    synthesize_images(out=tmp_path / "synthetic", **world)

    with pytest.raises(ValueError, match="donors come from the real one"):
        synthesize_images(out=tmp_path / "again", **(world | {"data": tmp_path / "synthetic"}))
