"""A SLURM of one node, started from Debian's packages and stopped again: what a test of clusters runs on."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from real_components import lack

CONFIG = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
KillWait=5
NodeName={host} CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PLACE = Path("/etc/slurm/slurm.conf")  # where the inner srun of a job looks
WAIT_SECONDS = 60


@contextmanager
def slurm_node(folder: Path) -> Iterator[None]:
    """Munge, slurmctld and slurmd, for as long as the block lasts. Only daemons started here are stopped."""
    if missing := [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]:
        lack(f"there is no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge")
    if os.geteuid():
        lack("a SLURM of one's own needs root")
    if PLACE.exists() and "ClusterName=test" not in PLACE.read_text():
        lack(f"{PLACE} is another cluster's")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 3 // 4
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    PLACE.write_text(CONFIG.format(host=host, folder=folder, cpus=os.cpu_count(), memory=memory))
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    started = []
    try:
        if subprocess.run(["munge", "-n"], capture_output=True).returncode:
            started.append(subprocess.Popen(["runuser", "-u", "munge", "--", "munged", "--foreground"]))
            _until(lambda: subprocess.run(["munge", "-n"], capture_output=True).returncode == 0, "munge")
        started.append(subprocess.Popen(["slurmctld", "-D"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        started.append(subprocess.Popen(["slurmd", "-D"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        _until(lambda: "idle" in _said("sinfo", "-h", "-o", "%T"), "an idle node")
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        PLACE.unlink()


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def _until(there, what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not there():
        if time.monotonic() > end:
            raise RuntimeError(f"no {what} after {WAIT_SECONDS} s")
        time.sleep(0.2)
