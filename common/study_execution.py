"""Run a study's stages through Snakemake (scripts/Snakefile), on this machine or by a profile on a cluster."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from .stage_state import attempt_of, finished_stages, log_of, state_of
from .study import Stage

__all__ = ["execute", "last_words", "marker", "snakemake_command"]

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ROOT / "scripts" / "profiles"
THREADS_OF_A_JOB = 4  # on a cluster, unless the profile says otherwise
POLL_SECONDS = 0.5
STOP_SECONDS = 60


def marker(stage: Stage | None = None, folder: str | Path = "", kind: str = "") -> str:
    """The empty file by which Snakemake knows that a stage is done; without a stage, the pattern of a kind."""
    slug, kind = (stage.slug, stage.kind) if stage else ("{slug}", kind)
    return str(Path(folder) / "attempts" / "done" / kind / slug)


def execute(stages: Sequence[Stage], folder: str | Path, cores: int = 1, profile: str | None = None) -> None:
    """Run the stages that are not finished, each after those that it needs.

    A stage that fails stops those that need it, and no others. Ctrl-C stops all; what is finished stays.

    Args:
        stages: of the study that `folder`/study.json holds.
        folder: of the study; a stage prints into `logs/STAGE.log`, Snakemake into `logs/snakemake.log`.
        cores: stages at a time on this machine; each is given its share of the machine's cores.
        profile: a folder of scripts/profiles, or the path of one; it says where stages run instead, and how many.

    Raises:
        ValueError: a stage failed; the message names it and its log. Or the study is being run already.
    """
    folder = Path(folder)
    place = _profile_folder(profile) if profile else None
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with _only_run(folder) as lock:
        done = _mark_finished(stages, folder)
        if len(done) == len(stages):
            return
        command = snakemake_command(folder, cores, place)
        with open(folder / "logs" / "snakemake.log", "a") as log:
            begins = log.tell()
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, pass_fds=[lock], cwd=folder
            )  # fmt: skip
            _watch(process, stages, folder)
    _refuse_failures(stages, folder, process.returncode, begins)


def snakemake_command(folder: Path, cores: int, place: Path | None) -> list[str]:
    """The command that runs a study that was begun; to be started in its folder. Writes the file that it reads."""
    threads = THREADS_OF_A_JOB if place else max(1, (os.cpu_count() or 1) // cores)
    config = folder / "attempts" / "snakemake.json"
    config.parent.mkdir(exist_ok=True)
    paths = {"root": str(ROOT), "cwd": os.getcwd(), "out": str(folder), "folder": str(folder.resolve())}
    # Snakemake's scheduler starts more stages than --cores has room for (9.15.0), so that stages wait for a slot here.
    config.write_text(json.dumps(paths | {"threads": threads, "slots": 0 if place else cores}))
    where = ["--profile", str(place)] if place else ["--cores", str(cores * threads)]
    # What is finished is told by the markers alone, which are made from stages.jsonl: no locks or books of Snakemake's.
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "scripts" / "Snakefile"),
        "--configfile", str(config.resolve()), "--keep-going", "--nolock", "--ignore-incomplete",
        "--rerun-triggers", "mtime", "--scheduler", "greedy", *where,
    ]  # fmt: skip


def _profile_folder(profile: str) -> Path:
    known = sorted(path.name for path in PROFILES.iterdir() if path.is_dir())
    for place in (Path(profile), PROFILES / profile):
        if list(place.glob("config*.yaml")):
            return place.resolve()
    raise ValueError(
        f"--profile {profile}: no folder with a config.yaml; known: {', '.join(known)} (scripts/profiles)."
    )


@contextmanager
def _only_run(folder: Path) -> Iterator[int]:
    """Hold the study's lock; its descriptor. Snakemake inherits it, so that it outlives a killed parent."""
    (folder / "attempts").mkdir(exist_ok=True)
    path = folder / "attempts" / "run.lock"
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{folder} is being run already, by {file.read().strip() or 'another process'}. Look at it with "
                f"`python -m scripts.study status --out {folder}`; wait for it, or stop it first."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield file.fileno()


def _mark_finished(stages: Sequence[Stage], folder: Path) -> set[str]:
    """Make Snakemake's markers tell what stages.jsonl tells, which alone counts."""
    done = set(finished_stages(folder))
    for stage in stages:
        path = Path(marker(stage, folder))
        if stage.name in done:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.unlink(missing_ok=True)
    return done & {stage.name for stage in stages}


def _watch(process: subprocess.Popen, stages: Sequence[Stage], folder: Path) -> None:
    """Show how far it is until Snakemake ends; stop it with us."""
    by_slug = {stage.slug: stage for stage in stages}
    try:
        with tqdm(total=len(stages), desc="stages", unit="stage", dynamic_ncols=True) as bar:
            while True:
                ended = process.poll() is not None
                done = finished_stages(folder)
                moved = bar.n != (number := sum(stage.name in done for stage in stages))
                bar.n = number
                tried = [by_slug.get(path.stem) for path in (folder / "attempts").glob("*.json")]
                running = [stage for stage in tried if stage and state_of(stage, folder, done) == "running"]
                shown = ", ".join(stage.name for stage in running)
                if len(running) == 1:
                    shown = f"{shown}: {last_words(log_of(running[0], folder))[:60]}"
                bar.set_postfix_str(shown, refresh=False)
                if moved or sys.stderr.isatty():  # a log gets a line for each stage, not for each look at it
                    bar.refresh()
                if ended:
                    return
                time.sleep(POLL_SECONDS)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """End Snakemake and the stages that it started here; it cancels those on a cluster itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _refuse_failures(stages: Sequence[Stage], folder: Path, code: int, begins: int) -> None:
    done = finished_stages(folder)
    left = [stage for stage in stages if stage.name not in done]
    if not left:
        return
    broken = [stage for stage in left if set(stage.needs) <= set(done)]
    complaint = f"it did not start. {_complaint(folder / 'logs' / 'snakemake.log', begins)}"
    said = []
    for stage in broken:
        log, attempt = log_of(stage, folder), attempt_of(stage, folder)
        why = (attempt or {}).get("error") or (last_words(log) if log.is_file() else complaint)
        said.append(f"{log}: {why}")
    raise ValueError(
        f"{len(left)} of {len(stages)} stages could not be run (Snakemake: {folder}/logs/snakemake.log, exit code "
        f"{code}). These failed:\n" + "\n".join(said)
    )


def _complaint(log: Path, begins: int) -> str:
    """What Snakemake itself said was wrong, such as that a cluster does not take jobs; from `begins` of its log on."""
    lines = [line.strip() for line in log.read_bytes()[begins:].decode(errors="replace").splitlines()]
    told = [line.removeprefix("message: ") for line in lines if line.startswith("message: ")]
    return next((line for line in told if line != "None"), "")


def last_words(log: Path) -> str:
    """The last line of a log, or of a progress bar in it, that holds something."""
    if not log.is_file():
        return ""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else ""
