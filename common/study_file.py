"""A study's definition: reading `scripts/studies/*.json`, and the `study.json` that its folder keeps.

What is read is plain afterwards: a fraction has become a number of cases, an honest arm its own translator and masks.
"""

from __future__ import annotations

import json
from pathlib import Path

from .honest_arms import with_honest_parts
from .study_cases import Cases, cases_of

__all__ = ["begin", "load_study", "read_study"]


def load_study(
    path: str | Path,
    scale: str | None = None,
    real_data: str | None = None,
    data: str | None = None,
    library: str | None = None,
    external: dict[str, str] | None = None,
) -> dict:
    """Read a study.

    Args:
        path: JSON file.
        scale: name of one of its "scales", whose values replace the study's ("tiny" for tests); null leaves out an arm,
            a variant or a translator.
        real_data: folder with `anatomies/` (FreeSurfer label maps) and `*lesion_masks.npz`, which then replace the
            default phantom's anatomy and lesions, and train the lesion GAN.
        data: an existing data set, in the place of the study's.
        library: lesion masks (NPZ file or folder) that "library" stands for; that of `real_data` by default.
        external: {name: folder} of further data sets to test on, beside those that the study names.

    Raises:
        FileNotFoundError, ValueError: no such study, scale or data; a study that needs real data and gets none.
    """
    path = Path(path)
    if not path.is_file():
        known = ", ".join(str(file) for file in sorted(path.parent.glob("*.json"))) or "none"
        raise FileNotFoundError(f"{path}: no such study. Found in that folder: {known}.")
    try:
        study = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}).") from error
    scales = study.pop("scales", {})
    if scale:
        if scale not in scales:
            raise ValueError(f"{path}: no scale {scale!r}; it has {sorted(scales) or 'none'}.")
        study = _merge(study, scales[scale])
    for part in ("arms", "variants", "translators"):  # null in a scale leaves one out
        if part in study:
            study[part] = {name: entry for name, entry in study[part].items() if entry is not None}
    if lacking := [key for key in ("name", "data", "segmenter", "arms", "baseline", "seeds") if key not in study]:
        raise ValueError(f"{path}: lacks {', '.join(lacking)}; see scripts/studies/demo.json for a short study.")
    if data:
        study["data"] = {"folder": str(data)}
    if external:
        study["external"] = study.get("external", {}) | {name: {"folder": str(at)} for name, at in external.items()}
    if study.pop("needs_real_data", False) and not real_data:
        raise ValueError(
            f"{path} needs real brains and lesion masks: set REAL_DATA=DIR (README.md, 'Real brains and masks')."
        )
    if real_data:
        _use_real_data(study, Path(real_data))
        library = library or study["data"].get("lesions") or str(_masks_of(Path(real_data)))
    _name_library(study, path, library)
    return with_honest_parts(_without_fractions(study, cases_of(study["data"])))


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


def read_study(folder: str | Path) -> dict:
    """The definition that a study's folder was begun with.

    Raises:
        FileNotFoundError: the folder is no study.
    """
    path = Path(folder) / "study.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a study: it has no study.json. Start one: `scripts.study run`.")
    return json.loads(path.read_text())


def _use_real_data(study: dict, real_data: Path) -> None:
    masks = _masks_of(real_data)
    if "folder" not in study["data"]:
        study["data"] |= {"anatomies": str(real_data / "anatomies"), "lesions": str(masks)}
        if "lesion_wgan" in study:
            study["lesion_wgan"]["settings"] |= {"mask_library": str(masks), "size": study["data"]["size"]}


def _masks_of(real_data: Path) -> Path:
    anatomies, masks = real_data / "anatomies", sorted(real_data.glob("*lesion_masks.npz"))
    if not anatomies.is_dir() or not masks:
        raise FileNotFoundError(f"REAL_DATA={real_data}: expected anatomies/ and *lesion_masks.npz in it.")
    return masks[0]


def _name_library(study: dict, path: Path, library: str | None) -> None:
    """Put the path of the mask library in the place of the word "library"."""
    wanted = [(entry, "masks") for entry in (study.get("images", {}), *study.get("variants", {}).values())]
    wanted += [(entry, "select") for entry in (study.get("masks", {}), *study.get("mask_sets", {}).values())]
    wanted = [(entry, key) for entry, key in wanted if entry.get(key) == "library"]
    honest = any(arm.get("protocol") == "honest_library" for arm in study["arms"].values())
    if (wanted or honest) and not library:
        what = f'"{wanted[0][1]}": "library"' if wanted else '"protocol": "honest_library"'
        raise ValueError(
            f"{path}: takes {what}, for which set REAL_DATA=DIR (README.md) or give --library, lesion masks as an NPZ "
            "file or a folder."
        )
    for entry, key in wanted:
        entry[key] = library
    if honest:
        study["library"] = library


def _without_fractions(study: dict, cases: Cases) -> dict:
    """`"fraction": 0.25` of the training cases with a lesion, as a number; halves are rounded up."""
    arms = {}
    for name, arm in study["arms"].items():
        arm = dict(arm)
        if "fraction" in arm:
            fraction = arm.pop("fraction")
            if "clinical_cases" in arm:
                raise ValueError(f"arm {name!r} has both a fraction and clinical_cases. Keep one of them.")
            if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
                raise ValueError(f"arm {name!r}: fraction is {fraction!r}; expected a number above 0 and up to 1.")
            count = int(fraction * cases.positive["training"] + 0.5)
            if count < 1:
                raise ValueError(
                    f"arm {name!r}: a fraction of {fraction} of {cases.positive['training']} training cases with a "
                    "lesion is less than one case."
                )
            if fraction < 1:
                arm["clinical_cases"] = count
        arms[name] = arm
    return {**study, "arms": arms}


def _merge(base: dict, changes: dict) -> dict:
    """`changes` over `base`, dictionary by dictionary."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = _merge(base[key], value) if both else value
    return result
