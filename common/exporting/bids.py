"""A data set as BIDS derivatives."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from tqdm import tqdm

from ..datalists import Case, read_dataset
from ..labels import LABELS

__all__ = ["export_bids"]

BIDS_VERSION = "1.10.0"
SPACE = "MNI152NLin2009aSym"
GENERATOR = "stroke-dwi-synthesis"


def export_bids(data: str | Path, out: str | Path) -> Path:
    """Write a data set, synthetic or not, as BIDS derivatives: images, lesion masks and label maps with JSON sidecars.

    Args:
        data: data set.
        out: folder to make.

    Returns:
        `out`.

    Raises:
        ValueError: `out` is there already, or two subjects have the same name in BIDS (letters and digits only).
    """
    dataset, out = read_dataset(data), Path(out)
    if out.exists():
        raise ValueError(f"--out {out}: is there already and is not overwritten.")
    names: dict[str, Case] = {}
    for case in dataset.cases:
        name = re.sub(r"[^0-9A-Za-z]+", "", case.subject.removeprefix("sub-"))
        if name in names:
            raise ValueError(f"{data}: subjects {names[name].subject} and {case.subject} are both sub-{name} in BIDS.")
        names[name] = case
    building = out.with_name(f".{os.getpid()}.{out.name}")
    building.mkdir(parents=True)
    kind = "synthetic" if dataset.synthetic else "simulated" if dataset.simulated else "preprocessed"
    description = {
        "Name": dataset.header["name"],
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": dataset.header["licence"],
        "GeneratedBy": [{"Name": GENERATOR, "Description": dataset.header["description"]}],
        "SourceDatasets": [{"URL": f"file:{dataset.folder.resolve().name}"}],
    }
    (building / "dataset_description.json").write_text(json.dumps(description, indent=1))
    (building / "README").write_text(
        f"{dataset.header['description']}\n\nImages are {kind}, in [-1, 1], in {SPACE} space. For research only.\n"
    )
    labels = "".join(f"{label.id}\t{label.name}\n" for label in LABELS)
    (building / "dseg.tsv").write_text(f"index\tname\n{labels}")
    rows = ["participant_id\tcohort\tsplit"]
    for name, case in tqdm(names.items(), desc="BIDS", unit="case"):
        start = f"sub-{name}_space-{SPACE}"
        sidecar = {"SkullStripped": True, "Units": "arbitrary", "Description": kind, **_described(case)}
        _write(case.image, building / f"sub-{name}" / "dwi" / f"{start}_desc-{kind}_dwi", sidecar)
        _write(case.label, building / f"sub-{name}" / "dwi" / f"{start}_label-lesion_mask", {"Type": "Lesion"})
        _write(case.anatomy, building / f"sub-{name}" / "anat" / f"{start}_dseg", {"Atlas": "dseg.tsv"})
        rows.append(f"sub-{name}\t{case.cohort}\t{case.split}")
    (building / "participants.tsv").write_text("\n".join(rows) + "\n")
    building.replace(out)
    return out


def _described(case: Case) -> dict:
    """Where a case came from, as its sidecar says."""
    keys = ("donor", "mask", "seed", "model_sha256", "source", "preparation", "simulated")
    return {"Provenance": {key: case.source[key] for key in keys if key in case.source}}


def _write(source: Path | None, target: Path, sidecar: dict) -> None:
    if source is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target.with_name(target.name + ".nii.gz"))
    target.with_name(target.name + ".json").write_text(json.dumps(sidecar, indent=1))
