"""What a released bundle must do by itself: run by `verify_release` in a process that knows nothing of this repository.

    python -I checks.py BUNDLE SCHEMA DATA

SCHEMA and DATA may be empty.

Prints one line of JSON per check: its name, and what is wrong (empty if nothing is).
"""

import copy
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

FILES = (
    "LICENSE", "configs/metadata.json", "configs/inference.json", "configs/train.json", "configs/evaluate.json",
    "configs/multi_gpu_train.json", "configs/logging.conf", "configs/provenance.json", "models/model.pt",
    "models/settings.json", "docs/README.md", "docs/data_license.txt", "scripts/__init__.py",
)  # fmt: skip
TOLERANCE = 1e-4  # of the largest value of an answer that is above 1: logits of a trained network reach 10 and more
DATA = sys.argv[3] if len(sys.argv) > 3 else ""


def nothing_of_the_repository(bundle, schema):
    assert importlib.util.find_spec("common") is None, "common can be imported"
    loaded = [name for name in sys.modules if name == "common" or name.startswith("common.")]
    assert not loaded, f"loaded: {loaded}"


def files(bundle, schema):
    missing = [file for file in FILES if not (bundle / file).is_file()]
    assert not missing, f"missing: {missing}"
    large = [str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file() and p.stat().st_size > 25 * 2**20]
    assert not large or (bundle / "large_files.yml").is_file(), f"over 25 MB and not in large_files.yml: {large}"
    links = [link for link in ("../", "bundles/") if f"]({link}" in (bundle / "docs/README.md").read_text()]
    assert not links, f"docs/README.md links outside the bundle: {links}"


def version_and_schema(bundle, schema):
    import jsonschema

    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"], "the changelog lacks the version"
    if schema:
        jsonschema.validate(metadata, json.loads(Path(schema).read_text()))


def weights(bundle, schema):
    import torch

    content = torch.load(bundle / "models/model.pt", map_location="cpu", weights_only=True)
    assert set(content) == {"model"}, f"model.pt holds {sorted(content)}"
    digest = hashlib.sha256((bundle / "models/model.pt").read_bytes()).hexdigest()
    provenance = json.loads((bundle / "configs/provenance.json").read_text())
    assert provenance["model_sha256"] == digest, "the weights are not those of provenance.json"


def parsed(bundle, name="inference"):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle / f"configs/{name}.json"))
    parser.read_meta(str(bundle / "configs/metadata.json"))
    parser.update({"bundle_root": str(bundle)})
    return parser


def network(bundle):
    import torch

    made = parsed(bundle).get_parsed_content("network_def").eval()
    state = torch.load(bundle / "models/model.pt", map_location="cpu", weights_only=True)["model"]
    assert set(state) == set(made.state_dict()), "the network of inference.json has other keys than the weights"
    made.load_state_dict(state, strict=True)
    return made


def example(bundle):
    import torch

    given = json.loads((bundle / "configs/metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    shape = [int(str(edge).replace("*n", "")) for edge in given["spatial_shape"]]
    return torch.rand(2, given["num_channels"], *shape)


def network_and_torchscript(bundle, schema):
    import torch

    made, batch = network(bundle), example(bundle)
    with torch.no_grad():
        answer = made(batch)
        assert torch.equal(copy.deepcopy(made)(batch), answer), "a copy answers otherwise"
        scripted, bound = torch.jit.script(made), TOLERANCE * max(1.0, float(answer.abs().max()))
        assert (scripted(batch) - answer).abs().max() < bound, "TorchScript answers otherwise"
        assert (made(batch[:1]) - answer[:1]).abs().max() < bound, "an answer depends on the rest of the batch"


def network_in_and_out(bundle, schema):
    from monai.bundle import verify_net_in_out

    configs = bundle / "configs"
    verify_net_in_out("network_def", str(configs / "metadata.json"), str(configs / "inference.json"))


def properties(bundle, schema):
    """With a data set as MONAI's check_properties; without one, whether all required ids are there."""
    from monai.bundle import ConfigWorkflow
    from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties

    if not DATA:
        for file, wanted in (("train", TrainProperties), ("inference", InferProperties)):
            parser = parsed(bundle, file)
            needed = {**wanted, **MetaProperties}.values()
            missing = [one["id"] for one in needed if one["required"] and one["id"] not in parser]
            assert not missing, f"{file}.json lacks {missing}"
        return
    for kind, file in (("train", "train"), ("infer", "inference")):
        workflow = ConfigWorkflow(
            str(bundle / f"configs/{file}.json"),
            meta_file=str(bundle / "configs/metadata.json"),
            logging_file=False,
            workflow_type=kind,
            dataset_dir=DATA,
        )
        workflow.initialize()
        missing = workflow.check_properties()
        assert not missing, f"{file}.json lacks {missing}"


def processing_from_elsewhere(bundle, schema):
    parser, before = parsed(bundle), os.getcwd()
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chdir(elsewhere)
        try:
            for name in ("preprocessing", "postprocessing"):
                if name in parser:
                    parser.get_parsed_content(name)
        finally:
            os.chdir(before)


def every_target_is_there(bundle, schema):
    import importlib

    names = set()
    for path in (bundle / "configs").glob("*.json"):
        names |= {
            value
            for value in targets(json.loads(path.read_text()))
            if value.startswith("scripts.")
        }  # fmt: skip
    for name in sorted(names):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), f"{name} is not there"


def packages_are_named(bundle, schema):
    """Whoever installs what the metadata names can import the bundle's code."""
    import ast
    from importlib.metadata import packages_distributions

    modules = set()
    for path in (bundle / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module)
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    named = {"monai", "torch", "numpy"} | {name.lower() for name in metadata["required_packages_version"]}
    providers = packages_distributions()
    outside = {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"scripts"}
    missing = sorted(name for name in outside if not {one.lower() for one in providers.get(name, [name])} & named)
    assert not missing, f"imported, but not in required_packages_version: {missing}"


def targets(content):
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "_target_":
                yield value
            else:
                yield from targets(value)
    elif isinstance(content, list):
        for value in content:
            yield from targets(value)


CHECKS = (
    files, nothing_of_the_repository, version_and_schema, weights, packages_are_named, every_target_is_there,
    network_and_torchscript, network_in_and_out, properties, processing_from_elsewhere, nothing_of_the_repository,
)  # fmt: skip


def main():
    bundle = Path(sys.argv[1]).resolve()
    schema = sys.argv[2] or None
    sys.path.insert(0, str(bundle))
    os.chdir(bundle)
    for check in CHECKS:
        wrong = ""
        try:
            check(bundle, schema)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            wrong = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        print(json.dumps({"check": check.__name__, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    main()
