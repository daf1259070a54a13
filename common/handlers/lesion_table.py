"""What was found, image by image, as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from monai.utils import convert_to_numpy
from scipy import ndimage

from ..grids import voxel_ml

__all__ = ["LesionTable"]

CORNERS = ndimage.generate_binary_structure(3, 3)


class LesionTable:
    """Write lesions.csv: image, volume_ml, lesions (26-connected), largest_ml, and what was wrong with the image.

    Args:
        output_dir: gets the table, after each image.
        key: of the masks, as `common.scanner_space.ToScannerd` leaves them in the engine's output.
    """

    def __init__(self, output_dir: str, key: str = "pred"):
        self.path, self.key = Path(output_dir) / "lesions.csv", key
        self.rows: list[dict] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.rows.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)

    def _add(self, engine: Engine) -> None:
        for case in engine.state.output:
            mask, meta = case[self.key], case[self.key].meta
            volumes = _volumes(convert_to_numpy(mask)[0] > 0, np.asarray(meta["affine"], float))
            self.rows.append(
                {
                    "image": meta["filename_or_obj"],
                    "volume_ml": round(float(volumes.sum()), 3),
                    "lesions": len(volumes),
                    "largest_ml": round(float(volumes.max(initial=0)), 3),
                    "warning": meta["warning"],
                }
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.rows).to_csv(self.path, index=False)


def _volumes(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """ml of each connected part."""
    parts, count = ndimage.label(mask, CORNERS)
    return np.bincount(parts.ravel(), minlength=count + 1)[1:] * voxel_ml(affine)
