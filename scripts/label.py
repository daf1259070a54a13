"""Serve released bundles to 3D Slicer and other clients of MONAI Label (docs/serving.md).

python -m scripts.label app --bundles stroke_unet,pix2pix_itm --dist dist --out app
python -m scripts.label serve --app app --studies images
"""

from __future__ import annotations

import os

from common.command_line import run_command


def app(bundles: str, dist: str, out: str) -> None:
    """Make the folder that MONAI Label serves, from released bundles.

    Args:
        bundles: their names, with commas between.
        dist: folder that `scripts.package release` wrote them to.
        out: folder to make.
    """
    from common.serving.app_folder import make_app

    print(make_app([name.strip() for name in bundles.split(",") if name.strip()], dist, out))


def serve(app: str, studies: str, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Start MONAI Label's server, until Ctrl-C. Submitted labels go to STUDIES/labels, trained weights into APP.

    Args:
        app: folder that `scripts.label app` made.
        studies: folder of NIfTI images, or of an earlier session.
        host: 127.0.0.1 can be reached from this machine only; there is no password.
        port: to listen on.
    """
    from common.serving.server import server_command, server_environment

    command = server_command(app, studies, host, port)
    os.execve(command[0], command, server_environment())


if __name__ == "__main__":
    run_command({"app": app, "serve": serve})
