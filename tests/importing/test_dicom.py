"""Real DICOM series, written by pydicom, as a PACS exports them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from real_components import lack
from scans import LESION_MM, save, scan

from common.grids import read_volume
from common.importing.dicom import dwi_series, read_series
from common.importing.importer import import_dataset
from common.importing.reading import BadCase
from common.preprocessing.pipeline import Options

TO_LPS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture(autouse=True)
def _pydicom():
    if importlib.util.find_spec("pydicom") is None:
        lack("no pydicom: pip install -r requirements-dicom.txt")


def write_series(folder: Path, one, description="ep2d_diff_b1000 TRACEW", skip=(), twice=(), name="IM", seed=0) -> None:
    """One file a slice; names and instance numbers in another order than the slices."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    spacing = np.linalg.norm(one.affine[:3, :3], axis=0)
    axes = TO_LPS @ (one.affine[:3, :3] / spacing)
    series, depth = generate_uid(), one.image.shape[2]
    order = np.random.default_rng(seed).permutation(depth)
    for k in range(depth):
        for copy in range(2 if k in twice else 1):
            if k in skip:
                continue
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = folder / f"{name}{order[k]:04d}_{copy}"
            data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
            data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
            data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = series, "1.2.3", "MR"
            data.SeriesDescription, data.PatientID, data.InstanceNumber = description, "x", int(order[k]) + 1
            pixels = np.ascontiguousarray(one.image[:, :, k].T.astype(np.uint16))  # rows run along the second axis
            data.Rows, data.Columns = pixels.shape
            data.PixelSpacing = [float(spacing[1]), float(spacing[0])]
            data.SliceThickness = float(spacing[2])
            data.ImageOrientationPatient = [float(value) for value in (*axes[:, 0], *axes[:, 1])]
            data.ImagePositionPatient = [float(v) for v in TO_LPS @ (one.affine @ [0, 0, k, 1])[:3]]
            data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
            data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
            data.PixelData = pixels.tobytes()
            data.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(("codes", "degrees"), [("LPS", 0), ("LPS", 15), ("LAI", 0), ("RPI", -10)])
def test_slices_are_sorted_by_position_and_lie_where_they_were(tmp_path, codes, degrees):
    one = scan(codes, degrees)
    write_series(tmp_path / "a", one)
    volume, notes = read_series(*dwi_series(tmp_path / "a"))

    for point in ([0, 0, 0], [47, 0, 3], [5, 55, 19]):
        where = one.affine @ [*point, 1]
        voxel = np.rint(np.linalg.inv(volume.affine) @ where)[:3].astype(int)
        np.testing.assert_allclose(volume.affine @ [*voxel, 1], where, atol=1e-3)
        assert volume.voxels[tuple(voxel)] == np.floor(one.image[tuple(point)])
    assert volume.voxels.sum() == np.floor(one.image).sum()
    assert "20 slices of ep2d_diff_b1000 TRACEW" in notes[0]


def test_a_folder_a_patient_becomes_a_data_set(tmp_path):
    for patient, codes in (("Patient One", "LPS"), ("p2", "LAI")):
        one = scan(codes, 10)
        folder = tmp_path / "source" / patient
        write_series(folder / "series", one)
        write_series(folder / "series", one, "ep2d_diff_b1000 ADC", name="AD")  # in the same folder
        write_series(folder / "localizer", one, "localizer")
        save(folder / "lesion.nii.gz", one.mask, one.affine)
    options = Options((64, 64, 32), "shift")
    dataset = import_dataset("dicom", tmp_path / "source", tmp_path / "data", options=options)

    assert [case.subject for case in dataset.cases] == ["Patient_One", "p2"]
    for case in dataset.cases:
        shift = np.array(case.source["preparation"]["matrix"])[:3, 3]
        lesion = np.argwhere(read_volume(case.label)[0]).mean(0) @ dataset.affine[:3, :3].T + dataset.affine[:3, 3]
        bright = np.argwhere(read_volume(case.image)[0] > 0.95).mean(0) @ dataset.affine[:3, :3].T
        np.testing.assert_allclose(lesion, LESION_MM - shift, atol=2.5)
        np.testing.assert_allclose(bright + dataset.affine[:3, 3], LESION_MM - shift, atol=3)


def test_a_patient_whose_series_cannot_be_told_is_skipped_and_the_others_are_imported(tmp_path):
    for number in (1, 2):
        write_series(tmp_path / "source" / "unclear" / str(number), scan(seed=number), f"DWI {number}")
    write_series(tmp_path / "source" / "clear", scan())
    options = Options((32, 32, 16), "shift")
    dataset = import_dataset("dicom", tmp_path / "source", tmp_path / "data", options=options)

    assert [case.subject for case in dataset.cases] == ["clear"]
    assert "2 series read like a DWI" in (tmp_path / "data" / "import.csv").read_text()


def test_the_series_is_named_where_several_read_like_one(tmp_path):
    write_series(tmp_path / "a" / "1", scan(), "DWI b1000 first")
    write_series(tmp_path / "a" / "2", scan(seed=1), "DWI b1000 repeated")

    with pytest.raises(BadCase, match=r"2 series read like a DWI. It holds: DWI b1000 first in .*--images TEXT"):
        dwi_series(tmp_path / "a")
    assert dwi_series(tmp_path / "a", "repeated")[0].name == "2"
    write_series(tmp_path / "b", scan(), "t1_mprage")
    with pytest.raises(BadCase, match=r"no series reads like a DWI. It holds: t1_mprage"):
        dwi_series(tmp_path / "b")


def test_a_missing_slice_and_several_volumes_in_one_series_are_refused(tmp_path):
    write_series(tmp_path / "a", scan(), skip=(7, 8))
    with pytest.raises(
        BadCase, match=r"2 slices of the series .* are missing \(steps of 22\.5 mm where 7\.5 mm is usual"
    ):
        read_series(*dwi_series(tmp_path / "a"))
    write_series(tmp_path / "b", scan(), twice=range(20))
    with pytest.raises(BadCase, match=r"lie at the same place: it holds several volumes .*dcm2niix"):
        read_series(*dwi_series(tmp_path / "b"))


def test_what_pydicom_wrote_is_dicom(tmp_path):
    import pydicom

    write_series(tmp_path, scan())

    assert pydicom.dcmread(next(tmp_path.iterdir())).Modality == "MR"
