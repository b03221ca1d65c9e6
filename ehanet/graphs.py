"""Work for a GPU recorded once and replayed as a whole (a CUDA graph): a step of EHANet is some thousand kernels of a few microseconds each,
and Python would launch them more slowly than the GPU computes them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from ehanet.devices import out_of_memory

WARM_UP = 3  # calls as written before the recording: in them libraries choose algorithms and take memory, which a recording cannot
SHAPES = 4  # recordings at most, each of which keeps the memory of its call


def recorded(function: Callable[..., list[Tensor | None]], device: torch.device) -> Callable[..., list[Tensor | None]]:
    """``function`` on a GPU replayed from a recording of its own for each shape of its arguments; elsewhere as it is.

    Args:
        function: takes tensors and returns a list of tensors or None. It may read its arguments and tensors that keep their place (weights),
            and must not wait for the device. A function that cannot be recorded is called as it is, with a warning.

    Returns:
        The like of ``function``. The next call overwrites what it returns: copy what is to be kept.
    """
    return Recorded(function) if device.type == "cuda" else function


class Recorded:
    """See :func:`recorded`."""

    def __init__(self, function: Callable[..., list[Tensor | None]]):
        self.function, self.calls, self.recordings, self.stream = function, Counter(), {}, torch.cuda.Stream()

    def __call__(self, *inputs: Tensor) -> list[Tensor | None]:
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if shapes not in self.recordings:
            self.calls[shapes] += 1
            if self.calls[shapes] <= WARM_UP or len(self.recordings) == SHAPES:
                return self._as_written(inputs)
            self.recordings[shapes] = self._record(inputs)
        recording = self.recordings[shapes]
        if recording is None:
            return self._as_written(inputs)
        graph, places, outputs = recording
        for place, tensor in zip(places, inputs):
            place.copy_(tensor)
        graph.replay()
        return outputs

    def _as_written(self, inputs: tuple[Tensor, ...]) -> list[Tensor | None]:
        """On a stream of its own, as a recording will be."""
        here = torch.cuda.current_stream()
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            outputs = self.function(*inputs)
        here.wait_stream(self.stream)
        for output in outputs:
            if output is not None:
                output.record_stream(here)
        return outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> tuple | None:
        places = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                outputs = self.function(*places)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            warnings.warn(f"this network's work cannot be recorded for the GPU and runs step by step ({' '.join(str(error).split())[:120]})", stacklevel=3)
            return None
        return graph, places, outputs
