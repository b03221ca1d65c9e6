"""The smoke profile as jobs of a real Slurm with one node, this machine: ``make test-slurm``."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIG = Path("/etc/slurm/slurm.conf")  # a job does not inherit SLURM_CONF
MARK = "# written by tests/test_slurm.py"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo")


def why_not() -> str | None:
    """Why a Slurm cannot be started here."""
    if not os.environ.get("EHANET_TEST_SLURM"):
        return "starts daemons as root: run it by make test-slurm"
    if missing := [name for name in PROGRAMS if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") is None]:
        return f"{', '.join(missing)} not installed (Debian: apt install slurm-wlm munge)"
    if os.geteuid():
        return "needs root for munged and slurmd"
    if CONFIG.exists() and MARK not in CONFIG.read_text():
        return f"{CONFIG} belongs to a Slurm that is set up here"
    return None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """munged, slurmctld and slurmd in the foreground; stopped at the end, the configuration removed."""
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    CONFIG.write_text(f"""{MARK}
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=16000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
""")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    if not Path("/etc/munge/munge.key").exists():
        subprocess.run(["mungekey", "--create"], check=True)
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    commands = [["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--foreground", "--force"], ["/usr/sbin/slurmctld", "-D"], ["/usr/sbin/slurmd", "-D"]]
    started = []
    try:
        for command in commands:
            log = open(folder / f"{Path(command[-2]).name}.log", "w")
            started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
            time.sleep(2)
        deadline = time.monotonic() + 60
        while "idle" not in subprocess.run(["sinfo", "-h"], capture_output=True, text=True).stdout:
            assert time.monotonic() < deadline, "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
            time.sleep(1)
        yield folder
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(20)
        CONFIG.unlink()


def test_the_smoke_profile_runs_as_jobs(slurm, tmp_path):
    for name in ("ehanet", "workflow", "notebooks", "config"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    options = "--slurm-keep-successful-logs --slurm-status-command squeue --seconds-between-status-checks 5 --set-threads train=1 --set-resources train:gpu=0 evaluate:gpu=0 " + " ".join(
        f"{kind}:mem_mb=2000" for kind in ("data", "train", "evaluate", "compare", "pictures", "report"))
    command = [sys.executable, "-m", "workflow.paper", "run", "--profile", "smoke", "--executor", "slurm", "--partition", "all", "--slurm", options]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Done. The report: reports/smoke/index.html" in done.stdout
    assert len(list((tmp_path / "runs/smoke/.steps").rglob("*.json"))) == 7
    logs = list((tmp_path / ".snakemake" / "slurm_logs").rglob("*.log"))
    assert len(logs) >= 7, "each step was a job of Slurm"
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Nothing to run: all 7 steps" in again.stdout
