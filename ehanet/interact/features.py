"""What each module of EHANet does to a feature map, as shapes and as pictures."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from torch import Tensor, nn

from ehanet.explain import ahfa_gates, efa_gates, output_maps
from ehanet.interact.canvas import Cell, Picture, colour_bar, show
from ehanet.interact.examples import Example
from ehanet.reporting.style import BLUE, RC, VERMILLION, WIDTH, stamp

TITLES = {"efa": "EFA", "decoder": "AHFA", "iem": "IEM", "head": "head"}  # a module's name in the network -> in the paper


def module_flow(model: nn.Module, image: np.ndarray, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Tensors that go into a module and come out of it, for one image (H, W, 3): each (C, h, w) float32.

    Args:
        name: "efa.0" (stride 2) to "efa.4", "decoder.0" (stride 16) to "decoder.3", "iem" or "head".

    Raises:
        ValueError: the network was built without that module; the message names those there are.
    """
    seen: list = []
    modules = dict(model.named_modules())
    if name not in modules:
        part, _, number = name.partition(".")
        known = ", ".join(str(int(key.partition(".")[2]) + 1) for key in modules if key.startswith(f"{part}.") and key.count(".") == 1) if number else ""
        raise ValueError(f"this network has no {TITLES.get(part, part)}" + (f" number {int(number) + 1}; it has {known}" if known else ""))
    handle = modules[name].register_forward_hook(lambda module, inputs, output: seen.append((inputs, output)))
    try:
        output_maps(model, image)
    finally:
        handle.remove()
    return tuple([tensor[0].float().numpy() for tensor in (part if isinstance(part, tuple) else (part,)) if isinstance(tensor, Tensor) and tensor.ndim == 4]
                 for part in seen[0])


def module_shapes(model: nn.Module, size: int = 256) -> pd.DataFrame:
    """Shapes (C x h x w) in and out of EFA, AHFA, IEM and head for an image of ``size`` pixels, and the number of parameters of each."""
    modules, rows, image = dict(model.named_modules()), [], np.zeros((size, size, 3), np.uint8)
    for name in [*(f"efa.{k}" for k in range(5)), *(f"decoder.{k}" for k in range(4)), "iem", "head"]:
        flow = [", ".join(" x ".join(map(str, array.shape)) for array in arrays) for arrays in module_flow(model, image, name)]
        rows.append([type(modules[name]).__name__, *flow, sum(parameter.numel() for parameter in modules[name].parameters())])
    return pd.DataFrame(rows, columns=["module", "in", "out", "parameters"])


def efa_picture(model: nn.Module, example: Example, stage: int = 1) -> Picture:
    """EFA on a stage, 1 (stride 2) to 5 (stride 32): the feature before, the two gates, the feature after."""
    (before,), (after,) = module_flow(model, example.image, f"efa.{stage - 1}")
    channel, spatial = efa_gates(model, example.image)[stage - 1]
    maps = [_energy("before, x", before), _range("spatial gate s(x)", spatial), _energy("after, x c(x) + x s(x)", after)]
    picture, axes = _row(example, maps, plots=1)
    _gate_plot(axes[0], channel, "channel gate c(x)")
    axes[0].axhline(0.5, color=VERMILLION, linewidth=0.8, linestyle=":")  # two gates of one half leave the feature as it is
    return picture


def iem_picture(model: nn.Module, example: Example) -> Picture:
    """IEM: what the two shallow stages give, and the edge that it finds."""
    (first, second), (_, feature) = module_flow(model, example.image, "iem")
    maps = [_energy("EFA(f1), stride 2", first), _energy("EFA(f2), stride 4", second), _energy("edge feature", feature),
            Cell("edge map", output_maps(model, example.image)["edge"], "probability, 0 to 1")]
    return _row(example, maps)[0]


def ahfa_picture(model: nn.Module, example: Example, level: int = 4) -> Picture:
    """AHFA number ``level``, 1 (stride 16) to 4 (stride 2): skip and deep feature, what comes of them, the gate, the side output."""
    (skip, deep), (aggregated, _) = module_flow(model, example.image, f"decoder.{level - 1}")
    maps = [_energy("skip", skip), _energy("deep", deep), _energy("D", aggregated), Cell(f"side output s{level}", output_maps(model, example.image)[f"s{level}"], "probability, 0 to 1")]
    picture, axes = _row(example, maps, plots=1)
    _gate_plot(axes[0], ahfa_gates(model, example.image)[level - 1], "gate g(D)")
    return picture


def _energy(title: str, feature: np.ndarray) -> Cell:
    """Root mean square over the channels of (C, h, w), from its smallest to its largest value."""
    values = np.sqrt(np.square(feature).mean(axis=0))
    return _range(title, values, " x ".join(map(str, feature.shape)) + "\n")


def _range(title: str, values: np.ndarray, prefix: str = "") -> Cell:
    low, high = float(values.min()), float(values.max())
    return Cell(title, values, f"{prefix}{low:.2g} to {high:.2g}", low, high if high > low else low + 1)


def _row(example: Example, maps: list[Cell], plots: int = 0) -> tuple[Picture, list]:
    """The image, maps and empty axes for plots in a row, with a bar that says which end of the colours is low."""
    count = 1 + len(maps) + plots
    side = (WIDTH - 0.6) / count - 0.1
    height = side + 0.84
    with matplotlib.rc_context(RC):
        picture, axes = Picture(WIDTH, height), []
        for place, cell in enumerate([Cell("image", example.image, example.name), *maps, *[None] * plots]):
            inset = 0.18 if cell is None else 0.0
            box = ((0.08 + place * (side + 0.1) + inset) / WIDTH, 0.36 / height, (side - inset) / WIDTH, side / height)
            axes.append(picture.add_axes(box))
            if cell is not None:
                show(axes[-1], cell)
        bar = picture.add_axes(((WIDTH - 0.5) / WIDTH, 0.42 / height, 0.09 / WIDTH, (side - 0.12) / height))
        colour_bar(picture, bar, "")
        bar.set_yticks([0, 1], labels=["low", "high"])
        if example.mark:
            stamp(picture, example.mark)
    return picture, axes[1 + len(maps):]


def _gate_plot(axes, gate: np.ndarray, title: str) -> None:
    """The values of a gate (C,), sorted."""
    with matplotlib.rc_context(RC):
        axes.plot(np.arange(1, len(gate) + 1), np.sort(gate), color=BLUE, drawstyle="steps-mid")
        axes.set(ylim=(0, 1), yticks=[0, 0.5, 1])
        axes.set_title(title, fontsize=7.5, pad=3)
        axes.tick_params(labelsize=6.5, pad=1)
        axes.set_xlabel(f"{len(gate)} channels, sorted", fontsize=7, labelpad=1)
