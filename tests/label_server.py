"""MONAI Label's server, started from its own environment and stopped again, and its client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from real_components import lack

from common.serving.server import PYTHON, server_command, server_environment

CLIENT = Path(__file__).with_name("label_client.py")
WAIT_SECONDS = 120


class Client:
    """MONAI Label's own client (monailabel.client.MONAILabelClient), each call in a process of its environment."""

    def __init__(self, url: str, folder: Path, pid: int):
        self.url, self.folder, self.pid = url, folder, pid

    def __call__(self, method: str, *arguments, **named):
        """What the method returns; a refused request raises RuntimeError with what the server said."""
        given = json.dumps([method, arguments, named])
        command = [PYTHON, CLIENT, self.url, self.folder, given]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def train(self, model: str, **settings) -> dict:
        """Start a training and wait for its end."""
        self("train_start", model, settings)
        end = time.monotonic() + WAIT_SECONDS
        while (status := self("train_status"))["status"] in ("SUBMITTED", "RUNNING"):
            if time.monotonic() > end:
                raise RuntimeError(f"the training is still running after {WAIT_SECONDS} s: {status}")
            time.sleep(0.5)
        return status


@contextmanager
def label_server(app: Path, studies: Path, folder: Path) -> Iterator[Client]:
    """A server for as long as the block lasts. It and what it started end with it; its log is FOLDER/server.log."""
    if not PYTHON.is_file():
        lack(f"there is no {PYTHON}: make .venv-label/installed")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    log = folder / "server.log"
    environment = {**server_environment(), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with open(log, "w") as file:
        server = subprocess.Popen(
            server_command(app, studies, "127.0.0.1", port),
            stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True,
        )  # fmt: skip
    client = Client(f"http://127.0.0.1:{port}", folder, server.pid)
    try:
        _until_it_answers(server, f"{client.url}/info/", log)
        yield client
    finally:
        server.terminate()
        try:
            server.wait(20)
        finally:
            with suppress(ProcessLookupError):  # a training that it started; usually nothing is left
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _until_it_answers(server: subprocess.Popen, url: str, log: Path) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no server at {url}:\n{log.read_text()[-3000:]}") from None
            time.sleep(0.3)
