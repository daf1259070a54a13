"""What became of a study's stages: which are done, running, failed or stopped, on whichever machine they ran.

STUDY/stages.jsonl has a line for each finished stage, and is what counts. STUDY/attempts/STAGE.json tells of the last
attempt at it, and the lock beside it is held while one goes on, so that a stage never runs twice at a time.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from .study import Stage

__all__ = ["attempt_of", "finished_stages", "log_of", "run_stage", "state_of"]


def finished_stages(folder: str | Path) -> dict[str, dict]:
    """{name: line of stages.jsonl} of the stages that ended well."""
    path = Path(folder) / "stages.jsonl"
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # the machine died while it was written: that stage goes on from its files
            continue
        found[entry["stage"]] = entry
    return found


@contextmanager
def _slot(folder: Path, slots: int) -> Iterator[None]:
    """Hold one of so many places of a study, as soon as one is free; 0: there is room for all."""
    (folder / "attempts").mkdir(parents=True, exist_ok=True)
    for number in itertools.cycle(range(slots)):
        with open(folder / "attempts" / f"slot{number}.lock", "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.2)
                continue
            yield
            return
    yield


def run_stage(stage: Stage, folder: str | Path) -> bool:
    """Run a stage unless it is finished; log its time and the process's peak memory. True if it ran.

    Waits where another process is at the same stage. What stops it is noted in its attempt, and raised.
    """
    folder = Path(folder)
    with _slot(folder, int(os.environ.get("STUDY_SLOTS", "0"))), _only_one(folder, stage):
        if stage.name in finished_stages(folder):
            return False
        before = attempt_of(stage, folder) or {}
        attempt = {
            "stage": stage.name, "began": _now(), "pid": os.getpid(), "host": socket.gethostname(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"), "number": before.get("number", 0) + 1,
        }  # fmt: skip
        _write(_attempt_path(folder, stage), attempt)
        start = time.monotonic()
        try:
            stage.run()
        except Exception as error:
            _write(_attempt_path(folder, stage), attempt | {"ended": _now(), "error": f"{error}" or repr(error)})
            raise
        seconds = round(time.monotonic() - start, 1)
        from .environment import peak_memory_gb

        line = {"stage": stage.name, "seconds": seconds, "peak_gb": round(peak_memory_gb(), 2)}
        if attempt["number"] > 1:  # of the last one alone: how long one went that was killed, nobody knows
            line["attempts"] = attempt["number"]
        _append(folder / "stages.jsonl", json.dumps(line) + "\n")
    return True


def state_of(stage: Stage, folder: str | Path, finished: dict[str, dict]) -> str:
    """ "done", "running", "failed", "stopped" (killed: the next run goes on with it) or "open"."""
    if stage.name in finished:
        return "done"
    attempt = attempt_of(stage, folder)
    if attempt is None:
        return "open"
    if _is_locked(_lock_path(Path(folder), stage)):
        return "running"
    return "failed" if "error" in attempt else "stopped"


def attempt_of(stage: Stage, folder: str | Path) -> dict | None:
    """The last attempt at a stage: began, pid, host, slurm_job, and error if it failed."""
    path = _attempt_path(Path(folder), stage)
    return json.loads(path.read_text()) if path.is_file() else None


def log_of(stage: Stage, folder: str | Path) -> Path:
    """Where a stage's output goes."""
    return Path(folder) / "logs" / f"{stage.slug}.log"


def _attempt_path(folder: Path, stage: Stage) -> Path:
    return folder / "attempts" / f"{stage.slug}.json"


def _lock_path(folder: Path, stage: Stage) -> Path:
    return folder / "attempts" / f"{stage.slug}.lock"


@contextmanager
def _only_one(folder: Path, stage: Stage) -> Iterator[None]:
    path = _lock_path(folder, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{stage.name}: another process is at it; waiting for it ({attempt_of(stage, folder)}).", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_locked(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _append(path: Path, line: str) -> None:
    """Add a line whole, also where several machines write over a network."""
    with open(path, "ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a machine died while it wrote the line before
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def _write(path: Path, content: dict) -> None:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
