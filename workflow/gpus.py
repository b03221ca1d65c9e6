"""The GPUs of this machine, and one of them, or a share of one, for each training: the kernel's locks say which are taken, whoever takes them."""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARE = "EHANET_GPU_SHARE"  # tells the steps' processes how many trainings share a GPU


def find_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES allows, else the numbers that nvidia-smi lists, else ["mps"] on a Mac; importing torch would take seconds."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [gpu.strip() for gpu in allowed.split(",") if gpu.strip() not in ("", "-1")]
    if sys.platform == "darwin":
        return ["mps"]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))] if listed.returncode == 0 else []


def gpu_share() -> int:
    """Trainings that each GPU takes side by side."""
    return int(os.environ.get(SHARE) or 1)


@contextmanager
def one_gpu(wait: float = 2.0) -> Iterator[str | None]:
    """Take a free GPU of this machine for the block, waiting for one where none is; None where there is no GPU.

    One GPU alone is not locked: a batch system gives each job its own under the same number. Where GPUs are shared, a free place on one, the first places of all of them first. CUDA_VISIBLE_DEVICES names it to the processes started in the block. A killed holder's lock is free at once.
    """
    gpus = find_gpus()
    if len(gpus) < 2:
        yield gpus[0] if gpus else None
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    while True:
        for place, gpu in itertools.product(range(gpu_share()), gpus):
            with open(Path(tempfile.gettempdir(), f"ehanet-{os.getuid()}-gpu-{gpu.replace('/', '-')}{f'-{place}' if place else ''}.lock"), "a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                try:
                    yield gpu
                finally:
                    os.environ.pop("CUDA_VISIBLE_DEVICES") if before is None else os.environ.update(CUDA_VISIBLE_DEVICES=before)
                return
        time.sleep(wait)
