"""The report of a study: one page that works without a network, drawn from what is there."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from .report.comparison import comparison, low_data
from .report.examples import examples, segmentation_examples
from .report.external import external
from .report.figures import BADGE
from .report.folder import Section, StudyFolder
from .report.protocol import protocol
from .report.published import published
from .report.sets import fidelity, intensities, masks
from .report.tables import losses, provenance, scores
from .report.texture import texture
from .report.translators import translators
from .report.ventricles import ventricles
from .report.viewer import viewers

__all__ = ["write_report"]

TEMPLATES = Path(__file__).parent / "templates"

PARTS: tuple[tuple[str, str, Callable[[StudyFolder, Section], None]], ...] = (
    ("examples", "Example cases", examples),
    ("translators", "Translators", translators),
    ("fidelity", "Synthetic lesions are really there", fidelity),
    ("masks", "Masks of the lesion GAN against held-out masks", masks),
    ("intensities", "Intensity histograms", intensities),
    ("ventricles", "Lateral ventricles", ventricles),
    ("texture", "Texture within and between slices", texture),
    ("losses", "Training curves", losses),
    ("segmentations", "Segmentation examples", segmentation_examples),
    ("viewers", "A test case to move through", viewers),
    ("scores", "Scores on the test split", scores),
    ("comparison", "All arms side by side", comparison),
    ("low_data", "Few clinical cases", low_data),
    ("protocol", "The paper's own protocol", protocol),
    ("published", "The paper's published values, another data set", published),
    ("external", "Test sets from elsewhere", external),
    ("provenance", "Provenance", provenance),
)


def write_report(study_dir: str | Path, out: str | Path | None = None) -> Path:
    """Draw the page of a study from what is there; what is not is named on it as not made yet.

    Args:
        study_dir: folder of a study, at any time after its start.
        out: folder of the report; default `study_dir/report`. Pictures go to its `figures/` and into the page.

    Returns:
        `out/index.html`. Beside it `report.md`, the same for a repository or a wiki; `summary.json`, all numbers shown,
        scores in the units of the result CSVs; `figures/`, each picture with the CSV behind it; `viewers/`, a test case
        per arm to move through.

    Raises:
        FileNotFoundError: `study_dir` is not a study.
    """
    out = Path(out) if out else Path(study_dir) / "report"
    study = StudyFolder(study_dir, out)
    out.mkdir(parents=True, exist_ok=True)
    sections = [_section(study, *part) for part in PARTS]
    numbers = {section.key: section.numbers for section in sections}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    content = {
        "name": study.settings.get("name", study.path.name),
        "title": study.settings.get("title", study.path.name),
        "simulated": study.simulated,
        "badge": BADGE if study.simulated else None,
        "time": now,
        "baseline": study.baseline,
        "arms": study.titles,
        "headline": numbers["scores"].get("headline"),
    }
    missing = {section.key: section.missing for section in sections if section.missing}
    _write(out / "summary.json", json.dumps(_plain({**content, "missing": missing, **numbers}), indent=1))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    environment.filters["cell"] = _cell
    for template, name in (("report.html", "index.html"), ("report.md", "report.md")):
        page = environment.get_template(template).render(**content, sections=sections, colours=study.colours)
        _write(out / name, page)
    return out / "index.html"


def _section(study: StudyFolder, key: str, title: str, fill: Callable[[StudyFolder, Section], None]) -> Section:
    """A part of the page. What stops it is said there: half a study must not hide the other half."""
    section = Section(key, title)
    try:
        fill(study, section)
    except FileNotFoundError as error:
        section.missing.append(str(error))
    except ValueError as error:
        section.missing.append(f"could not be drawn: {error}")
    return section


def _embedded(path: Path) -> str:
    """A picture as a data URI, so that the page is one file."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _cell(text: str) -> str:
    """Text inside a Markdown table."""
    return text.replace("|", r"\|").replace("\n", " ").replace("<", "&lt;")


def _plain(value):
    """JSON without NaN (null instead) and without numpy's types."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float):  # numpy's float64 is one
        return None if math.isnan(value) else float(value)
    return value


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(text)
    temporary.replace(path)
