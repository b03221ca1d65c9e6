"""Inference: images a second and latency of EHANet, beside the plain way and beside the U-Net of segmentation_models_pytorch on the same encoder; on a CPU
each in a process of its own, since ours keeps its memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from benchmarks.timing import Ratio, apart, compare, limit_seconds
from ehanet.devices import compute_dtype, forward_pass, keep_memory
from ehanet.graphs import recorded
from ehanet.inference import fast_network, predict
from ehanet.models import build_model

SIZE = 256
MANY = 32  # images of the stream that ``predict`` gets


def rows(device: torch.device, peaks: dict) -> list[Ratio]:
    """The lines of this group."""
    with apart(device, our_call, "ehanet", 8, SIZE, device) as ours, apart(device, our_call, "ehanet", 1, SIZE, device) as ours_of_one:
        with apart(device, plain_call, "ehanet", 8, device) as plain:
            found = [compare("inference, 8 images", plain, ours, device, 5, 6, limit_seconds(peaks, 8), "network alone, eight at once")]
        with apart(device, plain_call, "ehanet", 1, device) as plain:
            found.append(compare("inference, one image", plain, ours_of_one, device, 9, 4 if device.type == "cpu" else 3, limit_seconds(peaks, 1),
                                 "latency of the network alone"))
        with apart(device, plain_stream, device, calls=1) as plain, apart(device, our_stream, device, calls=1) as stream:
            found.append(compare(f"predict, {MANY} images", plain, stream, device, 3,
                                 note="uint8 in, probabilities out, folding included; ours in bfloat16 where that is fast"))
        for name, way, prepare, more in (("plain", "plain", plain_call, ()), ("ours", "prepared as ours", our_call, (SIZE,))):
            with apart(device, prepare, "mobilevit-unet", 8, *more, device) as control:
                found.append(compare(f"MobileViT-S + U-Net, {name}, 8 images", control, ours, device, 5, note=f"segmentation_models_pytorch's network, {way}, over EHANet, ours"))
        for size, count in ((64, 1), (128, 1), (512, 1), (256, 2), (256, 4), (256, 16)):
            with apart(device, our_call, "ehanet", count, size, device) as other:
                row = compare(f"an image at {size} px in a batch of {count}", ours_of_one, other, device, note="over one image at 256 px alone, both ours")
                found.append(replace(row, ours=row.ours / count, **{name: getattr(row, name) * count for name in ("ratio", "low", "high")}))
    return found


def plain_call(method: str, count: int, device: torch.device):
    """A call of a network as released: float32, contiguous layout, eager."""
    model, images = _network(method, device), torch.rand(count, 3, SIZE, SIZE, device=device)

    @torch.no_grad()
    def call() -> None:
        model(images).logits.sigmoid().sum().item()

    return call


def our_call(method: str, count: int, size: int, device: torch.device):
    """A call of a network as ``predict`` prepares it from the fifth image on, in the precision that is fast there."""
    if device.type == "cpu":
        keep_memory()
    dtype = compute_dtype("auto", device)
    images = torch.rand(count, 3, size, size, device=device)
    model = fast_network(_network(method, device), images[:1], dtype)
    run = recorded(lambda part: [forward_pass(model, part, dtype).logits.float().sigmoid()], device)

    @torch.no_grad()
    def call() -> None:
        run(images)[0].sum().item()

    return call


def plain_stream(device: torch.device):
    """A call that predicts the stream in batches of 8, the network as released."""
    model, stream = _network("ehanet", device), _stream()

    @torch.no_grad()
    def call() -> None:
        for start in range(0, len(stream), 8):
            images = torch.from_numpy(stream[start:start + 8]).permute(0, 3, 1, 2).to(device).float() / 255
            model(images.contiguous()).logits.sigmoid().cpu().numpy()

    return call


def our_stream(device: torch.device):
    """A call of ``predict`` on the stream."""
    model, stream = _network("ehanet", device), _stream()
    return lambda: predict(model, stream, precision="auto")


def _network(method: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    return build_model(method).eval().to(device)


def _stream() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (MANY, SIZE, SIZE, 3), dtype=np.uint8)
