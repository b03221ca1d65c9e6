"""Why a training step takes what it takes: ``python -m benchmarks.limits`` sets its operations and bytes against the machine's peaks.

Every operator that computes (views apart) reads its inputs from memory and writes its outputs: at the sizes of a training step the caches hold little
of it. Bytes over the speed of a copy and operations over the speed of a matrix product are two floors; a step that runs one operator after another cannot
take less than the larger of the two for each of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import training
from benchmarks.memory import BATCH
from benchmarks.timing import clock, peak, seconds
from ehanet.config import RunConfig
from ehanet.data import load_dataset

CPU = torch.device("cpu")
VIEWS = ("view", "reshape", "transpose", "permute", "t.", "expand", "slice", "select", "detach", "alias", "unsqueeze", "squeeze", "split", "unbind", "as_strided")
GROUPS = {"convolutions": ("convolution",), "batch norms": ("batch_norm",), "matrix products": ("mm", "addmm", "bmm"), "resizing": ("upsample", "pool"),
          "copies and fills": ("copy", "clone", "zero", "fill", "empty", "cat", "to_copy"), "optimizer": ("_fused_adam", "_foreach")}


class Account(TorchDispatchMode):
    """Seconds, multiply-accumulates and bytes of each group of operators, and the floor of its seconds."""

    def __init__(self, macs_per_second: float, bytes_per_second: float):
        super().__init__()
        self.peaks, self.lines = (macs_per_second, bytes_per_second), defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        start = clock(CPU)
        out = function(*arguments, **(keywords or {}))
        spent = clock(CPU) - start
        name = str(function).removeprefix("aten.")
        if not name.startswith(VIEWS):
            moved = sum(tensor.numel() * tensor.element_size() for tensor in _tensors((arguments, out)))
            macs = multiplications(function, arguments, out)
            line = self.lines[group_of(name, arguments)]
            for index, value in enumerate((spent, macs, moved, max(macs / self.peaks[0], moved / self.peaks[1]))):
                line[index] += value
        return out


def group_of(name: str, arguments: tuple) -> str:
    """The line of the table that an operator counts for."""
    group = next((group for group, parts in GROUPS.items() if any(part in name for part in parts)), "attention and others, point by point")
    if group == "convolutions":
        backward = "backward" in name
        channels, side = arguments[2 if backward else 1].shape[1:3]
        kind = "depthwise" if channels == 1 else "1 x 1" if side == 1 else f"{side} x {side}"
        return f"convolutions {kind}, {'backward' if backward else 'forward'}"
    return group


def multiplications(function, arguments: tuple, out) -> float:
    """Multiply-accumulates of a convolution, of its backward (PyTorch's own count takes a depthwise one for a full one), or of a matrix product."""
    packet = function._overloadpacket
    if packet is torch.ops.aten.convolution:
        return out.numel() * arguments[1][0].numel()
    if packet is torch.ops.aten.convolution_backward:
        return sum(arguments[-1][:2]) * arguments[0].numel() * arguments[2][0].numel()
    return flop_registry[packet](*arguments, out_val=out) / 2 if packet in flop_registry else 0


def _tensors(values) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    return [tensor for value in values for tensor in _tensors(value)] if isinstance(values, (tuple, list)) else []


def copy_speed(megabytes: int = 256) -> float:
    """Bytes a second, read and written, of the best of five copies."""
    source, target = torch.ones(megabytes * 2**18), torch.zeros(megabytes * 2**18)  # both in memory before the first copy
    return 2 * megabytes * 2**20 / min(seconds(lambda: target.copy_(source), CPU) for _ in range(5))


def main(frozen: bool = False) -> str:
    """Markdown of one step of ours on the CPU, one thread."""
    torch.set_num_threads(1)
    config = RunConfig(batch_size=BATCH, size=training.SIZE, device="cpu", freeze_encoder="always" if frozen else "never", precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        step = training.our_step(load_dataset("phantom-polyp", size=training.SIZE), config, Path(folder))
        for _ in range(training.STEPS):
            step()
        macs, moved = peak(CPU, [torch.float32])[torch.float32], copy_speed()
        with Account(macs, moved) as account:
            step()
    lines = sorted(account.lines.items(), key=lambda line: -line[1][0])
    lines.append(("together", [sum(column) for column in zip(*(values for _, values in lines))]))
    return "\n".join([f"One step of {BATCH} images of {training.SIZE} px, encoder {'frozen' if frozen else 'trained'}, one thread; matrix product {macs / 1e9:.0f} GMAC/s, copy {moved / 1e9:.1f} GB/s.", "",
                      "| operators | seconds | GMAC | GB | floor (s) |", "| --- | ---: | ---: | ---: | ---: |",
                      *(f"| {name} | {spent:.2f} | {done / 1e9:.1f} | {size / 1e9:.1f} | {floor:.2f} |" for name, (spent, done, size, floor) in lines)])


if __name__ == "__main__":
    print(main(frozen="frozen" in sys.argv[1:]))
