"""What a study has on disk so far, and the parts that a page is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from itertools import cycle
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ..datalists import Case, Dataset, read_dataset
from ..grids import read_volume
from ..results import read_results
from ..study_parts import reference_of
from .figures import SET_COLOURS, VARIANT_COLOURS, arm_colours, save

__all__ = ["Section", "StudyFolder", "Table", "last_attempt", "lesion_ml"]


@dataclass(frozen=True)
class Table:
    """Cells are shown as they are: the first `words` columns left-aligned, the others, numbers, right-aligned."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    words: int = 1


@dataclass
class Section:
    """A part of the page. `numbers` go to summary.json; `missing` says what is not made yet.

    `links`: (path from the page, title) of files beside it.
    """

    key: str
    title: str
    notes: list[str] = field(default_factory=list)
    figures: list[dict] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    numbers: dict = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


class StudyFolder:
    """A study's folder. What is not there yet raises FileNotFoundError, with words for the page.

    Args:
        path: with study.json.
        out: folder of the report; pictures go to its `figures/`.
    """

    def __init__(self, path: str | Path, out: Path):
        self.path, self.out = Path(path), out
        file = self.path / "study.json"
        if not file.is_file():
            raise FileNotFoundError(
                f"{self.path} is not a study: it has no study.json. Start one with `python -m scripts.study run --out "
                f"{self.path}`."
            )
        self.settings = json.loads(file.read_text())
        self.titles = {arm: entry.get("title", arm) for arm, entry in self.settings["arms"].items()}
        self.baseline: str = self.settings["baseline"]
        self.colours = arm_colours(list(self.titles), self.baseline)

    @cached_property
    def data(self) -> Dataset:
        return self._dataset("data", "the data set")

    @cached_property
    def synthetic(self) -> Dataset:
        return self._dataset("synthetic", "the synthetic set")

    @cached_property
    def synthetic_sets(self) -> dict[str, Dataset]:
        """The synthetic set, and by their names those of the study's variants that are there."""
        names = [name for name in self.settings.get("variants", {}) if self._made(f"synthetic_{name}")]
        return {"synthetic": self.synthetic, **{name: self._dataset(f"synthetic_{name}", name) for name in names}}

    @cached_property
    def set_colours(self) -> dict[str, str]:
        """Of the real images and of each synthetic set, the same in all figures: that of the arm which trains on it."""
        variants = dict(zip(self.settings.get("variants", {}), cycle(VARIANT_COLOURS)))
        for arm, entry in self.settings["arms"].items():
            variants |= {name: self.colours[arm] for name in variants if entry.get("synthetic") == f"synthetic_{name}"}
        return {self.real_word: SET_COLOURS["stroke"], **SET_COLOURS, **variants}

    @cached_property
    def simulated(self) -> bool:
        """Whether the images are simulated, as far as the folder tells."""
        if self._made("data"):
            return self.data.simulated
        origins = [json.loads(file.read_text()) for file in self.path.glob("results/*.json")]
        return any(origin.get("simulated") for origin in origins)

    @property
    def real_word(self) -> str:
        """Images that no translator made: real ones, or the simulation's."""
        return "simulated" if self.simulated else "real"

    @property
    def expected_runs(self) -> list[tuple[str, int]]:
        return [(arm, seed) for arm in self.titles for seed in self.settings["seeds"]]

    @cached_property
    def results(self) -> pd.DataFrame:
        """Test scores of the selected weights of all runs that are scored so far."""
        files = [self.result_file(*run) for run in self.expected_runs]
        files = [file for file in files if file.is_file()]
        if not files:
            raise FileNotFoundError("scores of the runs on the test split (results/)")
        frame = read_results(files)
        return frame[frame["epoch"].isna()]

    def against(self, arm: str) -> str | None:
        """The arm that it is compared with; None for the baseline."""
        return reference_of(self.settings, arm)

    @cached_property
    def contrasts(self) -> dict[str, str]:
        """{arm: title, with what it is compared with where that is not the baseline}."""
        found = {}
        for arm, title in self.titles.items():
            against = self.against(arm)
            found[arm] = title if against in (None, self.baseline) else f"{title} (against {self.titles[against]})"
        return found

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """Test scores of the kept epochs of all runs that are scored by epoch so far."""
        files = [file for run in self.expected_runs if (file := self.epochs_file(*run)).is_file()]
        if not files:
            raise FileNotFoundError("scores of the kept epochs (results/epochs/)")
        return read_results(files)

    def epochs_file(self, arm: str, seed: int) -> Path:
        return self.path / "results" / "epochs" / f"{arm}_seed{seed}.csv"

    def result_file(self, arm: str, seed: int) -> Path:
        return self.path / "results" / f"{arm}_seed{seed}.csv"

    def run(self, arm: str, seed: int) -> Path:
        return self.path / "runs" / f"{arm}_seed{seed}"

    def open_scores(self) -> list[str]:
        """Runs that are not scored yet, in words."""
        return [f"{arm}, seed {seed}" for arm, seed in self.expected_runs if not self.result_file(arm, seed).is_file()]

    def draw(
        self, section: Section, figure: Figure, name: str, title: str, caption: str, table: pd.DataFrame
    ) -> None:  # fmt: skip
        """Write a figure and the numbers behind it (`table`, as CSV beside the PNG), and put it on the page."""
        path = self.out / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(figure, path, title, self.simulated)
        table.to_csv(path.with_suffix(".csv"), index=False)
        section.figures.append({"path": path, "title": title, "caption": caption})

    def _dataset(self, folder: str, what: str) -> Dataset:
        if not self._made(folder):
            raise FileNotFoundError(f"{what} ({folder}/dataset.json)")
        return read_dataset(self.path / folder)

    def _made(self, folder: str) -> bool:
        return (self.path / folder / "dataset.json").is_file()


def last_attempt(line: dict) -> str:
    """Words to stand behind the time of a finished stage (a line of stages.jsonl) that was stopped before."""
    return f" (last of {line['attempts']} attempts)" if "attempts" in line else ""


def lesion_ml(case: Case, dataset: Dataset) -> float:
    """Volume of a case's lesion in ml: from its sidecar, else counted."""
    known = case.source.get("lesion_ml")
    return float(known) if known is not None else float((read_volume(case.label)[0] > 0).sum() * dataset.voxel_ml)
