"""The image pool of CycleGAN: discriminators also see what the generators made a while ago."""

from __future__ import annotations

import torch

__all__ = ["ImagePool"]


class ImagePool:
    """Keep generated images, and hand out new and older ones in equal parts.

    While the pool fills, images come back as they are. Afterwards each image, with probability 1/2, changes places with
    a random one of the pool. Draws come from torch's global generator, which a resumed run seeds at each epoch.

    Args:
        size: images to keep; 50 in the reference, 0 for no pool.

    Shape:
        (B, C, H, W) -> (B, C, H, W), without a gradient.

    Source:
        CycleGAN, arXiv:1703.10593, sec. 4, after arXiv:1612.07828.
    """

    def __init__(self, size: int):
        self.size = size
        self.images: list[torch.Tensor] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if not self.size:
            return images.detach()
        return torch.stack([self._exchange(image) for image in images.detach()])

    def _exchange(self, image: torch.Tensor) -> torch.Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())  # a view would keep its whole batch in memory
            return image
        if torch.rand(()) < 0.5:
            return image
        index = int(torch.randint(self.size, ()))
        older, self.images[index] = self.images[index], image.clone()
        return older

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"images": torch.stack(self.images) if self.images else torch.empty(0)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.images = list(state["images"])
