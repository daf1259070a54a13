"""Honest small-data arms: what a group with so few cases could have made.

The paper's "10 % clinical + synthetic" is no result of little data, for its translator and its lesion GAN had seen all
training cases. `"protocol": "honest"` gives an arm a translator, a lesion GAN and a synthetic set of its own, which see
that arm's clinical cases and the normal cohort, and nothing else; `"honest_library"` takes the lesion masks from a
public library instead. Arms with the same number of cases share them.
"""

from __future__ import annotations

__all__ = ["PROTOCOLS", "with_honest_parts"]

PROTOCOLS = ("as_paper", "honest", "honest_library")


def with_honest_parts(study: dict) -> dict:
    """The study with the parts of its honest arms written out among translators, gans, mask_sets and variants.

    Raises:
        ValueError: an arm has an unknown protocol, or is honest about what it does not use.
    """
    study = {key: dict(value) if isinstance(value, dict) else value for key, value in study.items()}
    for part in ("variants", "gans", "mask_sets"):
        if any(arm.get("protocol", "as_paper") != "as_paper" for arm in study["arms"].values()):
            study[part] = dict(study.get(part, {}))
    for name, arm in list(study["arms"].items()):
        protocol = arm.get("protocol", "as_paper")
        if protocol not in PROTOCOLS:
            raise ValueError(f"arm {name!r} has protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}.")
        if protocol != "as_paper":
            study["arms"][name] = {**arm, "synthetic": _honest_set(study, name, arm, protocol)}
    return study


def _honest_set(study: dict, name: str, arm: dict, protocol: str) -> str:
    """Add the set that this arm may use, and what makes it; its name."""
    wanted, cases = arm.get("synthetic"), arm.get("clinical_cases")
    if not wanted:
        raise ValueError(f"arm {name!r} is {protocol}, but names no synthetic set to be honest about.")
    if cases is None or cases < 1:
        raise ValueError(f"arm {name!r} is {protocol}, but has no clinical_cases or fraction that limits what is seen.")
    if wanted != "synthetic" and wanted.removeprefix("synthetic_") not in study["variants"]:
        return wanted  # refused by name where sets are checked
    base = study["images"] | study["variants"].get(wanted.removeprefix("synthetic_"), {})
    if base.get("donors", "normal") != "normal":
        raise ValueError(
            f"arm {name!r} is {protocol}, but {wanted!r} takes the anatomy of {base['donors']!r}: an honest arm sees "
            "its own clinical cases and the normal cohort only."
        )
    suffix = f"of_{cases}" + ("_library" if protocol == "honest_library" else "")
    short = "" if wanted == "synthetic" else wanted.removeprefix("synthetic_") + "_"
    entry = dict(study["variants"].get(wanted.removeprefix("synthetic_"), {}))
    if base.get("method", "translator") == "translator":
        entry["translator"] = _honest_translator(study, base, cases)
    else:
        entry["clinical_cases"] = cases
    if protocol == "honest_library":
        entry["masks"] = study["library"]
    elif base.get("masks", "masks") == "clinical":
        entry["clinical_cases"] = cases
    elif base.get("masks", "masks") == "masks" or base["masks"] in study["mask_sets"]:
        entry["masks"] = _honest_masks(study, base.get("masks", "masks"), cases)
    study["variants"][short + suffix] = entry
    return f"synthetic_{short}{suffix}"


def _honest_translator(study: dict, base: dict, cases: int, name: str | None = None) -> str:
    """Trained on so many clinical cases, and chosen by a segmenter of no others."""
    name = name or base.get("translator", next(iter(study["translators"])))
    if name not in study["translators"]:
        return name
    part = study["translators"][name]
    honest = {
        **part,
        "settings": {**part["settings"], "clinical_cases": cases},
        "segmenter": _clinical_arm(study, cases),
    }
    if "pretrained" in part:
        honest["pretrained"] = _honest_translator(study, base, cases, part["pretrained"])
    study["translators"][f"{name}_of_{cases}"] = honest
    return f"{name}_of_{cases}"


def _clinical_arm(study: dict, cases: int) -> str | None:
    """The arm that is trained on these clinical cases alone; None: the translator is chosen by its L1."""
    for name, arm in study["arms"].items():
        alone = not arm.get("synthetic") and not arm.get("pretrained")
        if alone and arm.get("clinical_cases") == cases:
            return name
    return None


def _honest_masks(study: dict, name: str, cases: int) -> str:
    """Masks of a lesion GAN that was trained on the lesions of so many cases."""
    part = dict(study["masks"] if name == "masks" else study["mask_sets"][name])
    if "model" in part:
        raise ValueError(
            f"an honest arm needs masks of a lesion GAN of its own, but {name!r} are drawn by {part['model']}. Take "
            '"protocol": "honest_library", or give the study a "lesion_wgan".'
        )
    gan = part.get("gan", "lesion_wgan")
    trained = study["lesion_wgan"] if gan == "lesion_wgan" else study["gans"][gan]
    if "mask_library" in trained["settings"]:
        return name  # it saw no clinical case at all
    study["gans"][f"{gan}_of_{cases}"] = {**trained, "settings": {**trained["settings"], "clinical_cases": cases}}
    study["mask_sets"][f"{name}_of_{cases}"] = {**part, "gan": f"{gan}_of_{cases}"}
    return f"{name}_of_{cases}"
