"""A released bundle as a pull request to the model zoo wants it, and in a repository of Hugging Face."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from .release import LARGEST_IN_GIT
from .verify import verify_release

__all__ = ["publish_folder", "upload"]

REPO = re.compile(r"[\w.-]+/[\w.-]+")
ZOO_TEST = Path(__file__).with_name("zoo_test.py")
LATEST = "latest_version"  # what `monai.bundle download` takes if no version is asked for
REQUEST = """# {title}, version {version}

{description}

* Released from commit {commit}; `models/{name}/configs/provenance.json` has the training and the weights' SHA-256.
* Performance: {performance}.
* Licence of the data: `models/{name}/docs/data_license.txt`.
* Weights: {weights}.

Checked in a process with nothing but the bundle:
{checks}
"""


def publish_folder(
    name: str, dist: str | Path, out: str | Path, hub: str | None = None, schema: str | Path | None = None
) -> Path:
    """Write what a pull request to the model zoo adds: OUT/models/NAME, its unit test, and its text.

    The test is OUT/ci/unit_tests/test_NAME.py, the text OUT/PULL_REQUEST.md.

    Args:
        name: of a released bundle.
        dist: folder that `release_bundle` wrote it to.
        out: folder to make.
        hub: repository OWNER/NAME at Hugging Face from which weights over 25 MB are downloaded.
        schema: MONAI's metadata schema; None: the environment's META_SCHEMA, else that check is left out.

    Raises:
        FileNotFoundError, ValueError: no such release, it does not pass its checks, weights too large for git and no
            repository for them; OUT is there already.
    """
    bundle, out = Path(dist) / name, Path(out)
    if out.exists():
        raise ValueError(f"{out}: is there already and is not overwritten.")
    _refuse_bad_repository(hub)
    checks = verify_release(bundle, schema)
    if wrong := {check: text for check, text in checks.items() if text}:
        lines = "\n".join(f"  {check.replace('_', ' ')}: {text}" for check, text in wrong.items())
        raise ValueError(f"{bundle}: is not fit to be published:\n{lines}")
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    provenance = json.loads((bundle / "configs" / "provenance.json").read_text())
    large = (bundle / "models" / "model.pt").stat().st_size > LARGEST_IN_GIT
    if large and hub is None:
        raise ValueError(f"{bundle}: its weights are over 25 MB. Give --hub OWNER/NAME, where they will be downloaded.")

    building = out.with_name(f".{os.getpid()}.{out.name}")
    shutil.rmtree(building, ignore_errors=True)
    target = building / "models" / name
    shutil.copytree(bundle, target, ignore=_left_out)
    weights = "in the folder"
    if large:
        url = f"https://huggingface.co/{hub}/resolve/{metadata['version']}/models/model.pt"
        listed = target / "large_files.yml"
        listed.write_text(listed.read_text().replace('url: ""', f'url: "{url}"'))
        (target / "models" / "model.pt").unlink()
        weights = url
    tests = building / "ci" / "unit_tests"
    tests.mkdir(parents=True)
    (tests / f"test_{name}.py").write_text(ZOO_TEST.read_text().replace("BUNDLE_NAME", name))
    measured = metadata.get("performance")
    text = REQUEST.format(
        name=name, title=metadata["name"], version=metadata["version"], description=metadata["description"],
        commit=provenance["release"].get("commit", "unknown"), weights=weights,
        performance=json.dumps(measured) if measured else "not measured (`scripts.package release --results`)",
        checks="\n".join(f"* [x] {check.replace('_', ' ')}" for check in checks),
    )  # fmt: skip
    (building / "PULL_REQUEST.md").write_text(text)
    building.replace(out)
    return out


def upload(name: str, dist: str | Path, hub: str, dry_run: bool = True) -> list[str]:
    """Upload a release, weights included, to Hugging Face, as its version; or list what would be.

    The repository is private when it is made here. Sign in before with `hf auth login`, or set HF_TOKEN.

    Args:
        name, dist: the release; what does not pass `publish_folder` should not come here.
        hub: repository OWNER/NAME; HF_ENDPOINT names another server.
        dry_run: nothing is sent.

    Returns:
        Lines for the user.

    Raises:
        FileNotFoundError, ValueError: no release, no huggingface_hub, or the repository has that version already.
    """
    bundle = Path(dist) / name
    _refuse_bad_repository(hub)
    version = json.loads((bundle / "configs" / "metadata.json").read_text())["version"]
    if dry_run:
        files = sorted(path for path in bundle.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        lines = [f"{path.stat().st_size:>12,} bytes  {path.relative_to(bundle)}" for path in files]
        return [
            *lines,
            f"would be {hub} at Hugging Face, version {version}. Nothing was sent; --dry_run False uploads.",
        ]
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ValueError("huggingface_hub is not there: pip install -r requirements-huggingface.txt") from error
    from monai.bundle import push_to_hf_hub

    hub_api = HfApi()
    tags = {tag.name for tag in hub_api.list_repo_refs(hub).tags} if hub_api.repo_exists(hub) else set()
    if version in tags:
        raise ValueError(f"{hub}: has version {version} already. Raise the version in the bundle's metadata.json.")
    if LATEST in tags:
        hub_api.delete_tag(hub, tag=LATEST)  # MONAI would leave it where it is
    with tempfile.TemporaryDirectory() as folder:  # MONAI writes a model card into what it uploads
        shutil.copytree(bundle, Path(folder) / name, ignore=_left_out)
        message = f"{name} {version}"
        push_to_hf_hub(hub, name, folder, version=version, tag_as_latest_version=True, commit_message=message)
    return [f"{hub_api.endpoint}/{hub}, version {version}"]


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


def _refuse_bad_repository(hub: str | None) -> None:
    if hub is not None and not REPO.fullmatch(hub):
        raise ValueError(f"--hub {hub}: expected a repository as OWNER/NAME.")
