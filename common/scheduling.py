"""Run a study's stages as processes, several at a time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from .study import Stage, finished_stages

__all__ = ["run_together"]

POLL_SECONDS = 0.5


def run_together(stages: Sequence[Stage], folder: str | Path, cores: int, command: Callable[[str], list[str]]) -> None:
    """Run the stages that are not finished, `cores` at a time, each after those that it needs.

    A stage that fails stops those that need it, and no others. Ctrl-C stops all; what is finished stays.

    Args:
        stages: of the study, each after those that it needs.
        folder: of the study; a stage prints into `logs/STAGE.log`.
        cores: processes at a time; each is given its share of the machine's cores.
        command: the command line that runs the stage of a name.

    Raises:
        ValueError: a stage failed; the message names it and its log.
    """
    logs = Path(folder) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // cores))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    done = set(finished_stages(folder))
    waiting = [stage for stage in stages if stage.name not in done]
    running: dict[str, subprocess.Popen] = {}
    failed: set[str] = set()
    try:
        with tqdm(total=len(stages), initial=len(stages) - len(waiting), desc="stages", unit="stage") as bar:
            while waiting or running:
                for stage in list(waiting):
                    if failed & set(stage.needs):
                        failed.add(stage.name)
                        waiting.remove(stage)
                    elif len(running) < cores and done.issuperset(stage.needs):
                        waiting.remove(stage)
                        with open(_log(logs, stage.name), "a") as log:
                            running[stage.name] = subprocess.Popen(
                                command(stage.name), stdout=log, stderr=subprocess.STDOUT, env=environment
                            )
                if waiting and not running:
                    left = ", ".join(stage.name for stage in waiting)
                    raise ValueError(f"nothing can run, yet these wait for stages that do not exist: {left}.")
                bar.set_postfix_str(", ".join(running))
                for name, process in list(running.items()):
                    if process.poll() is not None:
                        del running[name]
                        (failed if process.returncode else done).add(name)
                        bar.update(process.returncode == 0)
                time.sleep(POLL_SECONDS)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    broken = [stage.name for stage in stages if stage.name in failed and done.issuperset(stage.needs)]
    if broken:
        said = "\n".join(f"{_log(logs, name)}: {_last_line(_log(logs, name))}" for name in broken)
        raise ValueError(f"{len(failed)} of {len(stages)} stages could not be run. These failed:\n{said}")


def _log(logs: Path, name: str) -> Path:
    return logs / f"{name.replace(' ', '_')}.log"


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
