"""The report in a real browser."""

from __future__ import annotations

import html
import json
import re
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


@pytest.mark.slow
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


HINT = "Canvas2D: Multiple readback operations"  # Chromium on the speed of nilearn's viewer: no error

# Opens pages in frames, waits for them, and leaves what it saw in its own title. Clicks are a mouse's, as a reader's.
HARNESS = """<!DOCTYPE html><title>waiting</title><iframe id="page" width="1100" height="900"></iframe>
<script>
const frame = document.getElementById("page");
const opened = path => new Promise(done => { frame.onload = done; frame.src = path; });
const pause = ms => new Promise(done => setTimeout(done, ms));
const click = (canvas, x, y) => {
  const box = canvas.getBoundingClientRect();
  const [clientX, clientY] = [box.left + x * box.width, box.top + y * box.height];
  const at = {bubbles: true, view: frame.contentWindow, clientX, clientY};
  for (const kind of ["mousedown", "mouseup", "click"])
    canvas.dispatchEvent(new frame.contentWindow.MouseEvent(kind, at));
};
(async () => {
  const seen = {};
  await opened("index.html");
  const page = frame.contentDocument;
  seen.images = [...page.images].map(image => image.complete && image.naturalWidth > 0);
  seen.links = [...page.querySelectorAll("section.viewers a")].map(link => link.getAttribute("href"));
  seen.moved = [];
  for (const link of seen.links) {
    await opened(link);
    await pause(500);
    const canvas = frame.contentDocument.querySelector("canvas");
    const before = canvas.toDataURL();
    await pause(200);
    const still = canvas.toDataURL() === before;
    click(canvas, 0.12, 0.4);
    await pause(500);
    seen.moved.push(still && canvas.toDataURL() !== before);
  }
  document.title = "seen " + JSON.stringify(seen);
})().catch(error => { console.error("harness: " + error); document.title = "failed " + error; });
</script>"""


def visit(folder: Path, profile: Path) -> tuple[str, list[str]]:
    """Title of the harness after its visit to a report's folder, and what stood on the console."""
    (folder / "harness.html").write_text(HARNESS)
    flags = [
        f"--user-data-dir={profile}", "--allow-file-access-from-files", "--enable-logging=stderr",
        "--virtual-time-budget=60000", "--dump-dom", (folder / "harness.html").as_uri(),
    ]  # fmt: skip
    run = subprocess.run([browser(), *FLAGS, *flags], capture_output=True, text=True, timeout=120, check=False)
    title = re.search("<title>(.*?)</title>", run.stdout, re.DOTALL)
    assert title, run.stderr
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line and HINT not in line]
    return html.unescape(title[1]), console


@pytest.mark.slow
@pytest.mark.real
def test_images_load_and_viewers_move_without_a_word_on_the_console(tmp_path, make_dataset):
    browser()
    page = write_report(make_study(tmp_path / "study", make_dataset, seeds=(1,)))

    title, console = visit(page.parent, tmp_path / "profile")

    assert title.startswith("seen "), title
    seen = json.loads(title.removeprefix("seen "))
    assert console == []
    assert len(seen["images"]) > 8
    assert all(seen["images"])
    assert seen["links"] == ["viewers/clinical.html", "viewers/clinical_synthetic.html"]
    assert seen["moved"] == [True, True]


@pytest.mark.real
def test_visit_notices_a_broken_page(tmp_path):
    browser()
    broken = "<img src='none.png'><section class='viewers'><a href='still.html'>x</a></section><script>throw 1</script>"
    (tmp_path / "index.html").write_text(broken)
    (tmp_path / "still.html").write_text("<canvas></canvas>")

    title, console = visit(tmp_path, tmp_path / "profile")

    assert json.loads(title.removeprefix("seen ")) == {"images": [False], "links": ["still.html"], "moved": [False]}
    assert any("Uncaught" in line for line in console)
