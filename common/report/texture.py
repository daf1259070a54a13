"""Texture on the page: grain and flicker of synthetic images beside those of the images that they stand for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..texture import FREQUENCIES, Texture, texture_ratios, textures
from . import figures
from .folder import Section, StudyFolder, Table

__all__ = ["texture"]

MOST_CASES = 30  # per set: the spread between cases is small


def texture(study: StudyFolder, section: Section) -> None:
    """Noise level, power spectrum and steps between slices, of each synthetic set against the real images."""
    sets = {study.real_word: textures(study.data.select("training", has_lesion=True)[:MOST_CASES])}
    for name, dataset in study.synthetic_sets.items():
        sets[name] = textures(dataset.select("training")[:MOST_CASES])
    sets = {
        name: [entry for entry in found if all(np.isfinite(values).all() for values in entry)]
        for name, found in sets.items()
    }
    section.missing += [
        f"texture of {name}: no anatomy with enough tissue" for name, found in sets.items() if not found
    ]
    sets = {name: found for name, found in sets.items() if found}
    if study.real_word not in sets or len(sets) < 2:
        return
    means = {name: _mean(found) for name, found in sets.items()}
    ratios = {name: texture_ratios(means[name], means[study.real_word]) for name in sets if name != study.real_word}
    section.numbers = {
        **{name: {"n": len(sets[name]), **mean._asdict()} for name, mean in means.items()},
        "share": ratios,
        "frequencies": FREQUENCIES,
    }
    rows = [
        [name, str(len(sets[name])), f"{mean.noise:.3f}", *(f"{np.sqrt(part.mean()):.3f}" for part in _halves(mean)),
         f"{mean.steps:.3f}"]
        for name, mean in means.items()
    ]  # fmt: skip
    for name, ratio in ratios.items():
        rows.append([f"{name} share", "", *(f"{ratio[key]:.2f}" for key in ("noise", "coarse", "fine", "steps"))])
    section.tables.append(
        Table(
            "Texture inside the tissues, in units of the images (range 2)",
            ["set", "cases", "noise", "coarse", "fine", "steps"],
            rows,
            "Noise: white matter, from what no smooth image has. Coarse, fine: amplitude of the slower and the faster "
            "half of the spectrum. Steps: mean difference of neighbouring slices after averaging in the plane; a share "
            "above 1 means that slices flicker.",
        )
    )
    study.draw(
        section,
        figures.spectra(FREQUENCIES, {name: np.stack([t.power for t in found]) for name, found in sets.items()},
                        {name: [t.steps for t in found] for name, found in sets.items()}, study.set_colours),
        "texture",
        "Texture: power spectrum in the plane, and steps between slices",
        "Training cases with a lesion. Left: power inside the tissues, less their mean and shading; white noise would "
        "be a level line at its variance; lines are means, bands quartiles over cases. A translator paints what can be "
        "predicted, and grain cannot. Right: how far tissue steps from one slice to the next.",
        pd.DataFrame(
            [{"set": name, "steps": case.steps, **dict(zip((f"power at {f:.3f}" for f in FREQUENCIES), case.power))}
             for name, found in sets.items() for case in found]
        ),
    )  # fmt: skip


def _mean(found: list[Texture]) -> Texture:
    return Texture(*(np.mean(values, axis=0) for values in zip(*found)))


def _halves(mean: Texture) -> list[np.ndarray]:
    return [mean.power[: len(FREQUENCIES) // 2], mean.power[len(FREQUENCIES) // 2 :]]
