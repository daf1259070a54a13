"""Masks from the GAN."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from synthetic_world import (
    MINIMUM,
    SIZE,
    Blobs,
    content,
    times,
)

from common import mask_drawing
from common.datalists import fingerprint
from common.grids import grid_affine, read_volume, write_volume
from common.synthesis import draw_masks, latent_items


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


def like(monkeypatch, *voxels, parts=1, region=None):
    """Have a GAN that was trained on masks of such volumes and so many parts, in a region."""
    shapes = np.log([(volume, parts) for volume in voxels])
    masks = mask_drawing.WantedMasks(shapes, np.ones(SIZE, bool) if region is None else region)
    monkeypatch.setattr(mask_drawing, "_wanted_masks", lambda settings: masks)
    monkeypatch.setattr(mask_drawing, "_fingerprint", lambda settings: "as it was")


def test_masks_take_after_the_volumes_of_the_training_masks_if_told_to(tmp_path, runs, monkeypatch):
    draw_masks(runs[0], 12, seed=3, out=tmp_path / "drawn")
    drawn = [read_volume(path)[0].sum() for path in sorted((tmp_path / "drawn").glob("*.nii.gz"))]
    wanted = min(drawn)
    like(monkeypatch, wanted)

    draw_masks(runs[0], 12, seed=3, out=tmp_path / "chosen", select="training")

    chosen = [read_volume(path)[0].sum() for path in sorted((tmp_path / "chosen").glob("*.nii.gz"))]
    assert min(chosen) >= MINIMUM
    assert np.abs(np.log(np.array(chosen) / wanted)).mean() < np.abs(np.log(np.array(drawn) / wanted)).mean()


def test_masks_take_after_the_number_of_parts_of_the_training_masks(tmp_path, runs, monkeypatch):
    def forward(self, noise):
        lesion = torch.zeros(len(noise), *SIZE)
        for row, (first, second) in enumerate(noise[:, :2].tolist()):
            lesion[row, 4:8, 4:8, 4 + int(2 * abs(first)) : 10] = 1  # one part
            lesion[row, 14:18, 14:18, 4:10] = float(second > 1.5)  # rarely another
        return torch.stack([1 - lesion, lesion], 1)

    monkeypatch.setattr(Blobs, "forward", forward)
    like(monkeypatch, 200, parts=2)

    draw_masks(runs[0], 5, seed=3, out=tmp_path / "masks", select="training")

    assert all(read_volume(path)[0][14:18].any() for path in (tmp_path / "masks").glob("*.nii.gz"))


def test_selected_masks_do_not_depend_on_how_many_are_drawn_nor_repeat(tmp_path, runs, monkeypatch):
    like(monkeypatch, 30, 60)
    few, many = (draw_masks(runs[0], count, seed=3, out=tmp_path / f"{count}", select="training") for count in (3, 20))
    (many / "mask_00005.nii.gz").unlink()
    draw_masks(runs[0], 20, seed=3, out=many, select="training")

    again = draw_masks(runs[0], 20, seed=3, out=tmp_path / "again", select="training")
    assert content(many) == content(again)
    masks = {name: data for name, data in content(again).items() if name.startswith("mask_")}
    assert masks.items() >= {name: data for name, data in content(few).items() if name.startswith("mask_")}.items()
    assert len(set(masks.values())) == 20


def test_generator_that_draws_nothing_is_given_up_when_selecting_too(tmp_path, runs, monkeypatch):
    like(monkeypatch, 30, 60)
    monkeypatch.setattr(Blobs, "forward", lambda self, noise: torch.zeros(len(noise), 2, *SIZE))

    with pytest.raises(ValueError, match=r"of 256 masks, 0 have \d+ voxels or more.*train it longer"):
        draw_masks(runs[0], 2, seed=3, out=tmp_path / "masks", select="training")


def test_selected_masks_lie_where_the_training_masks_do(tmp_path, runs, monkeypatch):
    region = np.zeros(SIZE, bool)
    region[:12] = True
    like(monkeypatch, 30, 60, region=region)

    draw_masks(runs[0], 12, seed=3, out=tmp_path / "masks", select="training")

    for path in (tmp_path / "masks").glob("*.nii.gz"):
        mask = read_volume(path)[0] > 0
        assert mask[region].sum() >= mask.sum() / 2


def test_training_masks_are_those_of_the_run_mirrored_if_it_mirrored_them(tmp_path):
    size = (32, 32, 16)
    lesion = np.zeros(size, np.uint8)
    lesion[5:8, 10:14, 6:8] = 1
    folder = tmp_path / "library"
    for number in range(10):
        write_volume(folder / f"mask{number}.nii.gz", lesion, grid_affine(size))
    settings = {"size": size, "mask_library": str(folder)}

    plain, mirrored = (mask_drawing._wanted_masks(settings | {"flip": flip}) for flip in (0.0, 0.5))

    np.testing.assert_allclose(np.exp(plain.shapes), [(24, 1)] * len(plain.shapes))
    assert plain.region[lesion > 0].all()
    assert not plain.region[::-1][lesion > 0].any()
    np.testing.assert_array_equal(mirrored.region, plain.region | plain.region[::-1])


def test_masks_take_after_a_library_that_is_given(tmp_path, runs):
    for number, start in enumerate(np.ndindex(10, 10, 6)):
        lesion = np.zeros(SIZE, np.uint8)
        lesion[tuple(slice(3 * edge, 3 * edge + 2) for edge in start)] = 1
        write_volume(tmp_path / "library" / f"mask{number}.nii.gz", lesion, grid_affine(SIZE))
    drawn = sorted(mask.sum() for mask in mask_drawing.first_attempts(runs[0], 3, 12))

    draw_masks(runs[0], 12, seed=3, out=tmp_path / "masks", select=str(tmp_path / "library"))

    chosen = sorted(read_volume(path)[0].sum() for path in (tmp_path / "masks").glob("*.nii.gz"))
    assert np.mean(chosen) < np.mean(drawn)
    with pytest.raises(ValueError, match="select 'nowhere': expected none, training, or a mask library"):
        draw_masks(runs[0], 2, seed=3, out=tmp_path / "others", select="nowhere")


def test_masks_are_not_selected_by_a_data_set_that_has_changed_since_the_training(dataset_copy, runs, tmp_path):
    gan = runs[0]
    path = gan / "settings.json"
    content = json.loads(path.read_text())
    content["settings"] |= {"dataset_dir": str(dataset_copy), "dataset": "of another split"}
    path.write_text(json.dumps(content))

    with pytest.raises(ValueError, match="not those that the GAN was trained on.*could be like held-out ones"):
        draw_masks(gan, 2, seed=3, out=tmp_path / "masks", select="training")

    content["settings"]["dataset"] = fingerprint(str(dataset_copy))
    assert mask_drawing._fingerprint(content["settings"]) == fingerprint(str(dataset_copy))


def test_selected_masks_say_which_latent_they_come_from_and_what_was_not_taken(tmp_path, runs, monkeypatch):
    like(monkeypatch, 30, 60)
    draw_masks(runs[0], 18, seed=3, out=tmp_path / "masks", select="training")

    log = json.loads((tmp_path / "masks" / "masks.json").read_text())
    keys = [tuple(key) for key in log["latents"].values()]
    assert len(set(keys)) == len(keys) == 18
    for name, key in log["latents"].items():
        mask = mask_drawing._generate(Blobs().eval(), [tuple(key)])[0]
        np.testing.assert_array_equal(read_volume(tmp_path / "masks" / f"{name}.nii.gz")[0] > 0, mask)
    assert all(sum(counts.values()) == 240 for counts in log["rejected"].values())
