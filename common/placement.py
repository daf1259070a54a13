"""Lesion masks to choose from, and their injection into an anatomy."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .datalists import Dataset
from .grids import read_volume
from .labels import LESION, inject
from .mask_library import read_masks

__all__ = ["MAXIMUM_ATTEMPTS", "MaskPool", "MaskQueue", "Placement", "place_lesion", "read_pool"]

MAXIMUM_ATTEMPTS = 1000


@dataclass(frozen=True)
class MaskPool:
    """Lesion masks to choose from.

    `sources` tells whose mask each is: None for the GAN's, a library's own name, or that of the real case's mask.
    `clinical`: they are those of training cases of the data set, and are named as these are.
    """

    path: Path
    ids: list[str]
    read: Callable[[int], np.ndarray]
    sources: dict[str, str | None]
    clinical: bool = False

    def sha256(self) -> str:
        """Of all masks: the same whatever the folder is called, another if a mask was added."""
        digest = hashlib.sha256()
        for index, name in enumerate(self.ids):
            digest.update(name.encode() + np.packbits(self.read(index) > 0).tobytes())
        return digest.hexdigest()


def read_pool(path: str | Path, dataset: Dataset, clinical_cases: int | None = None) -> MaskPool:
    """Lesion masks on the grid of a data set.

    Args:
        path: a folder of `draw_masks`; a mask library (NPZ or folder), of which the training part is taken; or
            "clinical": the lesions of the data set's own training cases.
        dataset: that they are to be used in.
        clinical_cases: of "clinical", the first so many cases.

    Raises:
        FileNotFoundError, ValueError: no masks there, not all of them yet, or on another grid.
    """
    path = Path(path)
    if str(path) == "clinical":
        cases = dataset.select("training", "stroke", has_lesion=True)[:clinical_cases]
        if not cases:
            raise ValueError(
                f"{dataset.folder / 'dataset.json'}: no training case has a lesion, so that there are no masks."
            )
        sources = {case.subject: case.source.get("source_mask") or case.subject for case in cases}
        return MaskPool(path, list(sources), lambda index: read_volume(cases[index].label)[0], sources, clinical=True)
    if not (path / "masks.json").is_file():
        library = read_masks(path, dataset.size, "training")
        ids = list(library.ids)
        return MaskPool(path, ids, lambda index: library.masks[index], dict(zip(ids, ids)))
    header = json.loads((path / "masks.json").read_text())
    if tuple(header["size"]) != dataset.size or not np.allclose(header["affine"], dataset.affine, atol=1e-3):
        raise ValueError(
            f"{path}: masks are on a grid of {tuple(header['size'])} voxels over the MNI box, {dataset.folder} has "
            f"{dataset.size} and the affine {dataset.affine.round(2).tolist()}. Train lesion_wgan on the grid of the "
            "data and draw them again."
        )
    files = sorted(path.glob("mask_*.nii.gz"))
    if len(files) < header["count"]:
        raise ValueError(
            f"{path}: {len(files)} of {header['count']} masks are there. Run `scripts.synthesize masks` again."
        )
    ids = [file.name.removesuffix(".nii.gz") for file in files]
    return MaskPool(path, ids, lambda index: read_volume(files[index])[0], dict.fromkeys(ids))


class MaskQueue:
    """Seeded order of masks: each once before any comes again."""

    def __init__(self, length: int, seed: int):
        self.length, self.rng = length, np.random.default_rng([seed, length])
        self.waiting: deque[int] = deque()

    def take(self) -> int:
        if not self.waiting:
            self.waiting.extend(self.rng.permutation(self.length).tolist())
        return self.waiting.popleft()


@dataclass(frozen=True)
class Placement:
    """A lesion in a donor's anatomy: the label map, the mask it came from, and what was tried before."""

    label_map: np.ndarray
    mask: str
    voxels_before: int
    voxels_after: int
    rejected: dict[str, int]


def place_lesion(anatomy: np.ndarray, pool: MaskPool, queue: MaskQueue, minimum: int, donor: str) -> Placement:
    """Paint the next mask that has at least `minimum` voxels in the parenchyma, where it is, into an anatomy.

    Voxels are counted after clipping: a mask of 25 that loses 10 to a ventricle would teach that specks are lesions.
    Masks that are too small here wait for other donors.

    Raises:
        ValueError: 1,000 masks, or all there are, are too small in this donor.
    """
    skipped: dict[int, int] = {}
    while len(skipped) < min(MAXIMUM_ATTEMPTS, queue.length):
        index = queue.take()
        if index in skipped:
            continue
        mask = pool.read(index)
        label_map = inject(anatomy, mask)
        voxels = int((label_map == LESION).sum())
        if voxels >= minimum:
            queue.waiting.extend(skipped)
            rejected = {pool.ids[other]: count for other, count in skipped.items()}
            return Placement(label_map, pool.ids[index], int((mask > 0).sum()), voxels, rejected)
        skipped[index] = voxels
    raise ValueError(
        f"{pool.path}: {len(skipped)} masks were tried, none has {minimum} voxels in the parenchyma of donor {donor}. "
        "Look at both: are they on one grid and in MNI space?"
    )
