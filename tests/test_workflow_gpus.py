"""One training a GPU: counted by a nvidia-smi of our own, shared out by locks that end with their holder."""

import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from workflow import paper
from workflow.gpus import find_gpus, one_gpu

ROOT = Path(__file__).parents[1]


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: Test card (UUID: GPU-1)'\necho 'GPU 1: Test card (UUID: GPU-2)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


def hold(**environment) -> subprocess.Popen:
    """A process that takes a GPU, says which, and keeps it."""
    code = "import time\nfrom workflow.gpus import one_gpu\nwith one_gpu() as gpu: print(gpu, flush=True); time.sleep(60)"
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, stdout=subprocess.PIPE, text=True)


def test_gpus_are_counted_and_an_allowed_list_counts_more(two_gpus, monkeypatch):
    assert find_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert find_gpus() == ["3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_gpus() == []


def test_two_trainings_take_two_gpus_and_a_killed_one_gives_its_own_back(two_gpus):
    other = hold()
    assert other.stdout.readline() == "0\n"
    with one_gpu() as gpu:
        assert gpu == os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    other.kill()
    other.wait()
    with one_gpu() as gpu:
        assert gpu == "0"


def test_a_part_of_a_gpu_whose_name_has_slashes_is_taken(two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-1/1/0,MIG-GPU-1/2/0")
    with one_gpu() as gpu:
        assert gpu == os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-GPU-1/1/0"


def test_gpus_that_are_shared_take_a_training_each_before_any_takes_a_second(two_gpus):
    holders = []
    try:
        for gpu in ("0", "1", "0", "1"):
            holders.append(hold(EHANET_GPU_SHARE="2"))
            assert holders[-1].stdout.readline() == f"{gpu}\n"
        holders.append(hold(EHANET_GPU_SHARE="2"))
        assert not select.select([holders[-1].stdout], [], [], 4)[0], "there was no place for a fifth"
        holders[1].kill()
        assert holders[-1].stdout.readline() == "1\n"
    finally:
        for process in holders:
            process.kill()
            process.wait()


def test_snakemake_starts_as_many_trainings_as_gpus_have_places(two_gpus, monkeypatch):
    commands = []
    monkeypatch.setattr(paper.subprocess, "run", lambda command, **_: commands.append(command) or SimpleNamespace(returncode=0))
    monkeypatch.setattr(paper, "find_gpus", lambda: ["0", "1"])
    lock = SimpleNamespace(file=SimpleNamespace(fileno=lambda: 0))
    for share in ("1", "3"):
        monkeypatch.setenv("EHANET_GPU_SHARE", share)
        paper._snakemake(Path("plan.json"), 16, lock)
    assert [command[command.index("--resources") + 1] for command in commands] == ["gpu=2", "gpu=6"]
