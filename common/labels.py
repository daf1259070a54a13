"""The label table: 28 anatomical classes and the lesion.

Everything that depends on what a label *is* (mirroring, parenchyma, tissue, FreeSurfer ids) is read from here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

__all__ = [
    "LABELS", "LESION", "NUM_LABELS", "PARENCHYMA", "MIRROR", "TISSUES", "TISSUE_OF",
    "Label", "fitted", "from_freesurfer", "mirrored", "inject",
]  # fmt: skip


class Label(NamedTuple):
    """One row of the table.

    `freesurfer` holds the FreeSurfer / SynthSeg ids that become this label. `mirror` is the label on the other side
    (itself on the midline). `tissue` groups labels that look alike on DWI.
    """

    id: int
    name: str
    freesurfer: tuple[int, ...]
    parenchyma: bool
    mirror: int
    tissue: str


def _pair(first: int, name: str, left: tuple[int, ...], right: tuple[int, ...], tissue: str, parenchyma: bool = True):
    return (
        Label(first, f"left {name}", left, parenchyma, first + 1, tissue),
        Label(first + 1, f"right {name}", right, parenchyma, first, tissue),
    )


LABELS: tuple[Label, ...] = (
    Label(0, "background", (0,), False, 0, "background"),
    *_pair(1, "cerebral white matter", (2, 25), (41, 57), "white matter"),
    *_pair(3, "cerebral cortex", (3,), (42,), "cortex"),
    *_pair(5, "lateral ventricle", (4, 5), (43, 44), "csf", parenchyma=False),
    *_pair(7, "cerebellar white matter", (7,), (46,), "cerebellum"),
    *_pair(9, "cerebellar cortex", (8,), (47,), "cerebellum"),
    *_pair(11, "thalamus", (9, 10), (48, 49), "deep grey matter"),
    *_pair(13, "caudate", (11, 26), (50, 58), "deep grey matter"),
    *_pair(15, "putamen", (12,), (51,), "deep grey matter"),
    *_pair(17, "pallidum", (13,), (52,), "deep grey matter"),
    *_pair(19, "hippocampus", (17,), (53,), "cortex"),
    *_pair(21, "amygdala", (18,), (54,), "cortex"),
    *_pair(23, "ventral diencephalon", (28,), (60,), "deep grey matter"),
    Label(25, "brainstem", (16,), True, 25, "brainstem"),
    Label(26, "third and fourth ventricle", (14, 15, 72), False, 26, "csf"),
    Label(27, "cerebrospinal fluid", (24, 30, 31, 62, 63, 85, 136, 137, 163, 164), False, 27, "csf"),
    Label(28, "lesion", (), True, 28, "lesion"),
)

UNSIDED_WHITE_MATTER = (77, 80, 192, 251, 252, 253, 254, 255)
"""FreeSurfer's hypointensities and corpus callosum: white matter without a side; it takes that of its neighbours."""

CSF, LESION = 27, 28
NUM_LABELS = len(LABELS)

PARENCHYMA = np.array([label.parenchyma for label in LABELS])
"""PARENCHYMA[label_map] is True where a lesion may lie."""

MIRROR = np.array([label.mirror for label in LABELS], dtype=np.uint8)
"""MIRROR[label_map] swaps left and right ids; apply it whenever a label map is flipped along the left-right axis."""

TISSUES: tuple[str, ...] = tuple(dict.fromkeys(label.tissue for label in LABELS))
TISSUE_OF = np.array([TISSUES.index(label.tissue) for label in LABELS], dtype=np.uint8)
"""TISSUES[TISSUE_OF[label]] is the tissue of a label: background, white matter, cortex, csf, ..."""


def from_freesurfer(segmentation: np.ndarray, source: str) -> np.ndarray:
    """Translate FreeSurfer / SynthSeg ids to the table's.

    Args:
        segmentation: integer array of any shape.
        source: file name or other words for the error message.

    Returns:
        uint8 array of the same shape, ids 0 to 27.

    Raises:
        ValueError: an id is not in the table.
    """
    table = {number: label.id for label in LABELS for number in label.freesurfer}
    present = np.unique(segmentation)
    unsided = np.isin(segmentation, UNSIDED_WHITE_MATTER)
    unknown = sorted(int(n) for n in present if int(n) not in table and int(n) not in UNSIDED_WHITE_MATTER)
    if unknown:
        raise ValueError(
            f"{source}: FreeSurfer ids {unknown} are not in common/labels.py. Cortical parcellations (1000 and above) "
            "must be merged to 3 and 42 first; if the ids are right, add them to the table."
        )
    result = np.zeros(segmentation.shape, np.uint8)
    for number in present:
        if table.get(int(number)):
            result[segmentation == number] = table[int(number)]
    if unsided.any():
        white = np.isin(result, (1, 2))
        nearest = ndimage.distance_transform_edt(~white, return_distances=False, return_indices=True)
        result[unsided] = result[tuple(nearest)][unsided] if white.any() else 1
    return result


def mirrored(label_map: np.ndarray, axis: int = 0) -> np.ndarray:
    """Flip a label map along its left-right axis and swap the sides' ids, so that left stays left."""
    return MIRROR[np.flip(label_map, axis)]


def fitted(label_map: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """A label map on another delineation of the brain: 0 outside it, cerebrospinal fluid where it has no label."""
    return np.where(brain, np.where(label_map > 0, label_map, CSF), 0).astype(np.uint8)


def inject(anatomy: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Paint a lesion into healthy anatomy, in the parenchyma only.

    Args:
        anatomy: label map, ids 0 to 27, any shape.
        lesion: binary mask of the same shape.

    Returns:
        uint8 label map: `LESION` where the mask meets parenchyma, the anatomy elsewhere.
    """
    if anatomy.shape != lesion.shape:
        raise ValueError(f"anatomy has shape {anatomy.shape}, the lesion {lesion.shape}; they must be on one grid.")
    label_map = anatomy.astype(np.uint8)
    label_map[(lesion > 0) & PARENCHYMA[anatomy]] = LESION
    return label_map
