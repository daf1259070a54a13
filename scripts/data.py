"""Make, import, check, split and describe data sets (docs/data.md, docs/importing.md).

python -m scripts.data phantom  --out data --subjects 48 --size 64,64,16 --seed 1
python -m scripts.data check    --data data
python -m scripts.data split    --data data --seed 1 --validation 0.15 --test 0.2
python -m scripts.data describe --data data
python -m scripts.data isles22|isles15|soop|bids|dicom|folder --source DIR --out data
python -m scripts.data restore  --data data --subject sub-01 --file mask.nii.gz --out mask_in_scanner_space.nii.gz
python -m scripts.data anatomy  --data data --run runs/anatomy
python -m scripts.data nnunet   --data data --out nnunet --number 501 --synthetic synthetic
python -m scripts.data derivatives --data synthetic --out bids
"""

from __future__ import annotations

import sys

from common.command_line import run_command
from common.datalists import SPLITS, read_dataset
from common.dataset_check import findings
from common.dataset_split import split_dataset
from common.describe import describe_dataset
from common.phantom.cohort import make_phantom


def phantom(
    out: str,
    subjects: int | dict = 48,
    size: tuple[int, int, int] = (64, 64, 16),
    seed: int = 1,
    anatomies: str | None = None,
    lesions: str | None = None,
    workers: int = 1,
    negatives: float = 0.25,
) -> None:
    """Simulate a data set with a normal and a stroke cohort; the same command again goes on where it stopped.

    Args:
        out: folder of the data set.
        subjects: how many in all, or {normal:N,training:N,validation:N,test:N} (the last three with a lesion).
        size: voxels of the grid over the MNI box.
        seed: of everything random.
        anatomies: folder of FreeSurfer label maps in the place of the default brain.
        lesions: NPZ file or folder of lesion masks in MNI space in the place of drawn lesions.
        workers: processes.
        negatives: share of DWI-negative stroke cases.
    """
    print(_counts(make_phantom(out, subjects, size, seed, anatomies, lesions, workers, negatives)))


def check(data: str) -> None:
    """Open every file and list what is wrong; exits with 1 if there are errors.

    Args:
        data: folder of the data set.
    """
    dataset = read_dataset(data)
    found = sorted(findings(dataset, progress=True), key=lambda finding: finding.severity)
    for finding in found:
        print(
            f"{finding.severity:8s} {finding.subject:16s} {finding.file}\n         {finding.message}. {finding.remedy}."
        )
    errors = sum(finding.severity == "error" for finding in found)
    print(f"{_counts(dataset)}\n{errors} errors, {len(found) - errors} warnings")
    sys.exit(1 if errors else 0)


def split(data: str, seed: int, validation: float = 0.15, test: float = 0.2, move_normal: bool = False) -> None:
    """Assign the cases to training, validation and test anew; the old dataset.json is kept beside the new one.

    Args:
        data: folder of the data set.
        seed: of the draw.
        validation: share of the stroke cohort.
        test: share of the stroke cohort.
        move_normal: let normal cases leave training too.
    """
    print(_counts(split_dataset(data, seed, validation, test, move_normal)))


def describe(data: str, out: str | None = None) -> None:
    """Print counts and volumes per cohort and split; write a contact sheet, histograms and structures.csv.

    Args:
        data: folder of the data set.
        out: folder for the pictures; DATA/describe by default.
    """
    print(describe_dataset(data, out))


def restore(data: str, subject: str, file: str, out: str) -> None:
    """Carry a mask or an image on the data set's grid back to the space that the subject was imported from.

    Args:
        data: folder of an imported data set.
        subject: whose space it is.
        file: NIfTI on the data set's grid; of 0 and 1 it is a mask, else an image in [-1, 1].
        out: NIfTI file to write; never overwritten.
    """
    from common.preprocessing.restoring import restore_volume

    print(restore_volume(data, subject, file, out))


def nnunet(data: str, out: str, number: int, synthetic: str | None = None) -> None:
    """Write a data set as nnU-Net v2 wants it, with its own split as the only fold; synthetic cases train only.

    Args:
        data: folder of the data set.
        out: gets nnUNet_raw/ and nnUNet_preprocessed/.
        number: of the data set in nnU-Net, 1 to 999.
        synthetic: synthetic data set made from it.
    """
    from common.exporting.nnunet import export_nnunet

    print(export_nnunet(data, out, number, synthetic))


def derivatives(data: str, out: str) -> None:
    """Write a data set, synthetic or not, as BIDS derivatives.

    Args:
        data: folder of the data set.
        out: folder to make.
    """
    from common.exporting.bids import export_bids

    print(export_bids(data, out))


def anatomy(data: str, run: str) -> None:
    """Label the anatomy of cases that have none by a network; compare its answers where there is one already.

    Args:
        data: folder of the data set.
        run: run folder of stroke_unet, trained with the overlay anatomy.
    """
    from common.anatomy import describe_scores, label_anatomies, score_anatomies

    print(describe_scores(score_anatomies(data, run)))
    print(f"{data}: {label_anatomies(data, run)} cases labelled.")


def _importer(layout: str):
    """The command that imports a layout."""

    def run(
        source: str,
        out: str,
        cohort: str = "stroke",
        size: tuple[int, int, int] = (128, 128, 32),
        space: str = "register",
        floor: float = 0.1,
        images: str | None = None,
        masks: str | None = None,
        brains: str | None = None,
        anatomies: str = "none",
        volume: int | None = None,
        seed: int = 1,
        validation: float = 0.15,
        test: float = 0.2,
        workers: int = 1,
        strict: bool = False,
    ) -> None:
        """Import clinical images as a data set; the same command again goes on where it stopped (docs/importing.md).

        Args:
            source: folder that was handed out.
            out: folder of the data set; a second source may be imported into the same.
            cohort: stroke or normal.
            size: voxels of the grid over the MNI box.
            space: register (affinely to MNI152), shift (only centre the brain) or mni (is there already).
            floor: what becomes -1: up to 1 a share of the 99.5th percentile, above an intensity (the paper: 35).
            images: folder: pattern of the images with one *, such as "images/*.nii.gz"; dicom: part of the series'
                name.
            masks: folder, dicom: pattern of the masks; bids: end of the masks' names ("label-lesion_mask").
            brains: pattern of brain masks in the images' space.
            anatomies: none, atlas, or a pattern of label maps (FreeSurfer ids) in the images' space.
            volume: which of a 4D image, counted from 0.
            seed: of the split.
            validation: share of the new stroke cases.
            test: share of the new stroke cases.
            workers: processes.
            strict: stop at the first bad case.
        """
        from common.importing.importer import import_dataset
        from common.preprocessing.pipeline import Options

        options = Options(tuple(size), space, floor)
        made = import_dataset(
            layout, source, out, cohort, options, images, masks, brains, anatomies, volume, seed, validation, test,
            workers, strict,
        )  # fmt: skip
        print(_counts(made))

    return run


IMPORTERS = {layout: _importer(layout) for layout in ("isles22", "isles15", "soop", "bids", "dicom", "folder")}


def _counts(dataset) -> str:
    lines = [f"{dataset.folder}: {len(dataset.cases)} cases ({'simulated' if dataset.simulated else 'not simulated'})"]
    for name in SPLITS:
        positive = len(dataset.select(name, "stroke", has_lesion=True))
        negative = len(dataset.select(name, "stroke", has_lesion=False))
        normal = len(dataset.select(name, "normal"))
        lines.append(f"  {name:11s}{positive:5d} with a lesion {negative:5d} DWI-negative {normal:5d} normal")
    return "\n".join(lines)


if __name__ == "__main__":
    commands = {"phantom": phantom, "check": check, "split": split, "describe": describe, "restore": restore}
    commands |= {"anatomy": anatomy, "nnunet": nnunet, "derivatives": derivatives}
    run_command(commands | IMPORTERS)
