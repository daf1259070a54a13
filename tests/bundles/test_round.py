"""One round of a stranger with a published segmenter: downloaded, used on a scan, trained on, used again."""

from __future__ import annotations

import os
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bundle_runs import shell, succeeded

from common.datalists import read_dataset
from common.grids import read_volume, write_volume
from common.packaging.release import release_bundle
from common.preprocessing.registration import resample

pytestmark = pytest.mark.slow

SHAPE = (90, 104, 40)


@pytest.fixture
def scans(bundle_data, tmp_path):
    """Two test cases as scanners write them, a folder for each; slices are oblique, axes run to the left."""
    for case in read_dataset(bundle_data).select("test")[:2]:
        voxels, grid = read_volume(case.image)
        tilt = np.deg2rad(10)
        turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
        affine = np.eye(4)
        affine[:3, :3] = turn @ np.diag([-2.2, 2.3, 4.4])
        affine[:3, 3] = (0, -18, 18) - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
        signal = resample((voxels + 1).astype(np.float32) * 300, grid, np.eye(4), SHAPE, affine, order=1)
        write_volume(tmp_path / "scans" / case.subject / "dwi.nii.gz", signal, affine)
    return tmp_path / "scans"


def test_a_published_segmenter_goes_round_far_from_the_repository(
    bundle_runs, bundle_data, scans, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))  # nilearn is for --space register only
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "nilearn.py").write_text("raise ImportError('not installed')\n")
    release_bundle("stroke_unet", bundle_runs["stroke_unet"], tmp_path / "dist")
    shutil.make_archive(str(tmp_path / "stroke_unet"), "zip", tmp_path / "dist", "stroke_unet")
    shutil.rmtree(tmp_path / "dist")
    site = tmp_path / "site"
    site.mkdir()

    def monai(*words, cwd):
        done = shell("-m", "monai.bundle", *words, cwd=cwd)
        succeeded(done)
        return done

    # 1. Download, as `monai.bundle` knows it.
    url = (tmp_path / "stroke_unet.zip").as_uri()
    monai("download", "--name", "stroke_unet", "--url", url, "--bundle_dir", "bundles_of_others", cwd=site)
    bundle = site / "bundles_of_others" / "stroke_unet"
    assert not (bundle / "common").exists()

    # 2. Infer, as on the command line of the README.
    inference = ("run", "inference", "--config_file", "configs/inference.json", "--images", f"{scans}/*/dwi.nii.gz")
    monai(*inference, "--output_dir", site / "masks", cwd=bundle)
    check(site / "masks", scans)

    # 3. Train on, from the published weights.
    tuned = site / "tuned"
    flags = {"dataset_dir": bundle_data, "output_dir": tuned, "pretrained": "models", "epochs": 1, "draws_per_epoch": 4}
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    monai("run", "training", "--config_file", "configs/train.json", *words, "--val_interval", "1", cwd=bundle)
    assert (tuned / "model.pt").read_bytes() != (bundle / "models" / "model.pt").read_bytes()

    # 4. Infer again, with what was trained.
    monai(*inference, "--run_dir", tuned, "--output_dir", site / "tuned_masks", cwd=bundle)
    check(site / "tuned_masks", scans)
    assert not [path for path in bundle.rglob("*") if os.path.islink(path)]


def check(masks, scans):
    """Every scan has a mask of its own on its own voxels, and a row."""
    table = pd.read_csv(masks / "lesions.csv", keep_default_na=False)
    paths = sorted(scans.glob("*/dwi.nii.gz"))
    assert list(table["image"]) == [str(path) for path in paths]
    assert set(table["warning"]) == {""}
    written = sorted(masks.glob("*/dwi_lesion.nii.gz"))
    assert len(written) == len(paths)
    for path, mask in zip(paths, written, strict=True):
        scan, found = nib.load(path), nib.load(mask)
        assert found.shape == scan.shape
        np.testing.assert_allclose(found.affine, scan.affine, atol=1e-4)
        assert set(np.unique(found.dataobj)) <= {0, 1}
        assert found.get_data_dtype() == np.uint8
