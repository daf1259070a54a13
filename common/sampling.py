"""Which cases are drawn, in which order, with which random numbers.

All randomness of the data side derives from (seed, epoch, position in the epoch), so it does not depend on the number
of loader workers, and a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
from monai.data import PersistentDataset
from monai.data.utils import pickle_hashing
from monai.utils import convert_to_tensor
from torch.utils.data import DistributedSampler

__all__ = ["EpochSampler", "SeededDataset", "UnpairedDataset", "UnpairedSampler", "derive_seed"]

TOO_FEW_CASES = (
    "One case makes up half of the draws and would be paired with itself. Unpaired training needs three or more cases "
    "in every group: raise clinical_cases, or lower stroke_share."
)


def derive_seed(*parts: int) -> int:
    """One 32-bit seed from several non-negative numbers, such as (seed, epoch, position, rank)."""
    return int(np.random.SeedSequence([int(part) for part in parts]).generate_state(1)[0])


class EpochSampler(DistributedSampler):
    """Draw keys (epoch, position, index) for a `SeededDataset`.

    It is a DistributedSampler so that MONAI's engines call `set_epoch` on it, and so that each rank gets its share.

    Args:
        dataset: the data set; only its length and, with `shares`, the items of `dataset.data` are used.
        seed: of the order.
        draws: items per epoch over all ranks; None: every item once. More draws than items repeat whole passes, so
            that no item is drawn twice before all were drawn once (within its group).
        shares: {group: share of the draws}; the groups that are not named divide the rest as one.
        group_key: the key of an item that names its group, such as "cohort" or "source".
    """

    def __init__(self, dataset, seed: int, draws: int | None = None, shares: dict | None = None, group_key: str = ""):
        ready = dist.is_available() and dist.is_initialized()
        replicas, rank = (dist.get_world_size(), dist.get_rank()) if ready else (1, 0)
        super().__init__(dataset, num_replicas=replicas, rank=rank, seed=seed)
        wanted = draws or len(dataset)
        self.num_samples = -(-wanted // replicas)
        self.total_size = self.num_samples * replicas
        self.groups = self._groups(dataset, shares or {}, group_key)

    @staticmethod
    def _groups(dataset, shares: dict, group_key: str) -> list[tuple[float, np.ndarray]]:
        """(share, indices) of each group that has items."""
        names = [item[group_key] for item in dataset.data] if shares else [None] * len(dataset)
        missing = [group for group in shares if group not in names]
        if missing:
            raise ValueError(f"shares names {missing}, but no case has such a {group_key}; found {sorted(set(names))}.")
        rest = [index for index, name in enumerate(names) if name not in shares]
        groups = [(share, [i for i, name in enumerate(names) if name == group]) for group, share in shares.items()]
        groups.append((1.0 - sum(shares.values()), rest))
        groups = [(share, np.array(indices)) for share, indices in groups if len(indices) and share > 0]
        total = sum(share for share, _ in groups)
        return [(share / total, indices) for share, indices in groups]

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        order = self._order(np.random.default_rng(derive_seed(self.seed, self.epoch)))
        for position in range(self.rank, self.total_size, self.num_replicas):
            yield self.epoch, position, int(order[position])

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        """Indices of all draws of an epoch, over all ranks."""
        counts = np.floor(np.array([share for share, _ in self.groups]) * self.total_size).astype(int)
        counts[0] += self.total_size - counts.sum()
        order = []
        for count, (_, indices) in zip(counts, self.groups, strict=True):
            passes = -(-count // len(indices))
            order.append(np.concatenate([rng.permutation(indices) for _ in range(max(passes, 1))])[:count])
        return rng.permutation(np.concatenate(order))


class UnpairedSampler(EpochSampler):
    """Draw two keys at a time for an `UnpairedDataset`, for a label map and for an image, never of the same case.

    Both are drawn as an `EpochSampler` draws, each in an order of its own, so that both domains hold the groups in the
    same shares.

    Raises:
        ValueError: hardly any other case is drawn, so that a case would meet itself.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        most = max(-(-round(share * self.total_size) // len(indices)) for share, indices in self.groups)
        if 2 * most > self.total_size:
            raise ValueError(TOO_FEW_CASES)

    def __iter__(self) -> Iterator[tuple[tuple[int, int, int], tuple[int, int, int]]]:
        rng = np.random.default_rng(derive_seed(self.seed, self.epoch))
        maps, images = self._order(rng), self._order(rng)
        _part(maps, images)
        for position in range(self.rank, self.total_size, self.num_replicas):
            yield (
                (self.epoch, position, int(maps[position])),
                (self.epoch, self.total_size + position, int(images[position])),
            )


def _part(maps: np.ndarray, images: np.ndarray) -> None:
    """Swap entries of `images`, in place, until none equals the entry of `maps` at its position."""
    for position in np.flatnonzero(maps == images):
        if maps[position] != images[position]:
            continue  # an earlier swap has parted it
        partners = np.flatnonzero((images != maps[position]) & (maps != images[position]))
        if not len(partners):
            raise ValueError(TOO_FEW_CASES)
        partner = partners[position % len(partners)]
        images[position], images[partner] = images[partner], images[position]


class SeededDataset(PersistentDataset):
    """MONAI's PersistentDataset whose random transforms depend on nothing but the key and the seed.

    What the deterministic transforms make of an item is kept on disk, uncompressed, so that a NIfTI file is decoded
    once, memory does not grow with the number of cases, and all trainings on a data set share the work. An entry is
    found by the item's files (with size and time of their last change) and by the transforms (with their source code).

    Args:
        data: items, dictionaries of paths.
        transform: deterministic transforms, then random ones.
        seed: of the random transforms.
        cache_dir: folder; None: everything is read and decoded again each time.
    """

    def __init__(self, data: list[dict], transform, seed: int, cache_dir: str | None = None):
        self.seed = seed
        try:
            super().__init__(data, transform, cache_dir, hash_func=_hash_item, hash_transform=_hash_transforms)
            if cache_dir is not None and not os.access(cache_dir, os.W_OK):
                raise PermissionError("it is read-only")
        except OSError as error:
            raise OSError(
                f"{cache_dir}: decoded volumes cannot be kept there ({error}). Name a folder with --cache_dir DIR; "
                "with --cache_dir None they are decoded again in every epoch."
            ) from error

    def __getitem__(self, key):
        epoch, position, index = key if isinstance(key, tuple) else (0, key, key)
        self.transform.set_random_state(seed=derive_seed(self.seed, epoch, position))
        return super().__getitem__(index)

    def _cachecheck(self, item: dict) -> dict:
        """As MONAI's, but an entry appears whole or not at all: several trainings fill one cache at a time."""
        if self.cache_dir is None:
            return self._pre_transform(dict(item))
        path = self.cache_dir / f"{self.hash_func(item).decode()}{self.transform_hash}.pt"
        if not path.is_file():
            made = convert_to_tensor(self._pre_transform(dict(item)), convert_numeric=False, track_meta=False)
            temporary = path.with_name(f".{os.getpid()}.{path.name}")
            torch.save(made, temporary)
            temporary.replace(path)
        return torch.load(path, weights_only=True)


def _hash_item(item: dict) -> bytes:
    """Of an item and of the state of the files that it names."""
    states = {key: (os.path.getsize(v), os.stat(v).st_mtime_ns) for key, v in item.items() if os.path.isfile(str(v))}
    return pickle_hashing([sorted(item.items(), key=str), sorted(states.items())])[:20]


def _hash_transforms(transforms: list) -> bytes:
    """Of the settings and of the source code of transforms."""
    return pickle_hashing([transforms, [inspect.getsource(type(transform)) for transform in transforms]])[:20]


class UnpairedDataset(SeededDataset):
    """A `SeededDataset` whose items come from two cases, drawn and transformed independently.

    Keys are pairs, from an `UnpairedSampler`. An item holds "label_map" of the first case; of the second, "image" and
    "image_label_map", which an unpaired training does not look at.
    """

    def __getitem__(self, keys: tuple) -> dict:
        map_key, image_key = keys
        first, second = super().__getitem__(map_key), super().__getitem__(image_key)
        return {"label_map": first["label_map"], "image": second["image"], "image_label_map": second["label_map"]}
