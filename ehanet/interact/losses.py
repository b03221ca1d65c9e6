"""Lovasz-softmax, Dice and binary cross-entropy beside each other: their values and where they pull."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ehanet.interact.canvas import Cell, Picture, colour_bar, scaled, show
from ehanet.losses import dice_bce, lovasz_softmax
from ehanet.reporting.style import BLUE, GREEN, RC, VERMILLION, WIDTH

SIDE = 64
LOOKS = {"BCE": (BLUE, "-"), "Dice": (GREEN, "--"), "Lovász": (VERMILLION, "-.")}


def loss_values(logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """The three losses of one prediction: logits and mask (1, 1, H, W).

    Dice is taken out of ``dice_bce`` = 0.5 BCE + 0.5 Dice, the region loss of EHANet; Lovász-softmax is the edge loss.
    """
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, mask)
    return {"BCE": cross_entropy, "Dice": 2 * dice_bce(logits, mask) - cross_entropy, "Lovász": lovasz_softmax(torch.cat([1 - probability, probability], dim=1), mask.long())}


def pulls(logits: Tensor, mask: Tensor) -> dict[str, np.ndarray]:
    """Name -> how each loss moves the logit of each pixel, minus its gradient: (H, W)."""
    result = {}
    for name in LOOKS:
        leaf = logits.detach().clone().requires_grad_()
        result[name] = -torch.autograd.grad(loss_values(leaf, mask)[name], leaf)[0][0, 0].numpy()
    return result


def disc(radius: float, dx: float = 0.0, softness: float = 1.0) -> Tensor:
    """Logits (1, 1, 64, 64) of a disc: 0 on the circle, falling by one a ``softness`` pixels, within -6 and 6."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance = radius - np.hypot(rows, columns - dx)
    return torch.from_numpy((distance / softness).clip(-6, 6)).float()[None, None]


def losses_picture(radius: float = 14, shift: float = 6, softness: float = 2.0) -> Picture:
    """A disc predicted beside where it is: the three values, and where each loss pulls the logits up or down.

    Args:
        radius: of the disc, in pixels of 64.
        shift: how far beside it is predicted, in pixels.
        softness: pixels over which the predicted logits fall by one.
    """
    mask = (disc(radius) > 0).float()
    logits = disc(radius, shift, softness)
    values = {name: float(value) for name, value in loss_values(logits, mask).items()}
    cells = [Cell("truth", mask[0, 0].numpy()), Cell("prediction", logits.sigmoid()[0, 0].numpy(), "probability, 0 to 1")]
    cells += [Cell(f"{name} = {values[name]:.2f}", scaled(pull), f"pull, at most {np.abs(pull).max():.1e}", -1, 1) for name, pull in pulls(logits, mask).items()]
    side = (WIDTH - 0.6) / 5 - 0.08
    height = side + 0.44
    with matplotlib.rc_context(RC):
        picture = Picture(WIDTH, height)
        for place, cell in enumerate(cells):
            axes = picture.add_axes(((0.06 + place * (side + 0.08)) / WIDTH, 0.2 / height, side / WIDTH, side / height))
            show(axes, cell, signed=place > 1)
        colour_bar(picture, picture.add_axes(((WIDTH - 0.46) / WIDTH, 0.25 / height, 0.09 / WIDTH, (side - 0.1) / height)), "", signed=True)
    return picture


def missed_share_picture(shares: tuple[float, ...] = (0.2, 0.01), confidence: float = 0.95) -> Picture:
    """The three losses as more and more of an object is missed, for objects of these shares of the image, each pixel predicted with ``confidence``."""
    return _curves(shares, lambda share: missed_share(share, confidence), "missed part of the object")


def constant_map_picture(shares: tuple[float, ...] = (0.2, 0.03)) -> Picture:
    """The three losses of a map that has one probability everywhere, against that probability, for objects of these shares of the image; a dot where each is lowest."""
    return _curves(shares, constant_map, "probability everywhere", lowest=True)


def _curves(shares: tuple[float, ...], measure: Callable, label: str, lowest: bool = False) -> Picture:
    """A panel for each share of the image that an object covers: the losses against what ``measure`` varies between 0 and 1."""
    with matplotlib.rc_context(RC):
        picture = Picture(WIDTH, 2.5)
        axes = picture.subplots(1, len(shares), sharey=True, gridspec_kw={"left": 0.075, "right": 0.98, "top": 0.88, "bottom": 0.2, "wspace": 0.08})
        for plot, share in zip(np.atleast_1d(axes), shares):
            varied, curves = measure(share)
            for name, (colour, line) in LOOKS.items():
                plot.plot(varied, curves[name], color=colour, linestyle=line, label=name)
                if lowest:
                    best = int(np.argmin(curves[name]))
                    plot.plot(varied[best], curves[name][best], color=colour, marker="o", markersize=4.5)
            plot.set(xlabel=label, title=f"object: {100 * share:g} % of the image", xlim=(0, 1), ylim=(0, 1.05))
        np.atleast_1d(axes)[0].set_ylabel("loss (dot: lowest)" if lowest else "loss")
        np.atleast_1d(axes)[0].legend()
    return picture


def missed_share(share: float, confidence: float = 0.95, steps: int = 21) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Missed fraction (steps,) of an object that covers ``share`` of the image, and each loss there (steps,)."""
    mask = _object(share)
    pixels, size = mask.numel(), int(mask.sum())
    certain = float(np.log(confidence / (1 - confidence)))
    found = np.rint(np.linspace(1, 0, steps) * size).astype(int)  # in whole pixels, whose share is what is shown
    return 1 - found / size, _losses_of((torch.where(torch.arange(pixels) < count, certain, -certain).view(1, 1, SIDE, SIDE) for count in found.tolist()), mask)


def constant_map(share: float, steps: int = 99) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Probabilities between 0 and 1, (steps,), and each loss of a map that has this one everywhere, for an object of ``share`` of the image, (steps,)."""
    probabilities = np.arange(1, steps + 1) / (steps + 1)
    return probabilities, _losses_of((torch.full((1, 1, SIDE, SIDE), float(np.log(value / (1 - value)))) for value in probabilities), _object(share))


def _object(share: float) -> Tensor:
    """A mask (1, 1, 64, 64) whose first pixels, about ``share`` of all, are the object."""
    pixels = SIDE * SIDE
    return (torch.arange(pixels) < max(1, round(share * pixels))).float().view(1, 1, SIDE, SIDE)


def _losses_of(predictions: Iterable[Tensor], mask: Tensor) -> dict[str, np.ndarray]:
    """Name -> each loss of every prediction."""
    rows = [loss_values(logits, mask) for logits in predictions]
    return {name: np.array([float(row[name]) for row in rows]) for name in LOOKS}
