"""Release trained bundles, and check them as the model zoo does (docs/publishing.md).

python -m scripts.package release stroke_unet --model runs/stroke_unet --out dist
python -m scripts.package verify dist/stroke_unet
"""

from __future__ import annotations

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

    found = verify_release(bundle, schema, data)
    for check, wrong in found.items():
        print(f"{'WRONG' if wrong else 'ok':6s} {check.replace('_', ' ')}{': ' if wrong else ''}{wrong}")
    sys.exit(1 if any(found.values()) else 0)


if __name__ == "__main__":
    run_command({"release": release, "verify": verify})
