"""What a network costs: parameters, multiply-accumulates, memory and speed, measured on the machine at hand in one run."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ehanet.config import RunConfig
from ehanet.devices import compute_dtype, describe_device, device_or_other, peak_memory, place
from ehanet.models import build_model
from ehanet.models.encoders import encoder_layout
from ehanet.models.flips import mean_prediction
from ehanet.plugins import load_plugin

GMAC_SIDE = 256  # the side at which papers count; HiFormer-B's count in its paper is at 224
BATCHES = (1, 4, 16, 64)
GAIN = 1.05  # the next larger batch is tried while the last one was faster by this factor
REPEATS, SECONDS = 5, 1.0  # a speed is the median of so many repetitions, fewer where they take longer than this together


def measure_costs(configs: Sequence[RunConfig], size: int) -> list[dict]:
    """:func:`measure_cost` of each, one after another, every one in a process of its own so that memory is its own.

    A network that cannot be measured leaves ``{"label", "method", "reason"}``.
    """
    # A server that has imported everything and computed nothing: forks of it cost no start-up, and no lock of a thread
    # pool is carried over, as it would be from this process.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    rows = []
    for config in configs:
        try:
            with ProcessPoolExecutor(1, mp_context=context) as pool:  # unlike a Pool it notices when its process is killed
                rows.append(pool.submit(measure_cost, config, size).result())
        except Exception as error:
            rows.append({"label": config.label, "method": config.method, "reason": f"not measured: {type(error).__name__}: {' '.join(str(error).split())}"})
    return rows


def count_costs(configs: Sequence[RunConfig]) -> dict[str, dict]:
    """Label -> {"parameters" (used), "gmac" at 256 x 256} of each network: what can be counted, so the same on every machine.

    A network whose weights file is not here is left out: the file says which layout of the encoder it has.
    """
    found = {}
    for config in configs:
        with suppress(FileNotFoundError):
            found[config.label] = _count(config)
    return found


def _count(config: RunConfig) -> dict:
    options = _options(config)
    with torch.device("cpu" if config.plugin else "meta"):  # shapes alone say what our own networks count; another's may look at values
        model = build_model(config.method, **options)
    return {"parameters": used_parameters(model), "gmac": count_gmac(model)}


def _options(config: RunConfig) -> dict:
    """What builds the network of a configuration with random weights; a weights file only says which layout of the encoder it is for."""
    options = {**config.build_options, "pretrained": False}
    if (file := options.pop("encoder_weights", None)) and "encoder" in options:  # a method's own encoder has one layout
        options["encoder"] = encoder_layout(options["encoder"], file)
    load_plugin(config.plugin)
    return options


def measure_cost(config: RunConfig, size: int) -> dict:
    """Cost of the network of one configuration, in this process.

    Returns:
        label, method, parameters (used), gmac at 256 x 256, side (pixels of the timings), precision, rate_1 (images a second at batch 1), rate_best and
        batch_best, memory_mb (peak of a training step of 4 images beyond what the process held before), device.
    """
    where = device_or_other(config.device)
    dtype = compute_dtype(config.precision, where)
    start = peak_memory(where)
    torch.manual_seed(0)
    model = place(build_model(config.method, **_options(config)), where, dtype)
    _train_step(model, size, where, dtype)
    memory = peak_memory(where) - start  # before anything larger runs: a peak never falls
    model.zero_grad(set_to_none=True)
    rates = _rates(model, size, where, dtype, config.test_flips)
    best = max(rates, key=rates.get)
    return {"label": config.label, "method": config.method, **_count(config), "side": size, "precision": str(dtype).removeprefix("torch."),
            "rate_1": round(rates[1], 2), "rate_best": round(rates[best], 2), "batch_best": best, "memory_mb": round(memory / 1e6), "device": _device_words(where)}


def used_parameters(model: nn.Module, size: int = 64) -> int:
    """Number of parameters that any output depends on: those that receive a gradient from one, where nothing is frozen."""
    images = _images(model, 2, size)
    with images.device:
        out = model.train()(images)
    outputs = [out.logits, *out.sides, *([] if out.edge_logits is None else [out.edge_logits])]
    sum(output.float().square().mean() for output in outputs).backward()
    return sum(parameter.numel() for parameter in model.parameters() if parameter.grad is not None)


def count_gmac(model: nn.Module, size: int = GMAC_SIDE) -> float:
    """Giga multiply-accumulates of one image in evaluation mode: convolutions, linear layers, attention products (half of FlopCounterMode)."""
    images = _images(model, 1, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), images.device:
        model.eval()(images)
    return counter.get_total_flops() / 2e9


def _images(model: nn.Module, batch: int, size: int) -> torch.Tensor:
    """Random images in [0, 1] where the network's parameters are, in the order that convolutions like."""
    device = next(model.parameters()).device
    return torch.rand(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)


def _rates(model: nn.Module, size: int, device: torch.device, dtype: torch.dtype, flips: bool) -> dict[int, float]:
    """Batch -> images a second of inference, from batch 1 up, until a larger batch is not faster or would take longer than SECONDS."""
    rates: dict[int, float] = {}
    for batch in BATCHES:
        last = list(rates.values())[-2:]
        if (len(last) == 2 and last[1] < GAIN * last[0]) or (last and batch / last[-1] > SECONDS):
            break
        rates[batch] = _rate(model, batch, size, device, dtype, flips)
    return rates


def _rate(model: nn.Module, batch: int, size: int, device: torch.device, dtype: torch.dtype, flips: bool) -> float:
    """Images a second of inference, over flips where the run predicts so, after a warm-up."""
    images = _images(model, batch, size)
    model.eval()
    seconds: list[float] = []
    with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        mean_prediction(model, images, flips)[0].sum().item()
        while len(seconds) < REPEATS and sum(seconds) < SECONDS:
            started = time.perf_counter()
            mean_prediction(model, images, flips)[0].sum().item()  # .item() waits for the device
            seconds.append(time.perf_counter() - started)
    return batch / float(np.median(seconds))


def _train_step(model: nn.Module, size: int, device: torch.device, dtype: torch.dtype) -> None:
    model.train()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        out = model(_images(model, 4, size))
        loss = sum(output.float().mean() for output in (out.logits, *out.sides))
    loss.backward()


def _device_words(device: torch.device) -> str:
    """As in "AMD EPYC, 2 threads"."""
    found = describe_device(device)
    threads = f", {found['threads']} thread{'s' * (found['threads'] > 1)}" if found["type"] == "cpu" else ""
    return found["name"] + threads
