"""A folder that MONAI Label serves: released bundles and the app that runs them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

__all__ = ["make_app"]

PROGRAM = Path(__file__).with_name("server_app.py")


def make_app(bundles: Sequence[str], dist: str | Path, out: str | Path) -> Path:
    """Copy released bundles and the app into a new folder. Trainings change the copies, never DIST.

    Args:
        bundles: names of folders in `dist`.
        dist: where `scripts.package release` wrote them.
        out: folder to make.

    Returns:
        `out`.

    Raises:
        FileNotFoundError, ValueError: no such release, or one that cannot be served; `out` is there already.
    """
    dist, out = Path(dist), Path(out)
    if out.exists():
        raise ValueError(f"{out}: is there already and is not overwritten: it may hold trained weights.")
    if not bundles:
        raise ValueError("--bundles is empty; expected names of released bundles, such as stroke_unet.")
    if twice := sorted({name for name in bundles if list(bundles).count(name) > 1}):
        raise ValueError(f"--bundles names {', '.join(twice)} twice.")
    for name in bundles:
        _refuse_unservable(dist, name)
    building = out.with_name(f".{os.getpid()}.{out.name}")
    shutil.rmtree(building, ignore_errors=True)
    for name in bundles:
        shutil.copytree(dist / name, building / "model" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(PROGRAM, building / "main.py")
    building.replace(out)
    return out


def _refuse_unservable(dist: Path, name: str) -> None:
    if Path(name).name != name:
        raise ValueError(f"--bundles {name}: is no name of a bundle; --dist says which folder they are in.")
    bundle = dist / name
    lacking = [file for file in ("configs/provenance.json", "models/model.pt") if not (bundle / file).is_file()]
    if lacking:
        there = sorted(path.parents[1].name for path in dist.glob("*/configs/provenance.json"))
        raise FileNotFoundError(
            f"{bundle}: is no released bundle, it has no {' and no '.join(lacking)}. {dist} holds "
            f"{', '.join(there) or 'none'}; `python -m scripts.package release {name}` makes one."
        )
    inputs = json.loads((bundle / "configs" / "metadata.json").read_text())["network_data_format"]["inputs"]
    if not inputs["image"]["spatial_shape"]:
        raise ValueError(f"{bundle}: draws from noise, but a server is sent an image. `scripts.synthesize masks` does.")
