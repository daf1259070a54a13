from collections import Counter

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, RandGaussianNoised, Transform

from common.sampling import EpochSampler, SeededDataset, UnpairedDataset, UnpairedSampler, derive_seed


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


def unpaired(count, groups=("real",), **options):
    """Each case's images and label maps hold its number; both get the same noise, if any is the same."""
    data = [
        {
            "image": torch.full((1, 4), float(i)),
            "label_map": torch.full((1, 4), float(i)),
            "source": groups[i % len(groups)],
        }
        for i in range(count)
    ]
    noise = RandGaussianNoised(["image", "label_map"], prob=1.0, std=0.01)
    dataset = UnpairedDataset(data, Compose([noise]), seed=3)
    return dataset, UnpairedSampler(dataset, seed=1, **options)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_label_map_never_meets_the_image_of_its_own_case(count):
    dataset, sampler = unpaired(count, draws=42)
    for epoch in range(20):
        sampler.set_epoch(epoch)
        for keys in sampler:
            item = dataset[keys]
            assert item["label_map"].round().unique() != item["image"].round().unique()


def test_both_domains_see_all_cases_and_the_groups_in_the_same_shares():
    dataset, sampler = unpaired(
        9, ("real", "synthetic", "synthetic"), draws=200, shares={"synthetic": 0.25}, group_key="source"
    )
    keys = list(sampler)
    for domain in (0, 1):
        indices = [pair[domain][2] for pair in keys]
        assert set(indices) == set(range(9))
        assert Counter(dataset.data[index]["source"] for index in indices) == {"real": 150, "synthetic": 50}


def test_the_two_of_a_position_are_transformed_independently():
    dataset, sampler = unpaired(5)
    for keys in sampler:
        item = dataset[keys]
        noise = [item[key] - item[key].round() for key in ("label_map", "image", "image_label_map")]
        assert not torch.allclose(noise[0], noise[1])
        assert torch.equal(item["image"].round(), item["image_label_map"].round())


def test_unpaired_draws_depend_on_seed_and_epoch_only():
    _, sampler = unpaired(7)
    _, again = unpaired(7)
    for other in (sampler, again):
        other.set_epoch(4)
    first = list(sampler)
    assert first == list(again)
    again.set_epoch(5)
    assert first != list(again)


def test_a_case_that_would_meet_itself_is_refused():
    with pytest.raises(ValueError, match="paired with itself"):
        unpaired(1, draws=4)
    with pytest.raises(ValueError, match="paired with itself"):
        unpaired(2, draws=25)


class CountedLoad(Transform):
    """Reads an array from a .npy file and counts how often."""

    reads = 0

    def __call__(self, item):
        CountedLoad.reads += 1
        return {**item, "image": torch.from_numpy(np.load(item["image"]))}


class Scaled(Transform):
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, item):
        return {**item, "image": self.factor * item["image"]}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Two items on disk, and a data set of them that keeps what it decoded."""
    monkeypatch.setattr(CountedLoad, "reads", 0)
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", np.full((1, 4), float(number)))
    data = [{"image": str(tmp_path / f"{number}.npy"), "subject": str(number)} for number in range(2)]

    def make(factor=1.0, cache_dir=tmp_path / "cache"):
        transforms = [CountedLoad(), Scaled(factor), RandGaussianNoised("image", prob=1.0)]
        return SeededDataset(data, Compose(transforms), seed=3, cache_dir=cache_dir)

    return make


def test_an_item_is_decoded_once_whatever_epoch_run_or_seed(kept):
    first, again = kept(), kept()
    values = [first[1, 0, 0]["image"], first[1, 1, 1]["image"], again[1, 0, 0]["image"], again[2, 0, 0]["image"]]

    assert CountedLoad.reads == 2
    assert torch.equal(values[0], values[2])
    assert not torch.equal(values[0], values[3])  # what is random is drawn anew
    assert torch.equal(values[0], kept(cache_dir=None)[1, 0, 0]["image"])
    assert first[1, 0, 0]["subject"] == "0"


def test_a_changed_file_or_transform_is_not_answered_from_the_cache(kept, tmp_path):
    before = kept()[1, 0, 1]["image"]
    doubled = kept(factor=2.0)[1, 0, 1]["image"]
    np.save(tmp_path / "1.npy", np.full((1, 4), 7.0))
    after = kept()[1, 0, 1]["image"]

    np.testing.assert_allclose(doubled - before, 1, atol=1e-6)
    np.testing.assert_allclose(after - before, 6, atol=1e-6)


def test_a_training_that_is_killed_while_it_writes_leaves_no_torn_entry(kept, tmp_path, monkeypatch):
    def torn(content, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    dataset = kept()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", torn)
        with pytest.raises(KeyboardInterrupt):
            dataset[1, 0, 0]

    assert kept()[1, 0, 0]["image"].shape == (1, 4)


def test_a_cache_that_cannot_be_written_is_refused_in_words(kept, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((OSError, ValueError), match="cache_dir"):
        kept(cache_dir=tmp_path / "file" / "cache")
