"""The parts of a study's definition, and that they name one another rightly."""

from __future__ import annotations

import re

__all__ = [
    "externals", "gan_of", "gans", "in_order", "mask_sets", "method_of", "reference_of", "refuse_unknown_names",
    "segmenter_of", "synthetic_sets", "translators",
]  # fmt: skip


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


def gans(study: dict) -> dict[str, dict]:
    """{name: overlays and settings}: "lesion_wgan", and those of "gans"."""
    first = {"lesion_wgan": study["lesion_wgan"]} if "lesion_wgan" in study else {}
    return first | study.get("gans", {})


def gan_of(choice: dict) -> str | None:
    """The GAN of the study that draws a mask set; None where a `model` does."""
    return None if "model" in choice else choice.get("gan", "lesion_wgan")


def externals(study: dict) -> dict[str, dict]:
    """{name: "folder" of an existing data set, or settings of a phantom} of the external test sets."""
    return study.get("external", {})


def segmenter_of(study: dict, translator: str) -> str | None:
    """The arm by whose segmenter a translator's epoch is chosen; None: by its L1."""
    return translators(study)[translator].get("segmenter", study["baseline"])


def reference_of(study: dict, arm: str) -> str | None:
    """The arm that another one is compared with; None for the baseline.

    Its "against"; else, if it uses synthetic cases, the arm that is trained on as many clinical cases and nothing else;
    else the baseline.
    """
    arms, baseline = study["arms"], study["baseline"]
    if arm == baseline:
        return None
    if against := arms[arm].get("against"):
        return against
    if arms[arm].get("synthetic") or arms[arm].get("pretrained"):
        for name in (baseline, *arms):
            alone = set(arms[name]) <= {"title", "clinical_cases", "epochs"}
            if alone and name != arm and arms[name].get("clinical_cases") == arms[arm].get("clinical_cases"):
                return name
    return baseline


def method_of(choice: dict) -> str:
    """How a set is made: by a translator unless it says otherwise."""
    return choice.get("method", "translator")


def translators(study: dict) -> dict[str, dict]:
    """{name: bundle, overlays and settings}; a study without synthetic sets has none."""
    return study.get("translators", {})


def refuse_unknown_names(study: dict, sets: dict[str, dict]) -> None:
    """Raise ValueError if an arm, a set, a mask set or a translator names a part that the study does not have."""

    def refuse(who: str, key: str, value: str, what: str, known) -> None:
        raise ValueError(
            f'study {study["name"]!r}: {who} has "{key}": {value!r}; its {what} are {", ".join(known) or "none"}.'
        )

    trained, masks, arms, known_gans = translators(study), mask_sets(study), study["arms"], gans(study)
    for name in (*arms, *study.get("variants", {}), *trained, *masks, *known_gans):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(
                f"study {study['name']!r}: {name!r} becomes part of file names; expected letters, digits, _ and -. Its "
                '"title" may be anything.'
            )
    if study["baseline"] not in arms:
        refuse("it", "baseline", study["baseline"], "arms", arms)
    unmasked = [name for name, choice in sets.items() if "masks" not in choice and method_of(choice) != "randomised"]
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
        if gan_of(choice) not in (None, *known_gans):
            refuse(f"the mask set {name!r}", "gan", gan_of(choice), "GANs", known_gans)
    for arm, choice in arms.items():
        if choice.get("synthetic") not in (None, *sets):
            refuse(f"arm {arm!r}", "synthetic", choice["synthetic"], "sets", [*sets, "`variants` makes others"])
        for key in ("pretrained", "against"):
            if choice.get(key) not in (None, *arms):
                refuse(f"arm {arm!r}", key, choice[key], "arms", arms)
        if choice.get("against") == arm:
            raise ValueError(f'study {study["name"]!r}: arm {arm!r} is compared with itself ("against").')


def in_order(parts: dict[str, dict], what: str) -> list[str]:
    """Names such that each comes after the one it goes on from ("pretrained"); `what` they are, for the error."""
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
