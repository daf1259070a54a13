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

__all__ = ["ARM_WORDS", "KINDS", "Stage", "mask_sets", "stages", "synthetic_sets"]

KINDS = ("data", "gan", "masks", "translator", "images", "segmenter", "score")
ARM_WORDS = ("title", "synthetic", "pretrained", "protocol")  # of an arm; its other keys are knobs of stroke_unet


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
    _refuse_unknown_names(study, sets)
    trained = _in_order(_translators(study), "translator")
    baseline, first_seed = study["baseline"], study["seeds"][0]
    arms = [(arm, seed) for seed in study["seeds"] for arm in _in_order(study["arms"], "arm")]
    used = {f"{_segmenter_of(study, name)}": None for name in trained}
    early = [(arm, first_seed) for arm in (baseline, *used) if arm != "None"]  # the translators are selected by them
    early = list(dict.fromkeys(early))
    masks = mask_sets(study)
    gans = [name for name in _gans(study) if any(_gan_of(choice) == name for choice in masks.values())]
    return [
        _data_stage(study, folder),
        *(_segmenter_stage(study, folder, *run) for run in early),
        *(_gan_stage(study, folder, name) for name in gans),
        *(_masks_stage(study, folder, name) for name in masks),
        *(_translator_stage(study, folder, name) for name in trained),
        *(_images_stage(study, folder, name) for name in sets),
        *(_segmenter_stage(study, folder, *run) for run in arms if run not in early),
        *(_evaluate_stage(folder, *run) for run in arms),
    ]


def synthetic_sets(study: dict) -> dict[str, dict]:
    """{folder name: settings of `synthesize_images` or `synthesize_directly`} of the study's synthetic sets.

    The first, "synthetic", is made as "images" says; each entry of "variants" changes some of it. "translator" names
    the one that makes it; without it, the study's first does. "method" other than "translator" needs none.
    """
    if "images" not in study:
        return {}
    images = study["images"]
    variants = {f"synthetic_{name}": images | changes for name, changes in study.get("variants", {}).items()}
    return {"synthetic": images, **variants}


def mask_sets(study: dict) -> dict[str, dict]:
    """{name: settings of `draw_masks`}: "masks", and those of "mask_sets"; "gan" names the GAN that draws them."""
    first = {"masks": study["masks"]} if "masks" in study else {}
    return first | study.get("mask_sets", {})


def _gans(study: dict) -> dict[str, dict]:
    first = {"lesion_wgan": study["lesion_wgan"]} if "lesion_wgan" in study else {}
    return first | study.get("gans", {})


def _gan_of(choice: dict) -> str | None:
    """The GAN of the study that draws a mask set; None where a `model` does."""
    return None if "model" in choice else choice.get("gan", "lesion_wgan")


def _segmenter_of(study: dict, translator: str) -> str | None:
    """The arm by whose segmenter a translator's epoch is chosen; None: by its L1."""
    return _translators(study)[translator].get("segmenter", study["baseline"])


def _method(choice: dict) -> str:
    return choice.get("method", "translator")


def _translators(study: dict) -> dict[str, dict]:
    return study.get("translators", {})


def _refuse_unknown_names(study: dict, sets: dict[str, dict]) -> None:
    def refuse(who: str, key: str, value: str, what: str, known) -> None:
        raise ValueError(
            f'study {study["name"]!r}: {who} has "{key}": {value!r}; its {what} are {", ".join(known) or "none"}.'
        )

    trained, masks, arms, gans = _translators(study), mask_sets(study), study["arms"], _gans(study)
    if study["baseline"] not in arms:
        refuse("it", "baseline", study["baseline"], "arms", arms)
    unmasked = [name for name, choice in sets.items() if "masks" not in choice and _method(choice) != "randomised"]
    if "masks" not in masks and unmasked:
        raise ValueError(f'study {study["name"]!r}: it draws no "masks", so that every synthetic set must name some.')
    for name, part in [*sets.items(), *trained.items()]:
        key = "translator" if name in sets else "pretrained"
        if part.get(key) not in (None, *trained):
            refuse(repr(name), key, part[key], "`translators`", trained)
    for name, part in trained.items():
        if part.get("segmenter") not in (None, *arms):
            refuse(repr(name), "segmenter", part["segmenter"], "arms", arms)
    for name, choice in masks.items():
        if _gan_of(choice) not in (None, *gans):
            refuse(f"the mask set {name!r}", "gan", _gan_of(choice), "GANs", gans)
    for arm, choice in arms.items():
        if choice.get("synthetic") not in (None, *sets):
            refuse(f"arm {arm!r}", "synthetic", choice["synthetic"], "sets", [*sets, "`variants` makes others"])
        if choice.get("pretrained") not in (None, *arms):
            refuse(f"arm {arm!r}", "pretrained", choice["pretrained"], "arms", arms)


def _in_order(parts: dict[str, dict], what: str) -> list[str]:
    """Names such that each comes after the one it goes on from ("pretrained")."""
    ordered: list[str] = []
    for name in parts:
        chain = [name]
        while (before := parts[chain[-1]].get("pretrained")) is not None and before not in ordered:
            if before in chain:
                circle = " -> ".join([*chain, before])
                raise ValueError(f'{what}s go on from one another in a circle ("pretrained"): {circle}.')
            chain.append(before)
        ordered += [entry for entry in reversed(chain) if entry not in ordered]
    return ordered


def _run(folder: Path, arm: str, seed: int) -> Path:
    return folder / "runs" / f"{arm}_seed{seed}"


def _data_stage(study: dict, folder: Path) -> Stage:
    settings = study["data"]

    def run() -> None:
        if "folder" in settings:
            from .datalists import read_dataset

            there = read_dataset(settings["folder"]).folder.resolve()
            if not (folder / "data").exists():
                (folder / "data").symlink_to(there, target_is_directory=True)
            elif (folder / "data").resolve() != there:
                raise ValueError(
                    f"{folder}/data is there and is not {there}. Move it, or give the study another --out."
                )
            return
        from .phantom.cohort import make_phantom

        make_phantom(out=folder / "data", workers=os.cpu_count() or 1, **settings)

    return Stage("data", settings, run, kind="data")


def _gan_stage(study: dict, folder: Path, name: str) -> Stage:
    part = {"bundle": "lesion_wgan", **_gans(study)[name]}
    return _train_stage(study, folder, name, part, {}, ("data",), "gan")


def _translator_stage(study: dict, folder: Path, name: str) -> Stage:
    """The translator's weights are selected by the Dice of a segmenter that saw clinical cases only.

    With "pretrained" it goes on from another translator of the study.
    """
    part, extra, needs = _translators(study)[name], {}, ("data",)
    if (arm := _segmenter_of(study, name)) is not None:
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
    gan = _gan_of(choice)
    choice.pop("gan", None)
    settings = {"model": str(folder / "runs" / gan), **choice} if gan else choice

    def run() -> None:
        from .mask_drawing import draw_masks

        draw_masks(out=folder / name, **settings)

    return Stage(f"draw {name}", settings, run, (f"train {gan}",) if gan else (), "masks")


def _images_stage(study: dict, folder: Path, name: str) -> Stage:
    choice = dict(synthetic_sets(study)[name])
    translator = choice.pop("translator", next(iter(_translators(study))))
    settings: dict[str, Any] = {"data": str(folder / "data"), "masks": str(folder / "masks"), **choice}
    drawn = choice.get("masks", "masks")
    needs: tuple[str, ...] = (f"draw {drawn}",) if drawn in mask_sets(study) else ()
    if needs:
        settings["masks"] = str(folder / drawn)
    if _method(choice) == "translator":
        settings.pop("method", None)
        settings = {
            "bundle": _translators(study)[translator]["bundle"], "model": str(folder / "runs" / translator), **settings
        }  # fmt: skip
        needs = (f"train {translator}", *needs)
    else:
        needs = ("data", *needs)

    def run() -> None:
        if _method(choice) == "translator":
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
