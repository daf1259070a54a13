from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from study_fixture import ARMS, COUNTS, SIZE, add_masks, add_run, add_scores, add_segmenter, make_study, start_study

from common.datalists import read_dataset
from common.grids import read_volume, write_volume
from common.report.figures import BADGE
from common.reporting import PARTS, write_report
from common.results import read_results
from common.statistics import paired_difference

SEEDS = (1, 2)


@pytest.fixture(scope="module")
def study(tmp_path_factory, make_dataset):
    """A finished study with its report. Shared: do not change it."""
    folder = make_study(tmp_path_factory.mktemp("report") / "study", make_dataset, SEEDS)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(study):
    return (study / "report" / "index.html").read_text()


@pytest.fixture
def begun(tmp_path, make_dataset):
    """A study that has its data only."""
    folder = start_study(tmp_path / "study", SEEDS)
    make_dataset(folder / "data", SIZE, COUNTS)
    return folder


def numbers(folder) -> dict:
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "report" / "summary.json").read_text(), parse_constant=refuse)


def texts(html: str, tag: str) -> list[str]:
    return re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", html, re.DOTALL)


def test_finished_study_lacks_nothing(study):
    assert numbers(study)["missing"] == {}


def test_page_holds_all_it_shows(page):
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)

    assert len(texts(page, "figcaption")) == page.count("<img")
    assert all(source.startswith(("data:image/png;base64,", "#", "viewers/")) for source in sources)
    assert not re.search(r"https?://|@import|<script|<link", page)


def test_headline_is_the_paired_difference_with_its_interval(study, page):
    frame = read_results(sorted((study / "results").glob("*.csv")))
    expected = paired_difference(frame, "clinical_synthetic", "clinical")

    text = " ".join(re.sub(r"<[^>]+>", "", page).split())

    assert f"difference {100 * expected['mean']:+.1f} points" in text
    assert f"[{100 * expected['low']:+.1f}, {100 * expected['high']:+.1f}]" in text
    assert f"{COUNTS['test']} cases with a lesion, {len(SEEDS)} seeds" in text
    assert numbers(study)["headline"]["mean"] == pytest.approx(expected["mean"])


def test_every_synthetic_set_is_measured_by_its_name(tmp_path, study):
    """A variant of brighter images stands beside the main set, and does not change what is said of that."""
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    shutil.copytree(folder / "synthetic", folder / "synthetic_brighter")
    for case in read_dataset(folder / "synthetic_brighter").cases:
        image, affine = read_volume(case.image)
        write_volume(case.image, np.where(image > -1, (image + 0.5).clip(-1, 1), image), affine)
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"variants": {"brighter": {}}}))

    html = write_report(folder).read_text()

    before, after = (numbers(place) for place in (study, folder))
    for section, part in (("fidelity", "contrast"), ("fidelity", "recovered_dice")):
        assert after[section][part]["synthetic"] == before[section][part]["synthetic"]
        assert set(after[section][part]) == {*before[section][part], "brighter"}
    assert after["intensities"]["brighter"]["mean"] > after["intensities"]["synthetic"]["mean"] + 0.1
    assert "brighter" in after["texture"]["share"]
    assert ">brighter</t" in html


def test_simulated_data_are_named_on_top_and_at_every_figure(page):
    assert page.index(BADGE) < page.index("<h1>")
    assert all(BADGE in caption for caption in texts(page, "figcaption"))


def test_real_data_bear_no_badge(begun):
    path = begun / "data" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"simulated": False}))

    html = write_report(begun).read_text()

    assert "imulated" not in html
    assert texts(html, "figcaption")


def test_study_that_has_just_begun_names_what_is_not_made(tmp_path):
    folder = start_study(tmp_path / "study")

    html = write_report(folder).read_text()

    assert set(numbers(folder)["missing"]) == {key for key, _, _ in PARTS} - {"external", "published"}  # need no run
    assert "No headline yet" in html
    assert "synthetic/dataset.json" in html


def test_broken_part_is_named_and_hides_no_other(begun):
    dataset = read_dataset(begun / "data")
    (begun / "synthetic").mkdir()
    (begun / "synthetic" / "dataset.json").write_text("{")
    add_run(begun, "lesion_wgan", "lesion_wgan", dataset, {"c_loss": -1})
    add_masks(begun, dataset)

    write_report(begun)

    missing = numbers(begun)["missing"]
    assert "not valid JSON" in missing["examples"][0]
    assert "masks" not in missing
    assert "losses" not in missing


def test_segmentations_open_test_images_only_for_scored_runs(begun):
    dataset = read_dataset(begun / "data")
    for arm in ARMS:
        add_segmenter(begun, arm, 1, dataset)
    add_scores(begun, "clinical", 1, dataset, gain=0)

    write_report(begun)

    shown = numbers(begun)["segmentations"]
    assert all(list(case["dice"]) == ["clinical"] for case in shown.values())
    volumes = [case["lesion_ml"] for case in shown.values()]
    assert [case["size"] for case in shown.values()] == ["large", "medium", "small"]
    assert volumes == sorted(volumes, reverse=True)


def test_summary_holds_the_tables_of_the_page(study, page):
    summary = numbers(study)
    dice = next(row for row in summary["scores"]["metrics"] if row["metric"] == "dice" and row["arm"] == "clinical")

    cells = texts(page, "td")

    assert f"{100 * dice['mean']:.1f} ± {100 * dice['sd']:.1f} ({100 * dice['median']:.1f})" in cells
    assert f"{summary['masks']['distances']['GAN - held out']['mean']:.3f}" in cells
    assert all(
        run["model_sha256"][:12] in cells for run in summary["provenance"]["runs"].values() if run["model_sha256"]
    )


def test_same_folder_gives_the_same_numbers(begun, make_dataset):
    dataset = read_dataset(begun / "data")
    for arm in ARMS:
        add_scores(begun, arm, 1, dataset, gain=0.1)

    first, second = ((write_report(begun), numbers(begun))[1] for _ in range(2))

    assert {**first, "time": ""} == {**second, "time": ""}


def test_words_of_the_study_are_escaped(page):
    assert "A study of numbers &lt;made up&gt;" in page


def test_report_can_go_elsewhere(tmp_path):
    folder = start_study(tmp_path / "study")

    path = write_report(folder, tmp_path / "elsewhere")

    assert path == tmp_path / "elsewhere" / "index.html"
    assert not (folder / "report").exists()


def test_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"it has no study\.json"):
        write_report(tmp_path)


def test_case_without_lesion_enters_no_mean(study):
    tables = numbers(study)["scores"]

    assert {row["n_cases"] for row in tables["misses"]} == {COUNTS["test"]}
    assert {row["n_cases"] for row in tables["negatives"]} == {1}  # the test split has one case without a lesion


def test_only_what_was_measured_here_is_marked_as_simulated(page):
    ours, theirs = (page.split(f'<h2 id="{key}">')[1].split("</section>")[0] for key in ("scores", "published"))
    captions = [part.split("</caption>")[0] for part in theirs.split("<caption>")[1:]]
    assert len(captions) == 3
    assert not any("badge" in caption for caption in captions)
    assert all("badge" in part.split("</caption>")[0] for part in ours.split("<caption>")[1:])


def test_every_figure_has_the_numbers_behind_it(study):
    pictures = sorted((study / "report" / "figures").glob("*.png"))

    assert len(pictures) > 10
    assert all(len(pd.read_csv(path.with_suffix(".csv"))) for path in pictures)


def test_markdown_holds_what_the_page_holds(study, page):
    text = (study / "report" / "report.md").read_text()

    linked = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
    assert len(linked) == page.count("<img")
    assert all((study / "report" / path).is_file() for path in linked)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [title for _, title, _ in PARTS]
    headers = [line for line in text.splitlines() if re.fullmatch(r"\|(-+:?\|)+|\|(-*:?\|)+", line)]
    assert len(headers) == page.count("<table>")
    lines = text.splitlines()
    for place in (number for number, line in enumerate(lines) if line in headers):
        columns = lines[place].count("|")
        assert lines[place - 1].replace(r"\|", "").count("|") == columns
        assert lines[place + 1].replace(r"\|", "").count("|") == columns
    assert BADGE in text
    assert "<made up>" not in text
