"""Synthetic sets without a translator: lesions fused into healthy scans, or images of random contrast.

Sets for a study to compare translators with. Made, resumed and checked as those of `common.synthesis`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .appearance import appearances, choose_appearance, references
from .datalists import Dataset, read_dataset, refuse_foreign_donors, write_dataset
from .grids import minimum_lesion_voxels, write_volume
from .labels import LESION
from .lesion_fusion import fuse_lesion
from .placement import MaskQueue, place_lesion, read_pool
from .prediction import read_image
from .randomised_images import randomised_image
from .resumable import begin_folder, refuse_count, write_json
from .sampling import derive_seed
from .synthesis import case_of, choose_donors, lesion_entry, read_anatomy, refuse_unpaintable

__all__ = ["METHODS", "synthesize_directly"]

METHODS = {
    "fusion": "Lesions fused by intensity into the own scans of training donors of {}: as personal as those scans.",
    "randomised": "Images of random contrast from label maps of training donors of {}.",
}


def synthesize_directly(
    method: str,
    data: str | Path,
    seed: int,
    out: str | Path,
    masks: str | Path,
    count: int | None = None,
    per_donor: int = 1,
    donors: str | Sequence[str] = "normal",
    clinical_cases: int | None = None,
    minimum_voxels: int | None = None,
    **unused: str,
) -> Path:
    """Make a synthetic data set without a translator.

    Args:
        method: "fusion" (`common.lesion_fusion`) or "randomised" (`common.randomised_images`).
        data: real data set that gives the donors.
        seed: of everything random.
        out: data set to make; finished cases in it stay as they are.
        masks: as for `synthesize_images`.
        count, per_donor, donors, minimum_voxels: as for `synthesize_images`.
        clinical_cases: the only stroke cases whose masks ("clinical") or lesion strength are used, the first so many.
        unused: what a study's set says of a translator's images ("noise", ...), which has no meaning here.

    Returns:
        `out`.

    Raises:
        FileNotFoundError, ValueError: data, masks or what is in `out` do not fit; the message says what to do.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not known; expected one of {', '.join(METHODS)}.")
    dataset, out = read_dataset(data), Path(out)
    chosen = choose_donors(dataset, donors)
    if method == "fusion":
        refuse_unpaintable(chosen)
    count = per_donor * len(chosen) if count is None else count
    refuse_count(count)
    pool = read_pool(masks, dataset, clinical_cases)
    minimum = minimum_lesion_voxels(dataset.affine) if minimum_voxels is None else minimum_voxels
    origin = {
        "method": method, "seed": seed, "masks_sha256": pool.sha256(), "clinical_cases": clinical_cases,
        "minimum_voxels": minimum, "donors": donors if isinstance(donors, str) else list(donors),
    }  # fmt: skip
    header = begin_folder(out / "synthesis.json", origin, {"data": str(data), "masks": str(masks)})
    targets = _strengths(dataset, clinical_cases) if method == "fusion" else []
    queue, cases = MaskQueue(len(pool.ids), seed), []
    for number in tqdm(range(1, count + 1), desc=f"{method} cases", unit="case"):
        donor = chosen[(number - 1) % len(chosen)]
        case = case_of(out, number, has_lesion=True)
        cases.append(case)
        anatomy = read_anatomy(donor, dataset)
        placement = place_lesion(anatomy, pool, queue, minimum, donor.subject)  # for finished cases as well: the queue
        if case.sidecar.is_file():
            continue
        rng = np.random.default_rng(derive_seed(seed, number))
        if method == "fusion":
            target = choose_appearance(targets, placement.voxels_after * dataset.voxel_ml, rng)
            scan = read_image(donor, (dataset.size, dataset.affine))
            image = fuse_lesion(scan, anatomy, placement.label_map, target.strength)
            drawn = {"reference": target.subject, "strength": target.strength}
        else:
            image, drawn = randomised_image(placement.label_map, dataset.affine, dataset.spacing, rng)
        write_volume(case.image, image, dataset.affine)
        write_volume(case.anatomy, anatomy, dataset.affine)
        write_volume(case.label, (placement.label_map == LESION).astype(np.uint8), dataset.affine)
        sidecar = {
            "subject": case.subject, "cohort": case.cohort, "simulated": dataset.simulated, "synthetic": True,
            "donor": donor.subject, "source_brain": donor.source.get("source_brain"),
            **lesion_entry(placement, pool, dataset),
            "method": method, "seeds": {"seed": seed, "case": number}, "drawn": drawn, "versions": header["versions"],
        }  # fmt: skip
        write_json(case.sidecar, sidecar)  # last: a case with a sidecar is whole
    if not (out / "dataset.json").is_file() or len(read_dataset(out).cases) != count:
        refuse_foreign_donors(dataset, write_dataset(out, _header(dataset, method, donors), cases))
    return out


def _strengths(dataset: Dataset, clinical_cases: int | None) -> list:
    found = appearances(references(dataset, True, clinical_cases), dataset)
    bright = [target for target in found if target.strength > 0]
    if not bright:
        raise ValueError(
            f"{dataset.folder / 'dataset.json'}: no training case has a lesion that is brighter than what is around "
            "it, by which the strength of fused lesions is chosen."
        )
    return bright


def _header(dataset: Dataset, method: str, donors: str | Sequence[str]) -> dict:
    origin = dataset.header["name"]
    return {
        "name": f"{origin}, synthetic ({method})", "description": METHODS[method].format(origin),
        "licence": dataset.header.get("licence"), "simulated": dataset.simulated, "synthetic": True,
        "size": dataset.size, "affine": dataset.affine, "intensity": {"range": [-1, 1]}, "method": method,
    }  # fmt: skip
