"""Start-up by the wall: a step notebook beside an empty one, a second ``make paper``, and the way to the first optimizer step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import torch

from benchmarks.timing import Ratio, spread

ROOT = Path(__file__).resolve().parent.parent
EMPTY = "import torch, timm"
STEP = "from ehanet.config import RunConfig\nfrom ehanet.training import fit"  # what notebooks/steps/02_train.ipynb imports before it works
FIRST_STEP = """
import time
started = time.perf_counter()
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.training import Trainer
import torch
imported = time.perf_counter()
dataset = load_dataset("phantom-polyp", size=64)
trainer = Trainer(RunConfig(size=64, batch_size=8), dataset, {folder!r})
trainer.model.train()
indices = dataset.splits["train"][:8]
trainer.step(trainer.batch(indices, torch.Generator().manual_seed(0)))
print(imported - started, time.perf_counter() - imported)
"""


def rows(device: torch.device, peaks: dict) -> list[Ratio]:
    """The lines of this group; ``plain`` is the bound that the issue sets where there is nothing to compare with."""
    with tempfile.TemporaryDirectory() as folder:
        times = np.array([[_notebook(EMPTY, folder), _notebook(STEP, folder)] for _ in range(3)])
        empty, step = np.median(times, axis=0)
        ratio, low, high = spread(times)
        imports, first = np.median([_first_step(Path(folder) / str(run)) for run in range(3)], axis=0)
        return [
            Ratio("an empty notebook that imports torch and timm, over the training step's start", empty, step,
                  ratio, low, high, 1 / 1.3, note=f"the step takes {1 / ratio:.2f} of the empty one; at most 1.3 asked for"),
            Ratio("8 s, over the call of fit to the end of the first step", 8, first, *3 * [8 / first], 1,
                  note=f"EHANet at 64 px, data cached, nothing compiled; a process imports the package in {imports:.1f} s before"),
            _second_paper(Path(folder)),
        ]


def _notebook(code: str, folder: str) -> float:
    parameters = nbformat.v4.new_code_cell("nothing: int = 0", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)], metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}})
    path = Path(folder, "empty.ipynb")
    nbformat.write(notebook, path)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"from ehanet.steps import run_step; run_step({str(path)!r}, {{}}, {str(path.with_suffix('.out.ipynb'))!r})"], check=True, cwd=ROOT)
    return time.perf_counter() - started


def _first_step(folder: Path) -> list[float]:
    """Seconds of the imports of a fresh process, and from there to the end of its first optimizer step."""
    done = subprocess.run([sys.executable, "-c", FIRST_STEP.format(folder=str(folder))], check=True, cwd=ROOT, capture_output=True, text=True)
    return [float(seconds) for seconds in done.stdout.split()[-2:]]


def _second_paper(folder: Path) -> Ratio:
    """``make paper`` on the smoke profile twice in a copy of the clone; the second has nothing to do."""
    copy = folder / "clone"
    for name in ("ehanet", "workflow", "config", "notebooks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "workflow.paper", "run", "--profile", "smoke"]
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    again = float(np.median(seconds[1:]))
    return Ratio("5 s, over a second make paper", 5, again, 5 / again, 5 / max(seconds[1:]), 5 / min(seconds[1:]), 1, note=f"smoke; the first took {seconds[0]:.0f} s")
