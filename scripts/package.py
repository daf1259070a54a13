"""Release trained bundles, and check them as the model zoo does (docs/publishing.md).

python -m scripts.package release stroke_unet --model runs/stroke_unet --out dist
python -m scripts.package verify dist/stroke_unet
python -m scripts.package publish stroke_unet --dist dist --out pull_request --hub OWNER/NAME
python -m scripts.package export --model runs/stroke_unet --out exports/stroke_unet
"""

from __future__ import annotations

import os
import sys

from common.command_line import run_command


def release(name: str, model: str, out: str, results: str | None = None) -> None:
    """Write OUT/NAME: weights, configs, documents and the code for them; nothing of this repository is needed then.

    Args:
        name: bundle of this repository.
        model: run folder of it.
        out: folder that gets the bundle.
        results: RESULTS.csv of `scripts.evaluate` for this model, whose measures go into the metadata.
    """
    from common.packaging.release import release_bundle

    print(release_bundle(name, model, out, results))


def verify(bundle: str, schema: str | None = None, data: str | None = None) -> None:
    """Check a released bundle in a process that knows nothing of this repository; exits with 1 if something is wrong.

    Args:
        bundle: folder of the release.
        schema: MONAI's meta_schema_20240725.json, or the environment's META_SCHEMA; without it that check is left out.
        data: data set on the bundle's grid, with which the properties are built, not only looked for.
    """
    from common.packaging.verify import verify_release

    if not (schema or os.environ.get("META_SCHEMA")):
        print("left out: metadata against MONAI's schema; give --schema FILE or META_SCHEMA")
    found = verify_release(bundle, schema, data)
    for check, wrong in found.items():
        print(f"{'WRONG' if wrong else 'ok':6s} {check.replace('_', ' ')}{': ' if wrong else ''}{wrong}")
    sys.exit(1 if any(found.values()) else 0)


def publish(
    name: str, dist: str, out: str, hub: str | None = None, dry_run: bool = True, schema: str | None = None
) -> None:
    """Write what a pull request to the model zoo adds, and upload the bundle to Hugging Face if told so.

    Args:
        name: released bundle.
        dist: folder that `release` wrote it to.
        out: folder to make: models/NAME, ci/unit_tests/test_NAME.py and PULL_REQUEST.md.
        hub: repository OWNER/NAME at Hugging Face; weights over 25 MB are downloaded from there.
        dry_run: list what would be uploaded; --dry_run False uploads it.
        schema: MONAI's meta_schema_20240725.json, or the environment's META_SCHEMA; without it that check is left out.
    """
    from common.packaging.publish import publish_folder, upload

    print(publish_folder(name, dist, out, hub, schema))
    if hub:
        print("\n".join(upload(name, dist, hub, dry_run)))
    elif not dry_run:
        raise ValueError("--dry_run False uploads, but --hub OWNER/NAME does not say where to.")


def export(model: str, out: str) -> None:
    """Write TorchScript and ONNX of the segmenter or a translator, if they answer as the original does.

    Args:
        model: run folder.
        out: folder that gets model.ts, model.onnx and parity.json.
    """
    from common.packaging.export import export_run

    for form, measures in export_run(model, out).items():
        print(form, *(f"{key} {value:.3g}" for key, value in measures.items() if key != "sha256"))


if __name__ == "__main__":
    run_command({"release": release, "verify": verify, "publish": publish, "export": export})
