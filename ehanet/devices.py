"""Which device, which precision: found by itself, said in the record."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from ehanet.convolutions import prepare_convolutions


def find_device(name: str = "auto") -> torch.device:
    """CUDA, else Apple's MPS, else the CPU; or the device named.

    Raises:
        ValueError: the named device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: {name!r} is not available here; use 'auto' or 'cpu'") from error
    return device


def check_device(name: str) -> None:
    """Refuse a ``name`` that is no device anywhere; whether it is here is asked where it is used, which may be another machine.

    Raises:
        ValueError: the name is none of PyTorch's.
    """
    try:
        torch.device("cpu" if name == "auto" else name)
    except RuntimeError as error:
        raise ValueError(f"device: {name!r} is unknown; use 'auto', 'cpu', 'cuda' or 'mps'") from error


def device_or_other(name: str) -> torch.device:
    """The device named, else the one found by itself: a trained network may be used where the device it was trained on is not."""
    try:
        return find_device(name)
    except ValueError:
        return find_device()


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """"auto" is bfloat16 where the hardware multiplies it fast (recent CUDA, CPUs with AVX-512 BF16 or AMX)."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return getattr(torch, precision)


def place(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a network that is to be trained in ``dtype`` to the device, channels last, which its convolutions compute fastest; returns it."""
    model.to(device, memory_format=torch.channels_last)
    if device.type == "cpu":
        prepare_convolutions(model, dtype)
    for module in model.modules():
        if isinstance(module, nn.SiLU):
            module.inplace = False  # its gradient needs its input: in place, that is copied first
    choose_attention(model, device, dtype)
    return model


def choose_attention(model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """On a CPU timm's attention by PyTorch's one operator, but in bfloat16 by its parts, which take less time there (benchmarks/README.md)."""
    for module in model.modules():
        if hasattr(module, "fused_attn") and device.type == "cpu":
            module.fused_attn = dtype != torch.bfloat16


def float32_in_full(dtype: torch.dtype = torch.float32) -> AbstractContextManager:
    """A block in which a GPU multiplies float32 in convolutions as it is, where ``dtype`` is that; CUDA's default takes ten bits of it."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=dtype != torch.float32)


def forward_pass(model: nn.Module, images: Tensor, dtype: torch.dtype):
    """What ``model`` gives for images (B, 3, H, W), computed in ``dtype`` as :func:`place` prepared it."""
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        return model(images.contiguous(memory_format=torch.channels_last))


def narrow_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of convolutions and linear layers in ``dtype``, to which :func:`forward_pass` would convert them in every call; its results stay."""
    for layer in model.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            layer.to(dtype)


def keep_memory() -> None:
    """Let this process keep, from now on, the memory that a training step, or the prediction of a batch, frees for the next one.

    By default glibc gives large tensors back to the system at once, and a step of EHANet at 256 px spends a fifth of its time on a million page
    faults, a batch of 8 predicted images a third. Best called before the first large tensor is made; it changes no number, and does nothing under another C library.
    """
    if platform.libc_ver()[0] == "glibc":
        options = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 2**28)}  # of mallopt(3), from malloc.h
        library = ctypes.CDLL(None)
        for option, value in options.values():
            library.mallopt(option, value)


def on_device(array: np.ndarray, device: torch.device) -> np.ndarray | Tensor:
    """A data set's array as it is, or on a GPU where it takes at most an eighth of the free memory, so that no batch has to travel."""
    if device.type != "cuda" or array.nbytes > torch.cuda.mem_get_info(device)[0] / 8:
        return array
    return torch.from_numpy(np.array(array)).to(device)


def take(array: np.ndarray | Tensor, indices: np.ndarray, device: torch.device) -> Tensor:
    """Rows of what :func:`on_device` gave, on the device."""
    if isinstance(array, Tensor):
        return array[torch.from_numpy(indices).to(device, non_blocking=True)]
    return torch.from_numpy(np.ascontiguousarray(array[indices])).to(device)


def describe_device(device: torch.device) -> dict:
    """Name and size of what computed, for records."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads()}


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device, or the machine, has no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error) or "out of memory" in str(error)


def peak_memory(device: torch.device) -> int:
    """Peak bytes since the start: of the GPU where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        fields = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in fields if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        if sys.platform == "win32":
            return psutil.Process().memory_info().peak_wset
        import resource  # which Windows lacks

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
