"""Pictures of what a network makes, so that a user sees the training and not only its curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from ignite.engine import Engine, Events

__all__ = ["Samples"]


class Samples:
    """Write the panels that a validation step leaves in `engine.state.panels` as samples/epoch_NNNN.png.

    Panels are rows of {title: 2D array, first axis left to right, second back to front}.

    Args:
        output_dir: run folder.
        interval: write every so many validations.
        spacing: mm of a pixel along the two axes, for the right proportions.
    """

    def __init__(self, output_dir: str, interval: int = 1, spacing: tuple[float, float] = (1.0, 1.0)):
        self.folder, self.interval, self.aspect = Path(output_dir) / "samples", interval, spacing[1] / spacing[0]
        self._calls = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _draw(self, engine: Engine) -> None:
        rows = getattr(engine.state, "panels", None)
        self._calls += 1
        if not rows or engine.state.rank or (self._calls - 1) % self.interval:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        figure, axes = plt.subplots(
            len(rows), len(rows[0]), figsize=(2.4 * len(rows[0]), 2.8 * len(rows)), squeeze=False, layout="constrained"
        )
        for line, panels in zip(axes, rows, strict=True):
            for axis, (title, (pixels, low, high, colours)) in zip(line, panels.items(), strict=True):
                axis.imshow(pixels.T, origin="lower", cmap=colours, vmin=low, vmax=high, aspect=self.aspect)
                axis.set_title(title, fontsize=8)
                axis.axis("off")
        figure.savefig(self.folder / f"epoch_{engine.state.epoch:04d}.png", dpi=90)
        plt.close(figure)
