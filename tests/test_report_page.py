"""The report in a real browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from real_components import lack
from study_fixture import make_study

from common.reporting import write_report

WIDTH, HEIGHT = 1100, 9000
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
WARNING = np.array([0x9C, 0x2B, 0x00]) / 255  # the badge


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    lack("no chromium, chromium-browser or google-chrome on the PATH: install one to look at the report")


def screenshot(page: Path, folder: Path, width: int) -> np.ndarray:
    """The page as (HEIGHT, width, 3) in [0, 1]."""
    file = folder / f"page_{width}.png"
    flags = [
        f"--user-data-dir={folder / f'profile_{width}'}",
        f"--screenshot={file}",
        f"--window-size={width},{HEIGHT}",
    ]
    run = subprocess.run(
        [browser(), *FLAGS, *flags, page.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert file.is_file(), run.stderr
    return matplotlib.image.imread(file)[..., :3]


@pytest.mark.real
def test_page_is_drawn_without_a_network(tmp_path, make_dataset):
    browser()
    page = write_report(make_study(tmp_path / "study", make_dataset, seeds=(1, 2)))

    pixels = screenshot(page, tmp_path, WIDTH)

    ink = (pixels < 0.9).any(axis=(1, 2))  # rows that show something
    black = (pixels.max(axis=2) < 0.02).sum(axis=1) > WIDTH / 3  # rows of the pictures of brains
    badge = (np.abs(pixels[:120] - WARNING).max(axis=2) < 0.05).sum()
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert ink.sum() > HEIGHT / 3
    assert black.sum() > 1000
    assert badge > 200
    # Nothing runs over the margins, which would make the page scroll sideways.
    assert (pixels[:, -15:] > 0.9).all()
