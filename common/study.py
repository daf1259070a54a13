"""A study: from data to scored arms. What is in `scripts/studies/*.json` becomes stages that need one another.

Stages: data, segmenter of the baseline arm, lesion GAN, lesion masks, translators, synthetic sets, the other arms'
segmenters, test scores. Each stage can be stopped and goes on; a finished one is not run again. No lesion GAN is
trained where masks are a library's, or drawn by another `model`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bundles import train
from .environment import peak_memory_gb
from .evaluation import evaluate
from .phantom.cohort import make_phantom
from .synthesis import draw_masks, synthesize_images

__all__ = ["Stage", "begin", "finished_stages", "load_study", "run_stage", "stages", "synthetic_sets"]


@dataclass(frozen=True)
class Stage:
    """One step of a study: `run()` makes what is not there yet, after the stages named in `needs`.

    `settings` is what the result depends on.
    """

    name: str
    settings: dict[str, Any]
    run: Callable[[], object]
    needs: tuple[str, ...] = ()


def load_study(path: str | Path, scale: str | None = None, real_data: str | None = None) -> dict:
    """Read a study.

    Args:
        path: JSON file.
        scale: name of one of its "scales", whose values replace the study's ("tiny" for tests).
        real_data: folder with `anatomies/` (FreeSurfer label maps) and `*lesion_masks.npz`, which then replace the
            default phantom's anatomy and lesions, and train the lesion GAN.

    Raises:
        FileNotFoundError, ValueError: no such study, scale or data; a study that needs real data and gets none.
    """
    path = Path(path)
    if not path.is_file():
        known = ", ".join(str(file) for file in sorted(path.parent.glob("*.json"))) or "none"
        raise FileNotFoundError(f"{path}: no such study. Found in that folder: {known}.")
    study = json.loads(path.read_text())
    scales = study.pop("scales", {})
    if scale:
        if scale not in scales:
            raise ValueError(f"{path}: no scale {scale!r}; it has {sorted(scales) or 'none'}.")
        study = _merge(study, scales[scale])
    if study.pop("needs_real_data", False) and not real_data:
        raise ValueError(
            f"{path} needs real brains and lesion masks: set REAL_DATA=DIR (README.md, 'Real brains and masks')."
        )
    made = [study["images"], *study.get("variants", {}).values()]
    library = [(entry, "masks") for entry in made if entry.get("masks") == "library"]
    library += [(entry, "select") for entry in [study.get("masks", {})] if entry.get("select") == "library"]
    if library and not real_data:
        raise ValueError(f'{path}: takes "{library[0][1]}": "library", for which set REAL_DATA=DIR (README.md).')
    if real_data:
        anatomies, masks = Path(real_data) / "anatomies", sorted(Path(real_data).glob("*lesion_masks.npz"))
        if not anatomies.is_dir() or not masks:
            raise FileNotFoundError(f"REAL_DATA={real_data}: expected anatomies/ and *lesion_masks.npz in it.")
        study["data"] |= {"anatomies": str(anatomies), "lesions": str(masks[0])}
        if "lesion_wgan" in study:
            study["lesion_wgan"]["settings"] |= {"mask_library": str(masks[0]), "size": study["data"]["size"]}
        for entry, key in library:
            entry[key] = str(masks[0])
    return study


def begin(study: dict, folder: str | Path) -> None:
    """Write `study.json` into the study's folder, or check that it is the one that is there.

    Raises:
        ValueError: the folder holds a study with other settings.
    """
    path = Path(folder) / "study.json"
    if path.is_file():
        found = json.loads(path.read_text())
        changed = sorted(key for key in set(found) | set(study) if found.get(key) != study.get(key))
        if changed:
            raise ValueError(
                f"{folder} holds a study with other {', '.join(changed)}. Restore them to go on, or give another --out."
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(".study.json")
    temporary.write_text(json.dumps(study, indent=1))
    temporary.replace(path)


def stages(study: dict, folder: str | Path) -> list[Stage]:
    """The stages of a study in the order in which they run.

    Raises:
        ValueError: an arm names a synthetic set that the study does not make, a set or a translator one that it does
            not train, a set no masks where none are drawn.
    """
    folder, sets = Path(folder), synthetic_sets(study)
    if "masks" not in study and any("masks" not in choice for choice in sets.values()):
        raise ValueError(f'study {study["name"]!r}: it draws no "masks", so that every synthetic set must name some.')
    trained = list(study["translators"])
    for name, part in [*sets.items(), *study["translators"].items()]:
        key = "translator" if name in sets else "pretrained"
        if part.get(key) not in (None, *trained):
            raise ValueError(
                f'study {study["name"]!r}: {name!r} has "{key}": {part[key]!r}; its `translators` are '
                f"{', '.join(trained)}."
            )
    for arm, choice in study["arms"].items():
        if choice.get("synthetic") not in (None, *sets):
            raise ValueError(
                f'study {study["name"]!r}: arm {arm!r} has "synthetic": {choice["synthetic"]!r}; its sets are '
                f"{', '.join(sets)}. `variants` makes others."
            )
    baseline, first_seed = study["baseline"], study["seeds"][0]
    fixed_segmenter = (baseline, first_seed)
    arms = [(arm, seed) for seed in study["seeds"] for arm in study["arms"]]
    arms.sort(key=lambda run: run != fixed_segmenter)  # first: the translators are selected by it
    masks = [_masks_stage(study, folder)] if "masks" in study else []
    if masks and "model" not in study["masks"]:
        masks.insert(0, _gan_stage(study, folder))
    return [
        _data_stage(study, folder),
        _segmenter_stage(study, folder, *arms[0]),
        *masks,
        *(_translator_stage(study, folder, name, fixed_segmenter) for name in trained),
        *(_images_stage(study, folder, name) for name in sets),
        *(_segmenter_stage(study, folder, *run) for run in arms[1:]),
        *(_evaluate_stage(folder, *run) for run in arms),
    ]


def synthetic_sets(study: dict) -> dict[str, dict]:
    """{folder name: settings of `synthesize_images`} of the study's synthetic sets.

    The first, "synthetic", is made as "images" says; each entry of "variants" changes some of it. "translator" names
    the one that makes it; without it, the study's first does.
    """
    images = study["images"]
    variants = {f"synthetic_{name}": images | changes for name, changes in study.get("variants", {}).items()}
    return {"synthetic": images, **variants}


def finished_stages(folder: str | Path) -> dict[str, dict]:
    """{name: line of stages.jsonl} of the stages that ended well."""
    path = Path(folder) / "stages.jsonl"
    if not path.is_file():
        return {}
    return {line["stage"]: line for line in map(json.loads, path.read_text().splitlines())}


def run_stage(stage: Stage, folder: str | Path) -> bool:
    """Run a stage unless it is finished; log its time and the process's peak memory. True if it ran."""
    if stage.name in finished_stages(folder):
        return False
    start = time.monotonic()
    stage.run()
    line = {"stage": stage.name, "seconds": round(time.monotonic() - start, 1), "peak_gb": round(peak_memory_gb(), 2)}
    with open(Path(folder) / "stages.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    return True


def _run(folder: Path, arm: str, seed: int) -> Path:
    return folder / "runs" / f"{arm}_seed{seed}"


def _data_stage(study: dict, folder: Path) -> Stage:
    settings = study["data"]
    return Stage("data", settings, lambda: make_phantom(out=folder / "data", workers=os.cpu_count() or 1, **settings))


def _gan_stage(study: dict, folder: Path) -> Stage:
    part = {"bundle": "lesion_wgan", **study["lesion_wgan"]}
    return _train_stage(study, folder, "lesion_wgan", part, {}, ("data",))


def _translator_stage(study: dict, folder: Path, name: str, segmenter: tuple[str, int]) -> Stage:
    """The translator's weights are selected by the Dice of a segmenter that saw clinical cases only.

    With "pretrained" it goes on from another translator of the study.
    """
    part, extra = study["translators"][name], {"segmenter": str(_run(folder, *segmenter))}
    needs = ("data", _train_name(*segmenter))
    if "pretrained" in part:
        extra["pretrained"] = str(folder / "runs" / part["pretrained"])
        needs += (f"train {part['pretrained']}",)
    return _train_stage(study, folder, name, part, extra, needs)


def _train_stage(study: dict, folder: Path, name: str, part: dict, extra: dict, needs: tuple[str, ...]) -> Stage:
    settings = {
        "dataset_dir": str(folder / "data"),
        "output_dir": str(folder / "runs" / name),
        "seed": study["seeds"][0],
        **part["settings"],
        **extra,
    }
    return Stage(f"train {name}", settings, lambda: train(part["bundle"], part["overlays"], **settings), needs)


def _masks_stage(study: dict, folder: Path) -> Stage:
    settings = {"model": str(folder / "runs" / "lesion_wgan"), **study["masks"]}
    needs = () if "model" in study["masks"] else ("train lesion_wgan",)
    return Stage("draw masks", settings, lambda: draw_masks(out=folder / "masks", **settings), needs)


def _images_stage(study: dict, folder: Path, name: str) -> Stage:
    choice = dict(synthetic_sets(study)[name])
    translator = choice.pop("translator", next(iter(study["translators"])))
    settings = {
        "bundle": study["translators"][translator]["bundle"],
        "model": str(folder / "runs" / translator),
        "data": str(folder / "data"),
        "masks": str(folder / "masks"),
        **choice,
    }
    needs = (f"train {translator}", *(["draw masks"] if "masks" not in choice else []))
    return Stage(f"make {name}", settings, lambda: synthesize_images(out=folder / name, **settings), needs)


def _train_name(arm: str, seed: int) -> str:
    return f"train {arm} seed {seed}"


def _segmenter_stage(study: dict, folder: Path, arm: str, seed: int) -> Stage:
    choice = {key: value for key, value in study["arms"][arm].items() if key not in ("title", "synthetic")}
    settings = {
        "dataset_dir": str(folder / "data"),
        "output_dir": str(_run(folder, arm, seed)),
        "seed": seed,
        **study["segmenter"]["settings"],
        **choice,
    }
    needs: tuple[str, ...] = ("data",)
    if name := study["arms"][arm].get("synthetic"):
        settings["synthetic_dir"] = str(folder / name)
        needs += (f"make {name}",)
    overlays = study["segmenter"]["overlays"]
    return Stage(_train_name(arm, seed), settings, lambda: train("stroke_unet", overlays, **settings), needs)


def _evaluate_stage(folder: Path, arm: str, seed: int) -> Stage:
    settings = {
        "model": str(_run(folder, arm, seed)),
        "data": str(folder / "data"),
        "out": str(folder / "results" / f"{arm}_seed{seed}.csv"),
        "split": "test",
        "arm": arm,
        "seed": seed,
    }
    return Stage(f"score {arm} seed {seed}", settings, lambda: evaluate(**settings), (_train_name(arm, seed),))


def _merge(base: dict, changes: dict) -> dict:
    """`changes` over `base`, dictionary by dictionary."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = _merge(base[key], value) if both else value
    return result
