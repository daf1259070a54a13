"""A test case to move through, one viewer per arm: the image, the true lesion and what the arm finds."""

from __future__ import annotations

import re

import nibabel
import numpy as np
from matplotlib.colors import ListedColormap
from nilearn.plotting import view_img

from ..bundles import load_network
from ..prediction import read_image, read_lesion, segment
from .folder import Section, StudyFolder, lesion_ml

__all__ = ["viewers"]

ICON = re.compile(r'<link rel="icon".*?/>', re.DOTALL)  # on the network, which the report does not need
MISSED, FALSE, FOUND = 1, 2, 3  # values of the overlay
COLOURS = ("black", "#56B4E9", "#E69F00", "#009E73")  # of 0 and of these


def viewers(study: StudyFolder, section: Section) -> None:
    """One file per arm in `viewers/` beside the page: the test case whose lesion is the median in volume."""
    seed = study.settings["seeds"][0]
    # Test images are only opened for runs whose reading of the test split is logged.
    arms = [
        arm for arm in study.titles
        if study.result_file(arm, seed).is_file() and (study.run(arm, seed) / "model.pt").is_file()
    ]  # fmt: skip
    section.missing += [f"{arm}, seed {seed}" for arm in study.titles if arm not in arms]
    if not arms:
        return
    data = study.data
    cases = sorted(data.select("test", has_lesion=True), key=lambda case: lesion_ml(case, data))
    if not cases:
        section.missing.append("test cases with a lesion")
        return
    case = cases[len(cases) // 2]
    grid = data.size, data.affine
    image, truth = read_image(case, grid), read_lesion(case, grid) > 0
    folder = study.out / "viewers"
    folder.mkdir(parents=True, exist_ok=True)
    centre = data.affine @ np.append(np.argwhere(truth).mean(axis=0), 1)  # where the viewers open
    for arm in arms:
        found = segment(load_network(study.run(arm, seed), "stroke_unet"), image) > 0
        view = view_img(
            nibabel.Nifti1Image(overlay(truth, found), data.affine),
            bg_img=nibabel.Nifti1Image(np.asarray(image, np.float32), data.affine),
            cut_coords=centre[:3], threshold=0.5, vmin=0, vmax=FOUND, symmetric_cmap=False,
            cmap=ListedColormap(COLOURS), resampling_interpolation="nearest", black_bg=True, colorbar=False,
            title=f"{study.titles[arm]}{' (simulated)' if study.simulated else ''}",
        )  # fmt: skip
        (folder / f"{arm}.html").write_text(ICON.sub("", view.html))
        section.links.append((f"viewers/{arm}.html", study.titles[arm]))
        section.numbers[arm] = {"subject": case.subject, "seed": seed, "voxels": _counts(truth, found)}
    section.notes.append(
        f"{'Simulated: ' if study.simulated else ''}{case.subject}, the test case with the median lesion volume "
        f"({lesion_ml(case, data):.1f} ml), seed {seed}; click to move. Blue: lesion that the arm missed; orange: "
        "found where there is none; green: found rightly. The patient's left is on the left here. The "
        "files lie beside this page, in viewers/."
    )


def overlay(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(H, W, D) bool masks as one map of `MISSED`, `FALSE`, `FOUND` and 0."""
    return np.select([truth & found, found, truth], [FOUND, FALSE, MISSED], 0).astype(np.float32)


def _counts(truth: np.ndarray, found: np.ndarray) -> dict[str, int]:
    values = overlay(truth, found)
    return {
        name: int((values == value).sum()) for name, value in (("missed", MISSED), ("false", FALSE), ("found", FOUND))
    }
