"""Parts of the training recipe: batches, learning rate, moving average of weights, frozen encoder."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


def batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut ``order`` (N,) into batches of ``batch_size``; a last batch of one image joins the one before, since batch norm cannot take it.

    Raises:
        ValueError: fewer than two images in all.
    """
    if len(order) < 2:
        raise ValueError(f"training needs at least 2 images, the train split has {len(order)}")
    parts = [order[start:start + batch_size] for start in range(0, len(order), batch_size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Factor on the learning rate of a ``schedule`` at ``progress`` in [0, 1] of all steps.

    "one-cycle" rises from 1/25 along a cosine over the first 30 %, then falls to 1e-4 / 25 (Smith and Topin 2019, with
    PyTorch's default shape); "cosine" warms up linearly over 5 %, then falls to zero (Loshchilov and Hutter 2017).
    """
    if schedule == "constant":
        return 1.0
    warm_up, low, final = (0.3, 1 / 25, 1e-4 / 25) if schedule == "one-cycle" else (0.05, 0.0, 0.0)
    if progress < warm_up:
        rise = progress / warm_up
        return low + (1 - low) * ((1 - math.cos(math.pi * rise)) / 2 if schedule == "one-cycle" else rise)
    fall = min(1.0, (progress - warm_up) / (1 - warm_up))
    return final + (1 - final) * (1 + math.cos(math.pi * fall)) / 2


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, steps: int) -> None:
    """Move an average of weights and batch statistics towards the network's after a step; counters are copied.

    average <- d average + (1 - d) value, d = min(decay, (1 + steps) / (10 + steps)), so that the start is forgotten soon; the first step copies.
    ``torch.optim.swa_utils`` does the like, but waits for a GPU twice a step.

    Args:
        steps: how many steps there were before this one.
    """
    weight = 1 - min(decay, (1 + steps) / (10 + steps)) if steps else 1.0
    pairs = [pair for kind in (nn.Module.parameters, nn.Module.buffers) for pair in zip(kind(average), kind(model))]
    for floating, change in ((True, lambda old, new: torch._foreach_lerp_(old, new, weight)), (False, torch._foreach_copy_)):
        if chosen := [pair for pair in pairs if pair[0].is_floating_point() == floating]:
            change(*map(list, zip(*chosen)))


def freeze(encoder: nn.Module | None, rule: str, initialisation: str) -> bool:
    """Take the gradient from the encoder's parameters by the rule; batch statistics and dropout stay active, as released."""
    frozen = encoder is not None and (rule == "always" or (rule == "pretrained" and initialisation != "random"))
    if frozen:
        encoder.requires_grad_(False)
    return frozen
