"""MONAI Label's real server with released bundles, driven by its own client as 3D Slicer would."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from label_server import label_server
from scipy.ndimage import affine_transform, center_of_mass

from common.bundles import load_network, train
from common.grids import read_volume, voxel_ml, write_volume
from common.labels import inject
from common.packaging.release import release_bundle
from common.serving.app_folder import make_app
from common.steps.iteration import one_hot

pytestmark = [pytest.mark.slow, pytest.mark.real]

SIZE = (32, 48, 16)
TRANSLATORS = {"pix2pix_itm": {"filters": 8}, "spade_itm": {"channels": [8, 8, 4]}, "cyclegan_itm": {"filters": 8}}
COUNTS = {"normal": 0, "training": 8, "validation": 2, "test": 2}


@pytest.fixture(scope="module")
def served(make_dataset, tmp_path_factory):
    """(client, data set, runs): a server with a segmenter that finds bright balls, and translators of one epoch."""
    folder = tmp_path_factory.mktemp("served")
    data = make_dataset(folder / "data", SIZE, COUNTS)
    runs = {name: folder / "runs" / name for name in ("stroke_unet", *TRANSLATORS)}
    common = {"dataset_dir": str(data.folder), "val_interval": 1}
    unet = {"channels": [4, 4, 8, 8, 8], "epochs": 10, "draws_per_epoch": 32}
    train("stroke_unet", ("demo",), output_dir=str(runs["stroke_unet"]), **unet, **common)
    for name, small in TRANSLATORS.items():
        train(name, ("demo",), output_dir=str(runs[name]), epochs=1, draws_per_epoch=8, **small, **common)
    for name, run in runs.items():
        release_bundle(name, run, folder / "dist")
    make_app(list(runs), folder / "dist", folder / "app")
    studies = folder / "studies"
    studies.mkdir()
    for case in data.cases:
        shutil.copyfile(case.image, studies / case.image.name)
        if case.label and case.split == "test":
            scan, lesion, affine = oblique(case)
            write_volume(studies / f"scan-{case.subject}.nii.gz", scan, affine)
            write_volume(folder / f"scan-{case.subject}.nii.gz", lesion, affine)
    with label_server(folder / "app", studies, folder) as client:
        yield client, data, runs
        group = os.getpgid(client.pid)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def oblique(case):
    """The case as a scanner would store it: tilted, in other voxels and units, from left to right reversed."""
    turn = np.deg2rad(12)
    spacing = np.diag([-4.1, 5.2, 6.7])
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    shape = (47, 45, 27)
    image, affine = read_volume(case.image)
    lesion, _ = read_volume(case.label)
    middle = affine[:3, :3] @ (np.array(image.shape) / 2) + affine[:3, 3]
    scanner = np.eye(4)
    scanner[:3, :3] = tilt @ spacing
    scanner[:3, 3] = middle - scanner[:3, :3] @ (np.array(shape) / 2) + [7, -5, 9]
    there = np.linalg.inv(affine) @ scanner
    scan = affine_transform((image + 1) * 400, there[:3, :3], there[:3, 3], shape, order=1)
    mask = affine_transform(lesion.astype(np.uint8), there[:3, :3], there[:3, 3], shape, order=0)
    return scan.astype(np.float32), mask, scanner


def dice(first, second):
    return 2 * np.sum((first > 0) & (second > 0)) / (np.sum(first > 0) + np.sum(second > 0))


def answered(client, path):
    """(mask, affine) of a scan, or None if it was refused in words."""
    try:
        return read_volume(client("infer", "stroke_unet", "", {}, file=str(path))[0])
    except RuntimeError as error:
        if "Status: 422" not in str(error):
            raise
        return None


def positive(data, split):
    return data.select(split, has_lesion=True)


def test_the_server_says_what_it_serves(served):
    info = served[0]("info")

    assert {name: model["type"] for name, model in info["models"].items()} == {
        "stroke_unet": "segmentation",
        **dict.fromkeys(TRANSLATORS, "others"),  # so that 3D Slicer does not offer a DWI as a segmentation
    }
    assert info["models"]["stroke_unet"]["labels"] == {"lesion": 1}
    assert list(info["trainers"]) == ["stroke_unet"]


def test_a_case_on_the_grid_is_segmented(served):
    client, data, _ = served
    case = positive(data, "test")[0]

    file, _ = client("infer", "stroke_unet", case.subject, {})

    mask, affine = read_volume(file)
    assert np.allclose(affine, data.affine, atol=1e-3)
    assert dice(mask, read_volume(case.label)[0]) > 0.4


def test_a_training_without_labels_says_so(served):
    status = served[0].train("stroke_unet", max_epochs=1)

    assert status["status"] == "ERROR"
    assert "no label was submitted yet" in status["details"][-1]


def test_a_scan_is_segmented_in_its_own_space_and_training_on_labels_changes_the_answer(served, tmp_path):
    client, data, _ = served
    cases = [f"scan-{case.subject}" for case in positive(data, "test")]
    truth, affine = read_volume(client.folder / f"{cases[0]}.nii.gz")

    file, table = client("infer", "stroke_unet", cases[0], {})
    before, found = read_volume(file)

    assert before.shape == truth.shape == (47, 45, 27)
    assert np.allclose(found, affine, atol=1e-3)
    assert set(np.unique(before)) == {0, 1}
    assert table["volume_ml"] == pytest.approx(before.sum() * voxel_ml(affine), rel=0.01)
    assert table["warning"] == ""
    assert dice(before, truth) > 0.4
    assert np.linalg.norm(np.subtract(center_of_mass(before), center_of_mass(truth))) < 2  # voxels

    weights = client.folder / "app/model/stroke_unet/models"
    first = torch.load(weights / "model.pt", weights_only=True)["model"]
    for case in cases:
        client("save_label", case, str(client.folder / f"{case}.nii.gz"))
    status = client.train("stroke_unet", max_epochs=1)
    assert status["status"] == "DONE", "\n".join(status["details"])

    changed = torch.load(weights / "model.pt", weights_only=True)["model"]
    kept = torch.load(weights / "before_0001.pt", weights_only=True)["model"]
    assert changed.keys() == first.keys() == kept.keys()
    assert all(torch.equal(kept[key], first[key]) for key in first)
    steps = [float((changed[key] - first[key]).abs().max()) for key in first if first[key].is_floating_point()]
    assert 0 < max(steps) < 0.01  # went on from the weights that answered, by few steps of 1e-4
    file, _ = client("infer", "stroke_unet", cases[0], {})
    assert dice(read_volume(file)[0], truth) > 0.4


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_label_map_is_translated_as_outside_the_server(served, tmp_path, name):
    client, data, runs = served
    case = positive(data, "test")[0]
    label_map = inject(read_volume(case.anatomy)[0], read_volume(case.label)[0]).astype(np.uint8)
    write_volume(tmp_path / "map.nii.gz", label_map, data.affine)

    file, _ = client("infer", name, "", {}, file=str(tmp_path / "map.nii.gz"))

    image, affine = read_volume(file)
    assert np.allclose(affine, data.affine, atol=1e-3)
    network = load_network(runs[name], name)
    with torch.no_grad():  # without a draw of its own, SPADE takes its fixed one, as the server does
        slices = network(one_hot(torch.from_numpy(label_map).permute(2, 0, 1)[:, None], 29, torch.float32))
    expected = np.where(label_map > 0, slices[:, 0].permute(1, 2, 0).numpy(), -1)
    assert np.abs(image - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label_map, affine: (label_map[:16], affine), r"expected a label map of \(32, 48, 16\).*found \(16, 48"),
        (lambda label_map, affine: (label_map, affine * [[-1], [1], [1], [1]]), "in RAS.* in LAS"),
        (lambda label_map, affine: (label_map + np.float32(0.5), affine), "whole ids from 0 to 28; found values from"),
    ],
)
def test_what_is_no_label_map_of_the_grid_is_refused_in_words(served, tmp_path, change, message):
    client, data, _ = served
    given = change(read_volume(positive(data, "test")[0].anatomy)[0], data.affine)
    write_volume(tmp_path / "map.nii.gz", *given)

    with pytest.raises(RuntimeError, match=f"Status: 422.*{message}"):
        client("infer", "pix2pix_itm", "", {}, file=str(tmp_path / "map.nii.gz"))


@pytest.mark.parametrize("name", ["zeros", "nan", "one slice", "four axes", "text"])
def test_bad_scans_get_an_answer_and_the_server_goes_on(served, tmp_path, name):
    """Refused in words, or an empty mask on the scan's own voxels; never "Internal Server Error"."""
    client, data, _ = served
    scan = {
        "zeros": np.zeros(SIZE, np.float32),
        "nan": np.full(SIZE, np.nan, np.float32),
        "one slice": np.ones((*SIZE[:2], 1), np.float32),
        "four axes": np.ones((*SIZE, 2), np.float32),
    }.get(name)
    path = tmp_path / "scan.nii.gz"
    if scan is None:
        path.write_text("not a NIfTI")
    else:
        write_volume(path, scan, data.affine)
    answer = answered(client, path)
    if answer is not None:
        mask, affine = answer
        assert mask.shape == scan.shape[:3]
        assert not mask.any()
        assert np.allclose(affine, data.affine, atol=1e-3)
    case = positive(data, "test")[0]
    assert read_volume(client("infer", "stroke_unet", case.subject, {})[0])[0].any()
