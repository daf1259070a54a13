"""The app that MONAI Label runs: released bundles below `model/`. `scripts.label app` copies this file as main.py.

It stands alone beside the bundles, in MONAI Label's own environment, where nothing of this repository can be imported.
"""

import json
import logging
import os
import shutil
from pathlib import Path

import monailabel
import nibabel
import numpy as np
import torch
from fastapi import HTTPException
from monai.bundle import ConfigParser, ConfigWorkflow
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask
from scipy import ndimage

logger = logging.getLogger(__name__)


class StrokeApp(MONAILabelApp):
    """Every bundle answers; those with configs/served.json can also be trained on submitted labels."""

    def __init__(self, app_dir, studies, conf):
        self.bundles = sorted(path.parents[1] for path in Path(app_dir, "model").glob("*/configs/provenance.json"))
        name = f"Stroke DWI bundles ({', '.join(bundle.name for bundle in self.bundles)})"
        super().__init__(app_dir, studies, conf, name, "Research only: no medical device.", monailabel.__version__)

    def init_infers(self):
        return {bundle.name: _answering(bundle, self.conf) for bundle in self.bundles}

    def init_trainers(self):
        trained = [bundle for bundle in self.bundles if (bundle / "configs" / "served.json").is_file()]
        return {bundle.name: Training(str(bundle), self.conf) for bundle in trained}

    def init_strategies(self):
        return {"random": Random(), "first": First()}

    def infer(self, request, datastore=None):
        """As MONAI Label's, but bad input is answered with what is wrong with it instead of "Internal Server Error"."""
        try:
            return super().infer(request, datastore)
        except MONAILabelException:
            raise
        except Exception as error:
            logger.exception("inference failed")
            raise HTTPException(422, _cause(error)) from error


def _answering(bundle: Path, conf) -> BundleInferTask:
    outputs = json.loads((bundle / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]
    if outputs["pred"]["format"] == "segmentation":
        return Segmentation(str(bundle), conf, load_strict=True)
    return Translation(
        str(bundle), conf, load_strict=True, type=InferType.OTHERS, add_post_restore=False, extend_load_image=False
    )


def _cause(error: BaseException) -> str:
    """The message that an error began with; MONAI wraps it in the names of its transforms."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


class Segmentation(BundleInferTask):
    """A scan in, a mask on its voxels out; the answer's parameters tell volumes, and why a scan was not used."""

    def post_transforms(self, data=None):
        return [*super().post_transforms(data), _with_table]


def _with_table(data):
    mask = np.asarray(data["pred"]).reshape(np.shape(data["pred"])[-3:])
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    ml = abs(np.linalg.det(np.asarray(data["pred_meta_dict"]["affine"])[:3, :3])) / 1000
    sizes = np.bincount(parts.ravel())[1:]
    table = {"volume_ml": round(float(sizes.sum() * ml), 3), "lesions": int(count)}
    table["largest_ml"] = round(float(sizes.max(initial=0) * ml), 3)
    return {**data, "result": {**table, "warning": str(data["image"].meta.get("warning", ""))}}


class Translation(BundleInferTask):
    """A label map (ids 0 to 28, the lesion painted in) in, a DWI in [-1, 1] on its voxels out, the background -1."""

    def pre_transforms(self, data=None):
        read = self.bundle_config.get_parsed_content
        return [LabelMapOnGrid(read("size"), read("num_labels")), *super().pre_transforms(data)]

    def post_transforms(self, data=None):
        return [*super().post_transforms(data), _as_volume]


class LabelMapOnGrid:
    """The request's image becomes the bundle's "anatomy", if it is what the translator was trained on.

    Args:
        size: (H, W, D) of the training.
        num_labels: ids are below.
    """

    def __init__(self, size, num_labels):
        self.size, self.num_labels = tuple(size), num_labels

    def __call__(self, data):
        file = nibabel.load(data["image"])
        label_map, axes = np.asanyarray(file.dataobj), "".join(nibabel.aff2axcodes(file.affine))
        if label_map.shape != self.size or axes != "RAS":
            raise ValueError(
                f"expected a label map of {self.size} voxels in RAS, as in training; found {label_map.shape} in "
                f"{axes}. `python -m scripts.data` brings cases onto that grid."
            )
        if not np.isin(label_map, np.arange(self.num_labels)).all():
            raise ValueError(
                f"expected whole ids from 0 to {self.num_labels - 1}; found values from {label_map.min()} to "
                f"{label_map.max()}. A translator is sent a label map, not an image."
            )
        given = {"anatomy": data["image"], "background": label_map == 0, "pred_meta_dict": {"affine": file.affine}}
        return {**data, **given}


def _as_volume(data):
    volume = torch.as_tensor(data["pred"])[0].cpu().numpy()
    return {**data, "pred": np.where(data["background"], np.float32(-1), volume)}


class Training(BundleTrainTask):
    """Train a bundle on the submitted labels, from the weights that answer now; its best epoch answers from then on.

    The weights before it stay beside them, as models/before_0001.pt and so on.
    """

    def _load_bundle_config(self, path, config):
        parser = ConfigParser()
        parser.read_config([config, str(Path(config).with_name("served.json"))])
        parser.config["bundle_root"] = path
        return parser

    def _load_checkpoint(self, model_pytorch, pretrained, train_handlers):
        """The bundle loads its weights itself, and strictly."""
        self.start = model_pytorch if pretrained else None

    def _partition_datalist(self, datalist, request, shuffle=False):
        """Without cases to spare, those that are trained on choose the epoch as well."""
        if not datalist:
            raise ValueError("no label was submitted yet: there is nothing to train on.")
        training, validation = super()._partition_datalist(datalist, request, shuffle)
        return training or datalist, validation or training or datalist

    def run_single_gpu(self, request, overrides):
        overrides["device"] = torch.device(overrides["device"])
        workflow = ConfigWorkflow(
            [self.bundle_config_path, str(Path(self.bundle_config_path).with_name("served.json"))],
            meta_file=self.bundle_metadata_path, logging_file=False, workflow_type="train", **overrides,
        )  # fmt: skip
        workflow.initialize()
        workflow.run()
        workflow.finalize()

    def _update_overrides(self, overrides):
        self.run = _next(Path(self.bundle_path), "served/{:04d}")
        overrides.update(output_dir=str(self.run), pretrained=self.start)  # in place: what is returned is not looked at
        return overrides

    def __call__(self, request, datastore):
        result = super().__call__(request, datastore)
        answering = Path(self.bundle_path, "models", "model.pt")
        fresh = answering.with_name(".model.pt")
        shutil.copyfile(self.run / "model.pt", fresh)
        shutil.copyfile(answering, _next(answering.parent, "before_{:04d}.pt"))
        os.replace(fresh, answering)
        return result


def _next(folder: Path, pattern: str) -> Path:
    """The first path of a numbered pattern that is not there."""
    number = 1
    while (folder / pattern.format(number)).exists():
        number += 1
    return folder / pattern.format(number)
