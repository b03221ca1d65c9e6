"""Two things measured in turn, several times, and what the machine could do at best."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ehanet.graphs import WARM_UP

MODEL_GMAC = 4.05  # EHANet at 256 x 256, spec/ehanet.md
BACKWARD = 3  # a training step computes about three times what inference does
IN_A_ROW = 10  # calls that a GPU is timed over
SHARE = 0.4  # of what the matrix-product peak allows: the target on a CPU where the figure of the issue is out of its reach


@dataclass
class Ratio:
    """One line of the table: seconds of the plain way over seconds of ours.

    plain, ours: medians in seconds. ratio, low, high: median and middle half of the repetitions' ratios. target: the ratio aimed at on this machine, or None. limit: the ratio at
    which every multiplication would run at the machine's peak, or None.
    """

    what: str
    plain: float
    ours: float
    ratio: float
    low: float
    high: float
    target: float | None = None
    limit: float | None = None
    note: str = ""


def clock(device: torch.device) -> float:
    """Seconds: of this process's processor on a CPU, so that a busy machine does not distort them; by the wall on a GPU, when its work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


class Apart:
    """A call in a process of its own, for what changes a whole process (how it keeps memory, say). Leave it by ``with``.

    Args:
        device: whose clock counts.
        prepare: a function of a module; called there with ``arguments``, it returns the call to time.
    """

    def __init__(self, device: torch.device, prepare: Callable, *arguments):
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, device, prepare, arguments), daemon=True)
        self.process.start()
        there.close()  # so that a process that dies ends the waiting for it

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_) -> None:
        self.pipe.close()
        self.process.join()

    def seconds(self) -> float:
        """What one call takes there."""
        self.pipe.send("go")
        return self.pipe.recv()


class Here:
    """The same in this process: on a GPU, where a process keeps its memory anyway and starting one costs more than what is timed."""

    def __init__(self, device: torch.device, prepare: Callable, *arguments, calls: int = IN_A_ROW):
        self.device, self.call, self.calls = device, prepare(*arguments), calls

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_) -> None:
        del self.call

    def seconds(self) -> float:
        """What one call takes, the mean of ``calls`` in a row."""
        return seconds(lambda: [self.call() for _ in range(self.calls)], self.device) / self.calls


def apart(device: torch.device, prepare: Callable, *arguments, calls: int = IN_A_ROW) -> Apart | Here:
    """:class:`Apart` on a CPU, else :class:`Here` with so many calls in a row."""
    return Apart(device, prepare, *arguments) if device.type == "cpu" else Here(device, prepare, *arguments, calls=calls)


def _serve(pipe, device: torch.device, prepare: Callable, arguments: tuple) -> None:
    call = prepare(*arguments)
    try:
        while pipe.recv():
            pipe.send(seconds(call, device))
    except EOFError:  # the other side has what it wants
        pass


def compare(what: str, plain: Callable | Apart | Here, ours: Callable | Apart | Here, device: torch.device, repeats: int = 5, target: float | None = None,
            limit_seconds: float | None = None, note: str = "", warm_up: int | None = None) -> Ratio:
    """Time ``plain`` and ``ours`` in turn, ``repeats`` times after ``warm_up`` others; by default one, on a GPU enough for its recordings.

    Args:
        target: the issue's ratio on this kind of device.
        limit_seconds: what the multiplications of one call take at the machine's peak.
    """
    warm = warm_up or (1 if device.type == "cpu" else WARM_UP + 1)
    times = np.array([[seconds(call, device) if callable(call) else call.seconds() for call in (plain, ours)] for _ in range(warm + repeats)])[warm:]
    before, after = np.median(times, axis=0)
    ratio, low, high = spread(times)
    limit = before / limit_seconds if limit_seconds else None
    if target is not None and limit is not None and device.type == "cpu":
        target = min(target, SHARE * limit)
    return Ratio(what, before, after, ratio, low, high, target, limit, note)


def spread(times: np.ndarray) -> tuple[float, float, float]:
    """(repetitions, 2) seconds of two things -> median and middle half of their ratios, as :class:`Ratio` takes them."""
    low, ratio, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
    return ratio, low, high


def seconds(call: Callable, device: torch.device) -> float:
    """What one call takes."""
    start = clock(device)
    call()
    return clock(device) - start


def peak(device: torch.device, dtypes: Sequence[torch.dtype] = (torch.float32, torch.bfloat16)) -> dict[torch.dtype, float]:
    """Multiply-accumulates a second of a matrix product of 1024 x 1024 (8192 x 8192 on a GPU), the best of five."""
    side = 8192 if device.type == "cuda" else 1024
    found = {}
    for dtype in dtypes:
        matrix = torch.rand(side, side, device=device).to(dtype)
        torch.mm(matrix, matrix)
        found[dtype] = side**3 / min(seconds(lambda: torch.mm(matrix, matrix), device) for _ in range(5))
    return found


def limit_seconds(peaks: dict[torch.dtype, float], images: int, size: int = 256, training: bool = False) -> float:
    """Seconds that EHANet's multiplications on so many images take at the better peak."""
    macs = MODEL_GMAC * 1e9 * images * (size / 256) ** 2 * (BACKWARD if training else 1)
    return macs / max(peaks.values())


def words(seconds: float) -> str:
    """Three digits with a unit."""
    unit, factor = ("s", 1) if seconds >= 1 else ("ms", 1e3)
    value = seconds * factor
    return f"{value:.{max(0, 2 - math.floor(math.log10(max(value, 1e-9))))}f} {unit}"
