"""A study as stages that need one another: data, lesion GANs, masks, translators, synthetic sets, segmenters, scores.

Each stage can be stopped and goes on; a finished one is not run again. No lesion GAN is trained where masks are a
library's, or drawn by another `model`. Nothing heavy is imported before a stage runs: Snakemake reads this per job.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .study_parts import (
    externals,
    gan_of,
    gans,
    in_order,
    mask_sets,
    method_of,
    refuse_unknown_names,
    segmenter_of,
    synthetic_sets,
    translators,
)

__all__ = ["ARM_WORDS", "KINDS", "Stage", "keeps_epochs", "stages"]

KINDS = ("data", "gan", "masks", "translator", "images", "segmenter", "score", "epochs", "external")
# Keys of an arm; all others are knobs of stroke_unet.
ARM_WORDS = ("title", "synthetic", "pretrained", "protocol", "against")


@dataclass(frozen=True)
class Stage:
    """One step of a study: `run()` makes what is not there yet, after the stages named in `needs`.

    `settings` is what the result depends on; `kind` one of `KINDS`.
    """

    name: str
    settings: dict[str, Any]
    run: Callable[[], object]
    needs: tuple[str, ...] = ()
    kind: str = "data"

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return self.name.replace(" ", "_")


def stages(study: dict, folder: str | Path) -> list[Stage]:
    """The stages of a study in the order in which they run.

    Raises:
        ValueError: an arm, a set or a translator names a part that the study does not have, or they need each other in
            a circle.
    """
    folder, sets = Path(folder), synthetic_sets(study)
    refuse_unknown_names(study, sets)
    trained = in_order(translators(study), "translator")
    arms = [(arm, seed) for seed in study["seeds"] for arm in in_order(study["arms"], "arm")]
    masks = mask_sets(study)
    drawing = [name for name in gans(study) if any(gan_of(choice) == name for choice in masks.values())]
    found = [
        _data_stage("data", study["data"], folder / "data"),
        *(_data_stage(f"data {name}", choice, folder / "external" / name) for name, choice in externals(study).items()),
        *(_gan_stage(study, folder, name) for name in drawing),
        *(_masks_stage(study, folder, name) for name in masks),
        *(_translator_stage(study, folder, name) for name in trained),
        *(_images_stage(study, folder, name) for name in sets),
        *(_segmenter_stage(study, folder, *run) for run in arms),
        *(_evaluate_stage(folder, *run) for run in arms),
        *(_epochs_stage(folder, *run) for run in arms if keeps_epochs(study, run[0])),
        *(_external_stage(folder, *run, name) for name in externals(study) for run in arms),
    ]
    return _each_after_its_needs(found)


def _each_after_its_needs(found: list[Stage]) -> list[Stage]:
    """The stages in this order, but for those that others need before."""
    by_name, ordered = {stage.name: stage for stage in found}, {}
    slugs = {stage.slug: stage.name for stage in found}
    for stage in found:
        if slugs[stage.slug] != stage.name:
            raise ValueError(f"{stage.name!r} and {slugs[stage.slug]!r} would share files: give one another name.")

    def place(stage: Stage, waiting: tuple[str, ...]) -> None:
        if stage.name in waiting:
            circle = " <- ".join([*waiting[waiting.index(stage.name) :], stage.name])
            raise ValueError(f"stages need one another in a circle: {circle}.")
        if stage.name not in ordered:
            for name in stage.needs:
                place(by_name[name], (*waiting, stage.name))
            ordered[stage.name] = stage

    for stage in found:
        place(stage, ())
    return list(ordered.values())


def _run(folder: Path, arm: str, seed: int) -> Path:
    return folder / "runs" / f"{arm}_seed{seed}"


def _data_stage(name: str, settings: dict, path: Path) -> Stage:
    def run() -> None:
        if "folder" in settings:
            from .datalists import read_dataset

            there = read_dataset(settings["folder"]).folder.resolve()
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(there, target_is_directory=True)
            elif path.resolve() != there:
                raise ValueError(f"{path} is there and is not {there}. Move it, or give the study another --out.")
            return
        from .phantom.cohort import make_phantom

        make_phantom(out=path, workers=len(os.sched_getaffinity(0)), **settings)

    return Stage(name, settings, run, kind="data")


def _gan_stage(study: dict, folder: Path, name: str) -> Stage:
    part = {"bundle": "lesion_wgan", **gans(study)[name]}
    return _train_stage(study, folder, name, part, {}, ("data",), "gan")


def _translator_stage(study: dict, folder: Path, name: str) -> Stage:
    """The translator's weights are selected by the Dice of a segmenter that saw clinical cases only.

    With "pretrained" it goes on from another translator of the study.
    """
    part, extra, needs = translators(study)[name], {}, ("data",)
    if (arm := segmenter_of(study, name)) is not None:
        extra["segmenter"] = str(_run(folder, arm, study["seeds"][0]))
        needs += (_train_name(arm, study["seeds"][0]),)
    if "pretrained" in part:
        extra["pretrained"] = str(folder / "runs" / part["pretrained"])
        needs += (f"train {part['pretrained']}",)
    return _train_stage(study, folder, name, part, extra, needs, "translator")


def _train_stage(
    study: dict, folder: Path, name: str, part: dict, extra: dict, needs: tuple[str, ...], kind: str
) -> Stage:
    settings = {
        "dataset_dir": str(folder / "data"),
        "output_dir": str(folder / "runs" / name),
        "seed": study["seeds"][0],
        **part["settings"],
        **extra,
    }
    return Stage(f"train {name}", settings, lambda: _train(part["bundle"], part["overlays"], settings), needs, kind)


def _train(bundle: str, overlays: list[str], settings: dict) -> None:
    from .bundles import train

    train(bundle, overlays, **settings)


def _masks_stage(study: dict, folder: Path, name: str) -> Stage:
    choice = dict(mask_sets(study)[name])
    gan = gan_of(choice)
    choice.pop("gan", None)
    settings = {"model": str(folder / "runs" / gan), **choice} if gan else choice

    def run() -> None:
        from .mask_drawing import draw_masks

        draw_masks(out=folder / name, **settings)

    return Stage(f"draw {name}", settings, run, (f"train {gan}",) if gan else (), "masks")


def _images_stage(study: dict, folder: Path, name: str) -> Stage:
    choice = dict(synthetic_sets(study)[name])
    translator = choice.pop("translator", next(iter(translators(study))))
    settings: dict[str, Any] = {"data": str(folder / "data"), "masks": str(folder / "masks"), **choice}
    drawn = choice.get("masks", "masks")
    needs: tuple[str, ...] = (f"draw {drawn}",) if drawn in mask_sets(study) else ()
    if needs:
        settings["masks"] = str(folder / drawn)
    if method_of(choice) == "translator":
        settings.pop("method", None)
        settings = {
            "bundle": translators(study)[translator]["bundle"], "model": str(folder / "runs" / translator), **settings
        }  # fmt: skip
        needs = (f"train {translator}", *needs)
    else:
        needs = ("data", *needs)

    def run() -> None:
        if method_of(choice) == "translator":
            from .synthesis import synthesize_images

            synthesize_images(out=folder / name, **settings)
        else:
            from .direct_synthesis import synthesize_directly

            synthesize_directly(out=folder / name, **settings)

    return Stage(f"make {name}", settings, run, needs, "images")


def _train_name(arm: str, seed: int) -> str:
    return f"train {arm} seed {seed}"


def _segmenter_stage(study: dict, folder: Path, arm: str, seed: int) -> Stage:
    choice = {key: value for key, value in study["arms"][arm].items() if key not in ARM_WORDS}
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
    if before := study["arms"][arm].get("pretrained"):
        settings["pretrained"] = str(_run(folder, before, seed))
        needs += (_train_name(before, seed),)

    def run() -> None:
        from .leaks import refuse_leaks

        refuse_leaks(settings, honest=study["arms"][arm].get("protocol", "as_paper") != "as_paper")
        _train("stroke_unet", study["segmenter"]["overlays"], settings)

    return Stage(_train_name(arm, seed), settings, run, needs, "segmenter")


def _evaluate_stage(folder: Path, arm: str, seed: int) -> Stage:
    settings = {
        "model": str(_run(folder, arm, seed)),
        "data": str(folder / "data"),
        "out": str(folder / "results" / f"{arm}_seed{seed}.csv"),
        "split": "test",
        "arm": arm,
        "seed": seed,
    }

    def run() -> None:
        from .evaluation import evaluate

        evaluate(**settings)

    return Stage(f"score {arm} seed {seed}", settings, run, (_train_name(arm, seed),), "score")


def keeps_epochs(study: dict, arm: str) -> bool:
    """Whether an arm's runs keep epochs, to be scored one by one as the paper does it."""
    return bool(study["arms"][arm].get("keep_last", study["segmenter"]["settings"].get("keep_last")))


def _epochs_stage(folder: Path, arm: str, seed: int) -> Stage:
    """The epochs' weights take most of a study's disk, and go as soon as they are scored."""
    scored = _evaluate_stage(folder, arm, seed)
    settings = scored.settings | {"out": str(folder / "results" / "epochs" / f"{arm}_seed{seed}.csv"), "tidy": True}

    def run() -> None:
        from .epoch_scores import score_epochs

        score_epochs(**settings)

    return Stage(f"{scored.name} by epoch", settings, run, scored.needs, "epochs")


def _external_stage(folder: Path, arm: str, seed: int, name: str) -> Stage:
    scored = _evaluate_stage(folder, arm, seed)
    out = folder / "results" / "external" / name / f"{arm}_seed{seed}.csv"
    settings = scored.settings | {"data": str(folder / "external" / name), "out": str(out), "split": "all"}

    def run() -> None:
        from .evaluation import evaluate

        evaluate(**settings)

    return Stage(f"{scored.name} on {name}", settings, run, (*scored.needs, f"data {name}"), "external")
