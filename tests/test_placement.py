"""Injection of masks into anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_world import (
    MINIMUM,
    SIZE,
    brain,
)

from common.datalists import read_dataset
from common.labels import LESION, PARENCHYMA
from common.placement import MaskQueue, read_pool
from common.synthesis import place_lesion


def test_injection_changes_exactly_the_voxels_of_mask_and_parenchyma(world):
    dataset = read_dataset(world["data"])
    pool, anatomy = read_pool(world["masks"], dataset), brain()

    placement = place_lesion(anatomy, pool, MaskQueue(7, seed=1), MINIMUM, "donor")

    mask = pool.read(pool.ids.index(placement.mask)) > 0
    changed = placement.label_map != anatomy
    np.testing.assert_array_equal(changed, mask & PARENCHYMA[anatomy])
    assert (placement.label_map[changed] == LESION).all()
    assert (placement.voxels_before, placement.voxels_after) == (mask.sum(), changed.sum())


def test_voxels_are_counted_after_clipping(world):
    pool = read_pool(world["masks"], read_dataset(world["data"]))
    first = pool.read(MaskQueue(7, seed=1).take()) > 0
    anatomy = np.where(first, 27, brain()).astype(np.uint8)  # the first mask falls into CSF but for one voxel less
    kept = np.argwhere(first)[: MINIMUM - 1]
    anatomy[tuple(kept.T)] = 1

    placement = place_lesion(anatomy, pool, MaskQueue(7, seed=1), MINIMUM, "donor")

    assert placement.voxels_after >= MINIMUM
    assert MINIMUM - 1 in placement.rejected.values()


def test_donor_without_room_for_any_mask_is_refused_by_name(world):
    pool = read_pool(world["masks"], read_dataset(world["data"]))

    with pytest.raises(ValueError, match=r"7 masks were tried.*donor somebody"):
        place_lesion(np.full(SIZE, 27, np.uint8), pool, MaskQueue(7, seed=1), MINIMUM, "somebody")


def test_queue_gives_each_mask_once_before_any_comes_again():
    queue = MaskQueue(7, seed=1)
    passes = [[queue.take() for _ in range(7)] for _ in range(2)]

    assert [sorted(order) for order in passes] == [list(range(7))] * 2
    assert passes[0] != passes[1]
