"""Inference: images a second and latency of EHANet, beside the plain way and beside the U-Net of segmentation_models_pytorch on the same encoder."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from benchmarks.timing import Ratio, compare, limit_seconds, seconds, spread
from ehanet.devices import compute_dtype, narrow_weights
from ehanet.graphs import WARM_UP, recorded
from ehanet.inference import images_at_once, predict
from ehanet.models import build_model
from ehanet.models.folding import folded

SIZE = 256
MANY = 32  # images of the stream that ``predict`` gets


def rows(device: torch.device, peaks: dict) -> list[Ratio]:
    """The lines of this group."""
    torch.manual_seed(0)
    model = build_model("ehanet").eval().to(device)
    stream = np.random.default_rng(0).integers(0, 256, (MANY, SIZE, SIZE, 3), dtype=np.uint8)
    batch, one = (torch.rand(count, 3, SIZE, SIZE, device=device) for count in (8, 1))
    fast = folded(model, one)
    if compute_dtype("auto", device) == torch.bfloat16:
        narrow_weights(fast, torch.bfloat16)
    control = build_model("mobilevit-unet").eval().to(device)
    piece = min(8, images_at_once(device))
    found = [
        compare("inference, 8 images", _call(model, batch), _call(fast, batch, device, piece), device, 5, 6, limit_seconds(peaks, 8),
                f"network alone, ours in batches of {piece}"),
        compare("inference, one image", _call(model, one), _call(fast, one, device), device, 9, 4 if device.type == "cpu" else 3,
                limit_seconds(peaks, 1), "latency of the network alone"),
        compare(f"predict, {MANY} images", lambda: _plain_predictions(model, stream, device), lambda: predict(model, stream, precision="auto"), device, 3,
                note="uint8 in, probabilities out, folding included; ours in bfloat16 where that is fast"),
        compare("MobileViT-S + U-Net, 8 images", _call(control, batch), _call(fast, batch, device, piece), device, 5,
                note="segmentation_models_pytorch's network, plain, over EHANet, ours"),
    ]
    return found + [_growth(fast, size, count, device) for size, count in ((64, 1), (128, 1), (512, 1), (256, 2), (256, 4), (256, 16))]


def _call(model: nn.Module, images: torch.Tensor, device: torch.device | None = None, piece: int | None = None):
    """A call of the network on ``piece`` images at once; with a device in the precision and layout that are fast there."""
    dtype = torch.float32 if device is None else compute_dtype("auto", device)
    if device is not None:
        images = images.contiguous(memory_format=torch.channels_last)

    def network(part: torch.Tensor) -> list[torch.Tensor]:
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            return [model(part).logits.sigmoid()]

    run = network if device is None else recorded(network, device)

    @torch.no_grad()
    def call() -> None:
        for part in images.split(piece or len(images)):
            run(part)[0].sum().item()

    return call


@torch.no_grad()
def _plain_predictions(model: nn.Module, stream: np.ndarray, device: torch.device) -> None:
    for start in range(0, len(stream), 8):
        images = torch.from_numpy(stream[start:start + 8]).permute(0, 3, 1, 2).to(device).float() / 255
        model(images.contiguous()).logits.sigmoid().cpu().numpy()


def _growth(fast: nn.Module, size: int, count: int, device: torch.device) -> Ratio:
    """Seconds of one image at 256 x 256 alone, and of one image of another size or batch: how cost grows."""
    reference = _call(fast, torch.rand(1, 3, SIZE, SIZE, device=device), device)
    other = _call(deepcopy(fast), torch.rand(count, 3, size, size, device=device), device)
    for _ in range(WARM_UP + 1):
        reference(), other()
    times = np.array([[seconds(reference, device), seconds(other, device) / count] for _ in range(5)])
    return Ratio(f"an image at {size} px in a batch of {count}", *np.median(times, axis=0), *spread(times), note="over one image at 256 px alone, both ours")
