from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.datalists import Case
from common.grids import grid_affine, write_volume
from common.prediction import read_image, read_lesion, segment, segment_dataset

SIZE = (7, 8, 9)
AFFINE = grid_affine(SIZE)


class Threshold(nn.Module):
    """Logits (B, 2, H, W, D) that call everything brighter than 0 lesion."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.batches, self.dtypes = [], []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        self.dtypes.append(torch.nn.functional.linear(images.flatten(1)[:, :1], self.bias[None]).dtype)
        return torch.cat([-images + self.bias, images], dim=1)


def case(folder: Path, subject: str, image: np.ndarray | None = None, label=None, affine=AFFINE) -> Case:
    files = {}
    for key, voxels in (("image", image), ("label", label)):
        files[key] = None
        if voxels is not None:
            files[key] = folder / f"{subject}_{key}.nii.gz"
            write_volume(files[key], voxels, affine)
    return Case(subject, "stroke", "test", anatomy=None, sidecar=None, **files)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, SIZE).astype(np.float32)


def test_mask_is_the_argmax_of_the_two_channels():
    mask = segment(Threshold(), image(0))

    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, image(0) > 0)


def test_batch_gives_what_its_images_give_alone():
    batch = np.stack([image(i) for i in range(3)])

    masks = segment(Threshold(), batch)

    np.testing.assert_array_equal(masks, [segment(Threshold(), one) for one in batch])


def test_equal_channels_are_no_lesion():
    assert not segment(Threshold(), np.zeros(SIZE)).any()


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_network_runs_in_the_precision_asked_for(precision, dtype):
    network = Threshold()

    segment(network, image(0), precision)

    assert network.dtypes == [dtype]


def test_unknown_precision_is_refused_by_name():
    with pytest.raises(ValueError, match="bf16, fp16, not 'fp8'"):
        segment(Threshold(), image(0), "fp8")


def test_cases_come_in_order_with_their_own_masks(tmp_path):
    cases = [case(tmp_path, f"s{i}", image(i)) for i in range(5)]
    network = Threshold()

    found = list(segment_dataset(network, cases, batch_size=2))

    assert [one.subject for one, _ in found] == [one.subject for one in cases]
    assert network.batches == [2, 2, 1]
    for i, (_, mask) in enumerate(found):
        np.testing.assert_array_equal(mask, image(i) > 0)


def test_images_are_read_outside_the_main_thread(tmp_path, monkeypatch):
    readers = set()
    monkeypatch.setattr(
        "common.prediction.read_image", lambda case, grid: readers.add(threading.current_thread()) or image(0)
    )
    cases = [case(tmp_path, f"s{i}", image(i)) for i in range(2)]

    list(segment_dataset(Threshold(), cases, batch_size=1))

    assert readers
    assert threading.main_thread() not in readers


def test_image_of_another_shape_is_refused_by_subject(tmp_path):
    cases = [case(tmp_path, "good", image(0)), case(tmp_path, "bad", np.zeros((9, 8, 7), np.float32))]

    with pytest.raises(ValueError, match=r"bad_image.*subject bad has shape \(9, 8, 7\), expected \(7, 8, 9\)"):
        list(segment_dataset(Threshold(), cases))


def test_image_off_the_data_sets_grid_is_refused(tmp_path):
    shifted = AFFINE.copy()
    shifted[0, 3] += 5

    with pytest.raises(ValueError, match=r"off_image.*another affine"):
        list(segment_dataset(Threshold(), [case(tmp_path, "off", image(0), affine=shifted)], grid=(SIZE, AFFINE)))


def test_image_with_nan_is_refused_by_subject(tmp_path):
    broken = image(0)
    broken[1, 2, 3] = np.nan

    with pytest.raises(ValueError, match="subject nan holds NaN"):
        read_image(case(tmp_path, "nan", broken), (SIZE, AFFINE))


def test_case_without_a_mask_has_an_empty_lesion(tmp_path):
    lesion = read_lesion(case(tmp_path, "healthy", image(0)), (SIZE, AFFINE))

    assert lesion.shape == SIZE
    assert not lesion.any()


def test_mask_that_is_not_binary_is_refused(tmp_path):
    label_map = np.full(SIZE, 28, np.uint8)

    with pytest.raises(ValueError, match=r"expected a binary mask, found values \[28\]"):
        read_lesion(case(tmp_path, "a", image(0), label=label_map), (SIZE, AFFINE))
