"""Where the files of each case lie, in the layouts that challenges and hospitals hand out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

__all__ = ["LAYOUTS", "Found", "detect", "find_cases", "matched"]

IMAGES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")


@dataclass(frozen=True)
class Found:
    """The files of one case; nothing has been opened.

    Attributes:
        subject: of the data set to be made; letters, digits, - and _.
        person: who it is; several sessions of one person stay in one split.
        dwi: image, or folder of a patient's DICOM files.
        masks: lesion masks by rater; none: DWI-negative, or not segmented.
        extra: further contrasts by name.
        brain, anatomy: a brain mask and a label map (FreeSurfer's ids), both in the image's space; or None.
        series: of DICOM files, a part of the description of the one that is the DWI; None: what reads like it.
        centre: where the person was scanned, if that is known.
    """

    subject: str
    person: str
    dwi: Path
    masks: dict[str, Path] = field(default_factory=dict)
    extra: dict[str, Path] = field(default_factory=dict)
    brain: Path | None = None
    anatomy: Path | None = None
    series: str | None = None
    centre: str | None = None


def find_cases(layout: str, source: str | Path, images: str | None = None, masks: str | None = None) -> list[Found]:
    """All cases below a folder, sorted by subject.

    Args:
        layout: one of `LAYOUTS`.
        source: folder.
        images, masks: of the layout "folder", patterns below it with one `*` or `{subject}` for the name that image
            and mask share, such as "images/*.nii.gz" and "masks/*_lesion.nii.gz". Of "bids", the end of the masks'
            names (default "label-lesion_mask").

    Raises:
        FileNotFoundError: no such folder.
        ValueError: an unknown layout, no case in it, or the same subject twice; says what the folder looks like
            instead.
    """
    source = Path(source)
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is not known; expected one of {', '.join(LAYOUTS)}.")
    if not source.is_dir():
        raise FileNotFoundError(f"--source {source}: no such folder.")
    _images.cache_clear()
    found = sorted(LAYOUTS[layout](source, images, masks), key=lambda case: _natural(case.subject))
    if not found:
        likely = [name for name in detect(source) if name != layout]
        hint = f" It looks like {' or '.join(likely)}: `python -m scripts.data {likely[0]} ...`." if likely else ""
        raise ValueError(f"{source}: no case in the layout {layout!r} (docs/importing.md shows it).{hint}")
    seen: dict[str, Path] = {}
    for case in found:
        if case.subject in seen:
            raise ValueError(
                f"{source}: subject {case.subject} is there twice, {seen[case.subject]} and {case.dwi}. Rename or "
                "remove one."
            )
        seen[case.subject] = case.dwi
    return found


def detect(source: str | Path) -> list[str]:
    """Layouts in which a folder holds cases, the special ones first."""
    likely = []
    _images.cache_clear()
    for name in ("isles22", "isles15", "soop", "bids", "dicom"):
        try:
            if next(iter(LAYOUTS[name](Path(source), None, None)), None):
                likely.append(name)
        except ValueError:
            continue
    return likely


def _isles22(source: Path, images: str | None, masks: str | None) -> Iterator[Found]:
    """ISLES 2022: as on Zenodo, as in its repository, or as its Docker containers get it (.mha, without masks)."""
    for dwi in _files(source, "sub-strokecase*_dwi"):
        if "derivatives" in dwi.relative_to(source).parts:
            continue
        stem = dwi.name.split("_dwi")[0]
        root = _root_above(dwi, source, "sub-strokecase")
        found = _files(_derivatives(root, source), f"{stem}_msk")
        extra = {}
        for name in ("adc", "flair"):
            if near := _files(dwi.parent.parent, f"{stem}_{name}"):
                extra[name] = near[0]
        yield Found(_clean(stem), _clean(stem.split("_")[0]), dwi, _raters(found), extra)
    for dwi in sorted(path for path in source.glob("images/dwi-brain-mri/*") if _is_image(path)):
        adc = source / "images" / "adc-brain-mri" / dwi.name
        mask = [source / folder / dwi.name for folder in ("masks", "labels", "ground-truth")]
        yield Found(
            _clean(_stem(dwi)), _clean(_stem(dwi)), dwi,
            _raters([path for path in mask if path.is_file()]), {"adc": adc} if adc.is_file() else {},
        )  # fmt: skip


def _isles15(source: Path, images: str | None, masks: str | None) -> Iterator[Found]:
    """ISLES 2015 SISS: a numbered folder a case, a folder for every file, VSD.Brain.XX.O.MR_DWI.<id>."""
    for dwi in _files(source, "VSD.Brain*.MR_DWI.*"):
        case = dwi.parent.parent
        truth = _files(case, "VSD.Brain*.OT.*")
        extra = {}
        for name in ("Flair", "T1", "T2"):
            extra |= {name.lower(): path for path in _files(case, f"VSD.Brain*.MR_{name}.*")[:1]}
        subject = f"siss-{_clean(case.name).zfill(2)}"
        yield Found(subject, subject, dwi, _raters(truth), extra)


def _soop(source: Path, images: str | None, masks: str | None) -> Iterator[Found]:
    """SOOP (ds004889): the trace image, and the mask of acute lesions only (desc-lesion holds chronic ones as well)."""
    for dwi in _files(source, "sub-*_rec-TRACE_dwi"):
        person = dwi.name.split("_")[0]
        found = _files(source / "derivatives", f"{person}_*desc-lesionAcute_mask")
        adc = dwi.with_name(dwi.name.replace("TRACE", "ADC"))
        extra = {"adc": adc} if adc.is_file() else {}
        if flair := _files(dwi.parent.parent / "anat", f"{person}_*FLAIR"):
            extra["flair"] = flair[0]
        yield Found(_clean(person), _clean(person), dwi, _raters(found), extra)


def _bids(source: Path, images: str | None, masks: str | None) -> Iterator[Found]:
    """Any BIDS data set with lesion masks in derivatives/."""
    ending = masks or "label-lesion_mask"
    for dwi in _files(source, "sub-*_dwi"):
        if "derivatives" in dwi.relative_to(source).parts:
            continue
        stem = dwi.name.split("_dwi")[0]
        entities = [part for part in stem.split("_") if re.match(r"(sub|ses|run)-", part)]
        prefix = "_".join(entities)
        found = [
            path
            for path in _files(source / "derivatives", f"{prefix}_*{ending}")
            if set(entities) <= set(path.name.split("_"))
        ]
        adc = dwi.with_name(dwi.name.replace("_dwi.", "_adc."))
        yield Found(_clean(stem), _clean(entities[0]), dwi, _raters(found), {"adc": adc} if adc.is_file() else {})


def _folder(source: Path, images: str | None, masks: str | None) -> Iterator[Found]:
    """Plain folders, by patterns."""
    if not images:
        raise ValueError('--images is missing: a pattern below --source, such as "images/*.nii.gz".')
    drawn = _by_name(source, masks)
    for name, path in matched(source, images):
        yield Found(_clean(name), _clean(name), path, _raters(drawn.get(name, [])))


def _dicom(source: Path, images: str | None, masks: str | None) -> Iterator[Found]:
    """A folder a patient with the DICOM files of a DWI series somewhere in it; masks as NIfTI, by name."""
    from .dicom import is_dicom

    drawn = _by_name(source, masks)
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        if not any(is_dicom(path) for path in folder.rglob("*") if path.is_file()):
            continue
        found = [*_images(folder), *drawn.get(folder.name, [])]
        yield Found(_clean(folder.name), _clean(folder.name), folder, _raters(found), series=images)


LAYOUTS: dict[str, Callable[[Path, str | None, str | None], Iterator[Found]]] = {
    "isles22": _isles22,
    "isles15": _isles15,
    "soop": _soop,
    "bids": _bids,
    "dicom": _dicom,
    "folder": _folder,
}


def _files(folder: Path, pattern: str) -> list[Path]:
    """Images below a folder whose name without its ending matches, whatever the case of the letters."""
    wanted = re.compile(re.escape(pattern).replace(r"\*", ".*"), re.IGNORECASE)
    return [path for path in _images(folder) if wanted.fullmatch(_stem(path))]


@cache
def _images(folder: Path) -> tuple[Path, ...]:
    """All images below a folder, read from disk once for all cases of an import."""
    return tuple(sorted(path for path in folder.rglob("*") if _is_image(path))) if folder.is_dir() else ()


def _is_image(path: Path) -> bool:
    return (
        path.name.lower().endswith(IMAGES) and not path.name.startswith(".") and (path.is_file() or path.is_symlink())
    )


def _stem(path: Path) -> str:
    name = path.name
    for ending in sorted(IMAGES, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _root_above(path: Path, source: Path, prefix: str) -> Path:
    """The folder that holds the subject's folder."""
    for parent in path.parents:
        if parent == source or parent.name.startswith(prefix):
            return parent.parent if parent != source else source
    return source


def _derivatives(root: Path, source: Path) -> Path:
    """derivatives/ beside the subjects, or beside rawdata/."""
    for place in (root, root.parent, source):
        if (place / "derivatives").is_dir():
            return place / "derivatives"
    return source / "derivatives"


def matched(source: Path, pattern: str) -> list[tuple[str, Path]]:
    """(name, path) of the files that fit a pattern with one * or {subject} for the name."""
    pattern = pattern.replace("{subject}", "*")
    if pattern.count("*") != 1:
        raise ValueError(
            f'pattern {pattern!r}: expected exactly one * for the name of the subject, such as "images/*.nii.gz".'
        )
    before, after = pattern.split("*")
    found = []
    for path in sorted(source.glob(pattern)):
        name = path.relative_to(source).as_posix()
        found.append((name[len(before) : len(name) - len(after)], path))
    return found


def _by_name(source: Path, pattern: str | None) -> dict[str, list[Path]]:
    """{name: files} of a pattern; none without one."""
    found: dict[str, list[Path]] = {}
    for name, path in matched(source, pattern) if pattern else []:
        found.setdefault(name, []).append(path)
    return found


def _raters(paths: list[Path]) -> dict[str, Path]:
    """Masks by rater: what the names do not share, or "rater1" for a single one."""
    if len(paths) < 2:
        return {"rater1": paths[0]} if paths else {}
    return {f"rater{number}": path for number, path in enumerate(sorted(paths), 1)}


def _clean(name: str) -> str:
    """A subject's id: what is neither letter, digit, - nor _ becomes _."""
    return re.sub(r"[^0-9A-Za-z_-]+", "_", name).strip("_") or "_"


def _natural(name: str) -> list:
    """Sorts sub-2 before sub-10."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]
