from __future__ import annotations

import numpy as np
import pytest

from common.labels import (
    LABELS,
    LESION,
    MIRROR,
    NUM_LABELS,
    PARENCHYMA,
    TISSUE_OF,
    TISSUES,
    from_freesurfer,
    inject,
    mirrored,
)

SHAPE = (7, 8, 9)


@pytest.fixture
def anatomy(rng) -> np.ndarray:
    return rng.integers(0, LESION, SHAPE).astype(np.uint8)


def test_the_table_has_29_rows_in_the_order_of_their_ids():
    assert [label.id for label in LABELS] == list(range(29))
    assert (NUM_LABELS, LESION) == (29, 28)
    assert len({label.name for label in LABELS}) == 29


def test_background_ventricles_and_csf_are_not_parenchyma():
    assert np.flatnonzero(~PARENCHYMA).tolist() == [0, 5, 6, 26, 27]


def test_mirror_pairs_left_with_right_of_the_same_structure():
    for label in LABELS:
        other = LABELS[label.mirror]
        assert other.mirror == label.id
        assert other.name.replace("right", "left") == label.name.replace("right", "left")
        assert (other.tissue, other.parenchyma) == (label.tissue, label.parenchyma)
    assert [label.id for label in LABELS if label.mirror == label.id] == [0, 25, 26, 27, 28]


def test_every_tissue_of_a_label_has_its_name():
    assert [TISSUES[TISSUE_OF[label.id]] for label in LABELS] == [label.tissue for label in LABELS]


def test_freesurfer_ids_are_unique_and_translate_to_their_row():
    ids = [number for label in LABELS for number in label.freesurfer]
    assert len(ids) == len(set(ids))

    translated = from_freesurfer(np.array(ids), "test")

    assert translated.dtype == np.uint8
    assert translated.tolist() == [label.id for label in LABELS for _ in label.freesurfer]


def test_white_matter_without_a_side_takes_that_of_its_neighbours():
    segmentation = np.array([2, 2, 77, 251, 0, 0, 252, 41])

    assert from_freesurfer(segmentation, "test").tolist() == [1, 1, 1, 1, 0, 0, 2, 2]


def test_unknown_freesurfer_ids_are_refused_by_name():
    with pytest.raises(ValueError, match=r"brain.nii.gz: FreeSurfer ids \[999, 1001\] are not in"):
        from_freesurfer(np.array([2, 1001, 999]), "brain.nii.gz")


def test_mirrored_twice_is_the_original_and_once_keeps_left_left(anatomy):
    np.testing.assert_array_equal(mirrored(mirrored(anatomy)), anatomy)
    np.testing.assert_array_equal(mirrored(anatomy)[0], MIRROR[anatomy[-1]])
    np.testing.assert_array_equal(mirrored(anatomy, axis=1)[:, 0], MIRROR[anatomy[:, -1]])


def test_injection_paints_exactly_the_mask_within_the_parenchyma(anatomy, rng):
    lesion = (rng.random(SHAPE) < 0.3).astype(np.uint8)
    before = anatomy.copy()

    label_map = inject(anatomy, lesion)

    painted = (lesion == 1) & ~np.isin(anatomy, (0, 5, 6, 26, 27))
    np.testing.assert_array_equal(label_map == LESION, painted)
    np.testing.assert_array_equal(label_map[~painted], anatomy[~painted])
    np.testing.assert_array_equal(anatomy, before)


def test_injection_of_a_mask_on_another_grid_is_refused(anatomy):
    with pytest.raises(ValueError, match=r"anatomy has shape \(7, 8, 9\), the lesion \(7, 9, 8\)"):
        inject(anatomy, np.zeros((7, 9, 8)))
