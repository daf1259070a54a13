"""Train one epoch of BUNDLE_NAME and use it, on ellipsoids with bright balls; run from the root of the model zoo."""

import json
import sys
import tempfile
import unittest
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow

NAME = "BUNDLE_NAME"
BUNDLE = Path("models", NAME)
# Of these knobs, the ones that the bundle has.
SMALL = {
    "epochs": 1, "draws_per_epoch": 3, "batch_size": 1, "accumulate": 1, "n_critic": 1, "val_interval": 1,
    "val_masks": 4, "count": 2, "num_workers": 0, "cache_dir": None, "average_decay": 0.0, "segmenter": None,
    "mask_library": None,
}  # fmt: skip
WHITE_MATTER, THALAMUS, CSF = 1, 11, 27  # ids of the left side; the right one's is 1 more
SIGNAL = {WHITE_MATTER: -0.2, THALAMUS: -0.1, CSF: -0.8}


class TestBundle(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        root = str(BUNDLE.resolve())
        sys.path.insert(0, root)
        self.addCleanup(sys.path.remove, root)
        self.data = Path(self.folder.name, "data")
        size = json.loads((BUNDLE / "configs" / "inference.json").read_text())["size"]
        write_dataset(self.data, size, {"training": 4, "validation": 2, "test": 1})

    def run_config(self, file, kind, **settings):
        config = json.loads((BUNDLE / "configs" / file).read_text())
        known = {key: value for key, value in {**SMALL, **settings}.items() if key in config}
        workflow = ConfigWorkflow(
            workflow_type=kind, config_file=str(BUNDLE / "configs" / file), logging_file=False,
            meta_file=str(BUNDLE / "configs" / "metadata.json"), bundle_root=str(BUNDLE), **known,
        )  # fmt: skip
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()

    def test_train_and_infer(self):
        trained, answers = Path(self.folder.name, "run"), Path(self.folder.name, "answers")
        self.run_config("train.json", "train", dataset_dir=str(self.data), output_dir=str(trained))
        assert (trained / "model.pt").is_file()
        settings = {"dataset_dir": str(self.data), "split": "test", "output_dir": str(answers)}
        if NAME == "lesion_wgan":  # draws from noise
            del settings["dataset_dir"]
        self.run_config("inference.json", "infer", **settings)
        found = list(answers.rglob("*.nii.gz"))
        assert found
        for file in found:
            assert np.isfinite(np.asarray(nib.load(file).dataobj)).all()


def write_dataset(folder, size, counts):
    """A data set as the bundle's docs describe it."""
    datalists, grids = import_module("scripts.common.datalists"), import_module("scripts.common.grids")
    size, rng, cases = tuple(size), np.random.default_rng(0), []
    affine = grids.grid_affine(size)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij"))
    radius = np.sqrt((places**2).sum(0))
    right = (places[0] > 0).astype(np.uint8)
    for split in [split for split, count in counts.items() for _ in range(count)]:
        outer = rng.uniform(0.85, 0.95)
        anatomy = np.where(radius < outer, CSF, 0).astype(np.uint8)
        for edge, left in ((outer - 0.1, WHITE_MATTER), (0.3, THALAMUS)):
            anatomy[radius < edge] = left + right[radius < edge]
        centre = rng.uniform(-0.4, 0.4, 3)
        lesion = np.sqrt(((places - centre[:, None, None, None]) ** 2).sum(0)) < 0.25
        lesion = (lesion & (anatomy > 0) & (anatomy < CSF)).astype(np.uint8)
        image = np.full(size, -1.0)
        for left, signal in SIGNAL.items():
            image[np.isin(anatomy, (left, left + 1))] = signal
        image = np.where(anatomy > 0, np.clip(image + lesion + rng.normal(0, 0.05, size), -0.99, 1), -1)
        subject = f"case-{len(cases) + 1}"
        volumes = {"images": image.astype(np.float32), "lesions": lesion, "anatomy": anatomy}
        files = {key: folder / key / f"{subject}.nii.gz" for key in volumes}
        for key, volume in volumes.items():
            grids.write_volume(files[key], volume, affine)
        cases.append(
            datalists.Case(subject, "stroke", split, files["images"], files["lesions"], files["anatomy"], None)
        )
    header = {
        "name": "ellipsoids", "description": "for tests", "licence": "none needed", "simulated": True,
        "synthetic": False, "size": size, "affine": affine, "intensity": {"range": [-1, 1]},
    }  # fmt: skip
    datalists.write_dataset(folder, header, cases)


if __name__ == "__main__":
    unittest.main()
