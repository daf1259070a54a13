"""What must be the same in the three translators, so that a study compares networks and losses and nothing else."""

import json
from pathlib import Path

import pytest

TRANSLATORS = ("pix2pix_itm", "spade_itm", "cyclegan_itm")
SAME = [
    "train#deterministic", "train#dataset#data", "train#trainer", "validate#preprocessing", "validate#dataset",
    "validate#dataloader", "validate#handlers", "validate#key_metric", "validate#evaluator", "preflight", "history",
    "fingerprint", "initialize", "run", "augmentation", "num_labels", "batch_size", "learning_rate", "epochs", "seed",
    "precision", "clinical_cases", "draws_per_epoch", "lesion_share", "stroke_share",
]  # fmt: skip


def part(bundle: str, config: str, name: str = "") -> str:
    content = json.loads(Path(f"bundles/{bundle}/configs/{config}.json").read_text())
    for key in filter(None, name.split("#")):
        content = content[key]
    return json.dumps(content, sort_keys=True).replace(bundle, "NAME")


@pytest.mark.parametrize("name", SAME)
def test_the_translators_agree(name):
    assert len({part(bundle, "train", name) for bundle in TRANSLATORS}) == 1


def test_the_translators_are_evaluated_alike():
    assert len({part(bundle, "evaluate") for bundle in TRANSLATORS}) == 1


@pytest.mark.parametrize("bundle", TRANSLATORS)
def test_the_epoch_that_is_kept_is_chosen_alike(bundle):
    resume = json.loads(Path(f"bundles/{bundle}/configs/train.json").read_text())["resume"]
    assert resume["key_metric"] == "$'val_recovered_gap' if @segmenter else 'val_l1'"
    assert resume["mode"] == "min"


@pytest.mark.parametrize("bundle", TRANSLATORS)
def test_slices_are_scaled_and_sheared_along_both_axes(bundle):
    """MONAI takes a lone number for the first axis only."""
    transforms = json.loads(Path(f"bundles/{bundle}/configs/train.json").read_text())["train"]["random"]
    affine = next(entry for entry in transforms if entry["_target_"] == "RandAffined")
    assert affine["shear_range"] == "$[@augmentation['shear']] * 2"
    assert affine["scale_range"] in ("$[@augmentation['scale']] * 2", "$[@augmentation['scale']] * @spatial_dims")
