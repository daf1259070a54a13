"""A trained bundle as a folder that needs nothing of this repository."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from ..bundles import configs_of, read_settings, sha256
from ..environment import describe_environment
from ..results import metrics_table, read_results
from .vendor import needed_modules, rewrite_config, vendor

__all__ = ["release_bundle"]

ABSOLUTE_PATH = re.compile(r"(?<![\w./:-])/(?:[^/\s'\"]+/)*([^/\s'\"]+)/?")
LARGEST_IN_GIT = 25 * 2**20
NO_KNOBS = ("dataset_dir", "dataset")  # the settings' "dataset" is a hash, that of inference.json the data set itself
SIZE_OF_DATA = {"_target_": "scripts.common.datalists.size_of", "dataset_dir": "@dataset_dir"}


def release_bundle(name: str, model: str | Path, out: str | Path, results: str | Path | None = None) -> Path:
    """Write OUT/NAME: a bundle of the model zoo with weights, configs that build their network, and the code for it.

    Args:
        name: bundle of this repository.
        model: run folder of it.
        out: folder; OUT/NAME is made.
        results: RESULTS.csv of `scripts.evaluate` for this model, whose measures go into the metadata.

    Returns:
        OUT/NAME.

    Raises:
        FileNotFoundError, ValueError: no such bundle or run, a version that the changelog lacks, weights that
            hold more than tensors, results of another model; OUT/NAME is there already.
    """
    model, target = Path(model), Path(out) / name
    source = configs_of(name).parent
    if target.exists():
        raise ValueError(f"{target}: is there already and is not overwritten.")
    run = _without_paths(read_settings(model))
    if run["bundle"] != name:
        raise ValueError(f"{model}: holds a run of {run['bundle']}, not of {name}.")
    metadata = json.loads((source / "configs" / "metadata.json").read_text())
    if metadata["version"] not in metadata["changelog"]:
        raise ValueError(f"{source / 'configs/metadata.json'}: its changelog lacks version {metadata['version']}.")
    weights = model / "model.pt"
    _refuse_bad_weights(weights)
    digest = sha256(weights)
    performance = _measured(results, digest)
    building = target.with_name(f".{os.getpid()}.{name}")
    shutil.rmtree(building, ignore_errors=True)
    (building / "models").mkdir(parents=True)

    # 1. Configs with the knobs that make the network, and the code that they name. How it was trained is provenance.
    texts = {path.name: path.read_text() for path in sorted((source / "configs").glob("*.json"))}
    given = json.loads(texts["inference.json"])
    knobs = {key: value for key, value in run["settings"].items() if key in given and key not in NO_KNOBS}
    vendor(needed_modules(texts.values()), building / "scripts" / "common")
    (building / "configs").mkdir()
    for file, text in texts.items():
        content = json.loads(rewrite_config(text))
        if file in ("train.json", "inference.json", "served.json"):
            content |= {key: value for key, value in knobs.items() if key in content and content[key] != SIZE_OF_DATA}
        if file == "inference.json":
            content["run_dir"] = "$@bundle_root + '/models'"
            content["output_dir"] = "predictions"
        (building / "configs" / file).write_text(json.dumps(content, indent=4) + "\n")
    shutil.copyfile(source / "configs" / "logging.conf", building / "configs" / "logging.conf")

    # 2. Weights and where they come from.
    shutil.copyfile(weights, building / "models" / "model.pt")
    (building / "models" / "settings.json").write_text(
        json.dumps({"bundle": name, "settings": run["settings"]}, indent=1)
    )
    provenance = {"bundle": name, "version": metadata["version"], "model_sha256": digest, "settings": run["settings"]}
    trained = model / "environment.json"
    provenance["training"] = _without_paths(json.loads(trained.read_text())) if trained.is_file() else None
    provenance["release"] = describe_environment()
    provenance["release"].pop("command")
    (building / "configs" / "provenance.json").write_text(json.dumps(provenance, indent=4) + "\n")
    if weights.stat().st_size > LARGEST_IN_GIT:
        lines = ['  - path: "models/model.pt"', '    url: ""', f'    hash_val: "{digest}"', '    hash_type: "sha256"']
        (building / "large_files.yml").write_text("\n".join(["large_files:", *lines, ""]))

    # 3. What it says of itself.
    metadata = _described(metadata, building) | performance
    (building / "configs" / "metadata.json").write_text(json.dumps(metadata, indent=4) + "\n")
    shutil.copyfile(source / "LICENSE", building / "LICENSE")
    _copy_docs(source / "docs", building / "docs", name)
    building.replace(target)
    return target


def _without_paths(content):
    """JSON content in which absolute paths, which tell of a machine and its user, are down to their last part."""
    if isinstance(content, dict):
        return {key: _without_paths(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_paths(value) for value in content]
    return ABSOLUTE_PATH.sub(r"\1", content) if isinstance(content, str) else content


def _refuse_bad_weights(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there. Let the training finish its first epochs.")
    content = torch.load(path, map_location="cpu", weights_only=True)
    others = [key for key, value in content.get("model", {}).items() if not isinstance(value, torch.Tensor)]
    if set(content) != {"model"} or others:
        raise ValueError(
            f"{path}: expected tensors under 'model' and nothing else; found {sorted(content)}, {others[:3]}."
        )


def _described(metadata: dict, building: Path) -> dict:
    """Metadata with the shapes of this network."""
    parser = ConfigParser()
    parser.read_config(str(building / "configs" / "inference.json"))
    size = parser.get("size")
    formats = metadata["network_data_format"]
    for part in (*formats["inputs"].values(), *formats["outputs"].values()):
        shape = part["spatial_shape"]
        # An instance norm needs more than one voxel, so that its network takes no shape as small as its halvings allow.
        fixed = all(isinstance(edge, int) for edge in shape) or parser.get("instance_norm")
        if size and shape and fixed:
            part["spatial_shape"] = list(size[: len(shape)])
    return metadata


def _measured(results: str | Path | None, digest: str) -> dict:
    """{"performance": ...} from a RESULTS.csv, {} without one."""
    if results is None:
        return {}
    header = json.loads(Path(results).with_suffix(".json").read_text())
    if header["model_sha256"] != digest:
        raise ValueError(f"{results}: was measured with other weights than these.")
    table = metrics_table(read_results(results))
    means = {str(name): round(float(mean), 4) for name, mean in table["mean"].droplevel("arm").items()}
    return {
        "performance": {
            "data": f"{header['cases']} {'simulated ' * header['simulated']}{header['split']} cases",
            "data_sha256": header["data_sha256"],
            **{metric: mean for metric, mean in means.items() if mean == mean},
        }
    }


def _copy_docs(source: Path, target: Path, name: str) -> None:
    """README, data licence and the pictures that the README shows; commands as they are from inside the bundle."""
    target.mkdir()
    text = (source / "README.md").read_text()
    for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        picture = (source / link).resolve()
        shutil.copyfile(picture, target / picture.name)
        text = text.replace(f"({link})", f"({picture.name})")
    text = re.sub(r"\[([^]]+)\]\((?!http)[^)]*\.md[^)]*\)", r"\1", text)  # pages that stay behind
    text = text.replace(f"bundles/{name}/", "").replace("From the root of the repository", "From the bundle's folder")
    before, heading, commands = text.partition("## MONAI Bundle Commands")
    commands = re.sub(r"^python -m scripts\..*\n", "", commands, flags=re.MULTILINE)  # of this repository
    text = before + heading + commands
    (target / "README.md").write_text(text)
    shutil.copyfile(source / "data_license.txt", target / "data_license.txt")
