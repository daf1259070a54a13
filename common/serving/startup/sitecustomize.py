"""Python runs this at the start of MONAI Label's server and of its trainings, which have this folder on PYTHONPATH.

torchvision from PyPI is linked to CUDA. Beside a PyTorch for processors its library does not load, and its import
ends with "operator torchvision::nms does not exist". MONAI Label imports torchvision for pictures only: the two
operators that its import asks for are declared here, where the library cannot declare them itself.
"""

import importlib.util
from pathlib import Path

import torch
from torch import library

OPERATORS = ("nms", "qnms")


def _loads_its_library() -> bool:
    found = importlib.util.find_spec("torchvision")
    if found is None:
        return True
    try:
        torch.ops.load_library(next(Path(found.origin).parent.glob("_C.*so")))
    except (OSError, StopIteration):
        return False
    return True


if not _loads_its_library():
    for name in OPERATORS:
        library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
