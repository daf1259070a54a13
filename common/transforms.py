"""What MONAI's transforms do not do: empty masks, label maps with a lesion, flips that swap sides, slices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform, Transform

from .context import neighbours
from .grids import grid_affine
from .labels import LESION, MIRROR, PARENCHYMA

__all__ = [
    "EmptyLesiond", "LabelMapd", "PlaceOnGridd", "RandIntensityd", "RandMirrord", "RandSliced", "RandTissueNoised",
    "SliceContextd",
]  # fmt: skip


class EmptyLesiond(Transform):
    """Give a lesion-free case (no "label" in its item) an empty mask on the image's grid."""

    def __init__(self, reference: str = "image"):
        self.reference = reference

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        if result.get("label") is None:
            result["label"] = torch.zeros_like(torch.as_tensor(result[self.reference]))
        return result


class LabelMapd(Transform):
    """Paint "label" (lesion) into "anatomy" where there is parenchyma, as `name` (1, H, W, D), ids 0 to 28.

    With `clip` off (training on real cases, whose mask is the truth), the lesion also covers what the anatomical
    segmentation took for something else, but never the background. `keep_anatomy` leaves "anatomy" in the item.
    """

    def __init__(self, clip: bool = True, keep_anatomy: bool = False, name: str = "label_map"):
        self.clip, self.keep_anatomy, self.name = clip, keep_anatomy, name

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        anatomy = torch.as_tensor(result["anatomy"] if self.keep_anatomy else result.pop("anatomy")).long()
        lesion = torch.as_tensor(result.pop("label")) > 0.5
        allowed = torch.as_tensor(PARENCHYMA)[anatomy] if self.clip else anatomy > 0
        result[self.name] = torch.where(lesion & allowed, LESION, anatomy).to(torch.uint8)
        return result


class PlaceOnGridd(MapTransform):
    """Say where a generated volume (C, H, W, D) lies: on the grid of that size over the MNI box, for saving."""

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        for key in self.key_iterator(result):
            volume = torch.as_tensor(result[key])
            result[key] = MetaTensor(volume, affine=torch.as_tensor(grid_affine(tuple(volume.shape[1:]))))
        return result


class RandMirrord(RandomizableTransform, MapTransform):
    """Flip left and right, in the first spatial axis of (C, H, W[, D]); in a label map the sides' ids swap as well.

    Without the swap a network would learn that left and right labels look the same on both sides.

    Args:
        keys: what to flip.
        label_keys: those of `keys` that hold label maps.
        prob: of a flip.
    """

    def __init__(self, keys: KeysCollection, label_keys: KeysCollection = (), prob: float = 0.5):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)
        self.table = torch.as_tensor(MIRROR.astype(np.uint8))

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return result
        for key in self.key_iterator(result):
            flipped = torch.flip(result[key], (1,))
            result[key] = self.table.to(flipped.device)[flipped.long()] if key in self.label_keys else flipped
        return result


class RandIntensityd(RandomizableTransform, MapTransform):
    """Scale the signal and bend its curve, as scanners and the clipping at the 99.5th percentile do to whole volumes.

    The signal m = (x + 1) / 2 becomes clip(scale * m ** gamma, 0, 1), so that the background stays -1. Scale and gamma
    are drawn log-uniformly from [1 / (1 + range), 1 + range].

    Args:
        keys: images in [-1, 1].
        scale, gamma: ranges; 0 changes nothing.
    """

    def __init__(self, keys: KeysCollection, scale: float, gamma: float):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self)
        self.scale, self.gamma = scale, gamma

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        factor, power = (float(np.exp(self.R.uniform(-1, 1) * np.log1p(r))) for r in (self.scale, self.gamma))
        for key in self.key_iterator(result):
            signal = ((result[key] + 1) / 2).clamp(0, 1)
            result[key] = (factor * signal**power).clamp(0, 1) * 2 - 1
        return result


class RandTissueNoised(RandomizableTransform, MapTransform):
    """Add Gaussian noise inside the brain; the background stays -1.

    Args:
        keys: images in [-1, 1].
        sigma: largest standard deviation; each volume draws its own, evenly from [0, sigma]. 0 changes nothing.
    """

    def __init__(self, keys: KeysCollection, sigma: float):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self)
        self.sigma = sigma

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        if not self.sigma:
            return result
        sigma = self.R.uniform(0, self.sigma)
        for key in self.key_iterator(result):
            image = torch.as_tensor(result[key])
            noise = torch.from_numpy(self.R.normal(0, sigma, tuple(image.shape)).astype(np.float32))
            result[key] = torch.where(image > -1, (image + noise).clamp(-1, 1), image)
        return result


class RandSliced(RandomizableTransform, MapTransform):
    """One axial slice (C, H, W) of each volume (C, H, W, D), the same of all keys.

    With a context the label map is (2 * context + 1, H, W): the slice and its neighbours from below to above.

    Args:
        keys: volumes.
        label_key: the label map that tells which slices hold the lesion and which hold brain.
        lesion_share: probability that a volume with a lesion gives a slice of it; 0 draws evenly, as the paper's code.
        context: neighbours of the label map on each side, see `common.context.neighbours`.
    """

    def __init__(self, keys: KeysCollection, label_key: str = "label_map", lesion_share: float = 0.0, context: int = 0):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self)
        self.label_key, self.lesion_share, self.context = label_key, lesion_share, context

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        depth = result[self.label_key].shape[-1]
        candidates = np.arange(depth)
        if self.R.random() < self.lesion_share:
            lesion = (result[self.label_key] == LESION).flatten(0, -2).any(0)
            candidates = torch.nonzero(lesion).flatten().numpy() if lesion.any() else candidates
        z = int(self.R.choice(candidates))
        for key in self.key_iterator(result):
            if key == self.label_key and self.context:
                result[key] = result[key][0][..., neighbours(depth, self.context)[z]].movedim(-1, 0).contiguous()
            else:
                result[key] = result[key][..., z].clone()
        return result


class SliceContextd(MapTransform):
    """Give each slice of a volume the channels of its neighbours: (C, H, W, D) -> ((2 * context + 1) * C, H, W, D).

    So that MONAI's SliceInferer can lead a translator with a context over one-hot label maps.
    """

    def __init__(self, keys: KeysCollection, context: int):
        super().__init__(keys)
        self.context = context

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict:
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            places = neighbours(volume.shape[-1], self.context)
            result[key] = torch.cat([volume[..., column] for column in places.T])
        return result
