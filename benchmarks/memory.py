"""Peak memory of a training step, each way in a process of its own: what it held at most beyond what it held before the step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.timing import Ratio

BATCH = 8


def rows(device: torch.device, peaks: dict) -> list[Ratio]:
    """One line; megabytes in place of seconds."""
    used = {way: _apart(way, str(device)) for way in ("plain", "ours")}
    ratio = used["plain"] / used["ours"]
    return [Ratio("peak memory of a training step, encoder trained, batch 8", used["plain"], used["ours"], ratio, ratio, ratio, 1 / 0.6,
                  note=f"{used['plain'] / 1e6:.0f} MB and {used['ours'] / 1e6:.0f} MB; float32 leaves no room, bfloat16 does")]


def _apart(way: str, device: str) -> float:
    done = subprocess.run([sys.executable, "-m", "benchmarks.memory", way, device], check=True, capture_output=True, text=True,
                          cwd=Path(__file__).resolve().parent.parent)
    return float(done.stdout.split()[-1])


def measure(way: str, device: torch.device) -> float:
    """Bytes of one step of the plain way or of ours, in this process."""
    from benchmarks import training
    from ehanet.config import RunConfig
    from ehanet.devices import peak_memory
    from ehanet.data import load_dataset

    dataset = load_dataset("phantom-polyp", size=training.SIZE)
    config = RunConfig(batch_size=BATCH, size=training.SIZE, device=str(device))
    with tempfile.TemporaryDirectory() as folder:
        step = training.plain_step(dataset, config, device) if way == "plain" else training.our_step(dataset, config, Path(folder))
        before = peak_memory(device)
        step()
        return peak_memory(device) - before


if __name__ == "__main__":
    print(measure(sys.argv[1], torch.device(sys.argv[2])))
