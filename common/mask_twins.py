"""Find held-out patients' own lesions in a mask library, whose names the data set does not share.

An imported case does not say which mask of a public library is its own. The two masks lie in MNI space both, but went
there by different ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from .datalists import Case, Dataset
from .grids import read_volume
from .mask_library import read_masks

__all__ = ["refuse_twins"]

# Of 200 masks of the SOOP library and 935 of other patients in it, the nearest pairs have 0.78 (and one 0.94, which
# will be one patient twice). A mask moved by a voxel of 1.4 mm in two directions keeps 0.80 of itself at the median.
SAME_MASK = 0.9
SAME_NUMBER = 0.3  # where the names end in the same number, such as sub-12 and train-12
FEWEST_VOXELS = 20  # smaller ones are alike by chance


def refuse_twins(library: str, dataset: Dataset, cases: Sequence[Case], path: str) -> None:
    """Raise if a training mask of a library is the lesion of one of these cases.

    Args:
        library: NPZ file or folder that something learned from; nothing is said of one that is not here.
        dataset: that the cases belong to.
        cases: that must not have been learned from. Those that name their `source_mask` are known by it, and left out.
        path: words for what learned from the library.

    Raises:
        ValueError: naming the case, the mask and their Dice.
    """
    cases = [case for case in cases if case.label is not None and not case.source.get("source_mask")]
    if not cases or not Path(library).exists():
        return
    found = read_masks(library, dataset.size, "training")
    masks = sparse.csr_matrix(found.masks.reshape(len(found.masks), -1) > 0, dtype=np.float32)
    sizes = np.asarray(masks.sum(1)).ravel()
    numbers = np.array([_number(name) for name in found.ids])
    for case in cases:
        lesion = read_volume(case.label)[0].ravel() > 0
        dice = 2 * (masks @ lesion.astype(np.float32)) / np.maximum(sizes + lesion.sum(), 1)
        same = (dice >= SAME_MASK) & (lesion.sum() >= FEWEST_VOXELS)
        same |= (dice >= SAME_NUMBER) & (numbers == _number(str(case.source.get("source_brain") or case.subject)))
        if same.any():
            best = int(np.where(same, dice, 0).argmax())
            raise ValueError(
                f"{dataset.folder / 'dataset.json'}: {path} has learned from {library}, whose mask {found.ids[best]} "
                f"seems to be the lesion of {case.subject} in {case.split!r} (Dice {dice[best]:.2f}): test results "
                "would be too good. Take that patient's mask out of the library, or put the case into training."
            )


def _number(name: str) -> float:
    """The last number in a name; NaN, which equals nothing, without one."""
    numbers = re.findall(r"\d+", name)
    return float(numbers[-1]) if numbers else float("nan")
