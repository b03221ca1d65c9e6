"""Which device, which precision: found by itself, said in the record."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys

import torch


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


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """"auto" is bfloat16 where the hardware multiplies it fast (recent CUDA, CPUs with AVX-512 BF16 or AMX)."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return getattr(torch, precision)


def keep_memory() -> None:
    """Let this process keep the memory that a training step frees for the next one, and take it in large pages.

    By default glibc gives large tensors back to the system at once, and a step of EHANet at 256 px spends a fifth of its time on a million page
    faults. Call it before the first tensor is made; it changes no number, and does nothing under another C library.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it with its first tensor
    if platform.libc_ver()[0] == "glibc":
        options = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 2**28)}  # of mallopt(3), from malloc.h
        library = ctypes.CDLL(None)
        for option, value in options.values():
            library.mallopt(option, value)


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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
