from collections import Counter

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, RandGaussianNoised

from common.sampling import EpochSampler, SeededDataset, derive_seed


def noisy(count=7, seed=3, groups=("real",)):
    data = [{"image": torch.full((1, 4), float(i)), "source": groups[i % len(groups)]} for i in range(count)]
    return SeededDataset(data, Compose([RandGaussianNoised("image", prob=1.0)]), seed=seed)


def drawn(dataset, sampler, workers=0):
    loader = DataLoader(dataset, sampler=sampler, batch_size=2, num_workers=workers)
    return torch.cat([batch["image"] for batch in loader])


def test_every_item_is_drawn_once_per_epoch_and_epochs_differ_in_order():
    sampler = EpochSampler(noisy(), seed=1)
    orders = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        orders.append([index for _, _, index in sampler])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(7))
    assert orders[0] != orders[1]


def test_draws_beyond_the_items_repeat_whole_passes():
    sampler = EpochSampler(noisy(5), seed=1, draws=12)
    counts = Counter(index for _, _, index in sampler)
    assert sum(counts.values()) == 12
    assert set(counts.values()) == {2, 3}


def test_shares_fix_how_often_a_group_is_drawn():
    dataset = noisy(9, groups=("real", "synthetic", "synthetic"))
    sampler = EpochSampler(dataset, seed=1, draws=100, shares={"synthetic": 0.25}, group_key="source")
    sources = Counter(dataset.data[index]["source"] for _, _, index in sampler)
    assert sources == {"real": 75, "synthetic": 25}


def test_a_share_of_a_group_that_nobody_belongs_to_is_refused():
    with pytest.raises(ValueError, match=r"shares names \['synthetic'\].*found \['real'\]"):
        EpochSampler(noisy(), seed=1, shares={"synthetic": 0.5}, group_key="source")


@pytest.mark.parametrize("workers", [0, 2])
def test_random_transforms_depend_on_seed_epoch_and_position_only(workers):
    first, second = EpochSampler(noisy(), seed=1), EpochSampler(noisy(), seed=1)
    first.set_epoch(4)
    second.set_epoch(4)
    assert torch.equal(drawn(noisy(), first), drawn(noisy(), second, workers))
    second.set_epoch(5)
    assert not torch.equal(drawn(noisy(), first), drawn(noisy(), second, workers))


def test_the_same_item_drawn_twice_in_an_epoch_is_transformed_differently():
    dataset = noisy(1)
    assert not torch.equal(dataset[(1, 0, 0)]["image"], dataset[(1, 1, 0)]["image"])


def test_derived_seeds_differ_in_every_part():
    seeds = {derive_seed(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < np.iinfo(np.uint32).max for seed in seeds)
