"""The widgets of the walkthroughs: each a few controls over a pure function that draws."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from matplotlib import colormaps
from torch import nn

from ehanet.data.corruptions import CORRUPTIONS, corrupt
from ehanet.explain import grad_cam, layer_names, output_maps
from ehanet.inference import predict
from ehanet.interact.canvas import MAP_COLOURS, Cell, Picture, gallery
from ehanet.interact.examples import Example
from ehanet.interact.losses import losses_picture
from ehanet.interact.masks import TITLES, move_mask, score_table
from ehanet.interact.panel import Panel, choice, slider
from ehanet.interact.predictions import AGREEMENT, OUTPUTS, agreement, blended, corruption_picture, legend_of, prediction_picture
from ehanet.interact.switches import MODULES, switched_off
from ehanet.runs import load_run


def explore(examples: Sequence[Example], models: dict[str, nn.Module | Path]) -> Panel:
    """Choose image, method and output; move the threshold and the blend of the overlay.

    Args:
        models: by the name to show; the folder of a finished run is opened when it is chosen.
    """
    network = lru_cache(lambda method: load_run(models[method]).model if isinstance(models[method], Path) else models[method])
    maps = lru_cache(maxsize=32)(lambda method, place: output_maps(network(method), examples[place].image))

    def draw(image: int, method: str, output: str, threshold: float, blend: float) -> Picture:
        found = maps(method, image)
        if output not in found:
            raise ValueError(f"{method} has no output {output}; it has {', '.join(found)}")
        example = examples[image]._replace(mask=None) if output == "edge" else examples[image]  # a filled mask is no truth for an edge
        return prediction_picture(example, found[output], threshold, blend, OUTPUTS[output])

    return Panel(draw, {"image": _image_choice(examples), "method": choice("method", list(models)), "output": choice("output", list(OUTPUTS), "final"),
                        "threshold": slider("threshold", 0.5, 0.05, 0.95), "blend": slider("overlay", 0.7, 0.0, 1.0)})


def corrupt_and_predict(examples: Sequence[Example], model: nn.Module) -> Panel:
    """Choose a corruption and its severity, and see what the network still finds."""
    clean = lru_cache(maxsize=32)(lambda place: predict(model, examples[place].image)[0])

    def draw(image: int, corruption: str, severity: int) -> Picture:
        spoilt = corrupt(examples[image].image, corruption, severity, seed=image)
        return corruption_picture(examples[image], spoilt, clean(image), predict(model, spoilt)[0], f"{corruption}, severity {severity}")

    return Panel(draw, {"image": _image_choice(examples), "corruption": choice("corruption", list(CORRUPTIONS)), "severity": slider("severity", 3, 1, 5, 1)})


def switch_modules(examples: Sequence[Example], model: nn.Module) -> Panel:
    """Switch EFA, IEM and AHFA of a trained network off and on; see ``switched_off``."""

    def draw(image: int, **on: bool) -> Picture:
        example, off = examples[image], [name for name, value in on.items() if not value]
        with switched_off(model, off):
            maps = output_maps(model, example.image)
        cells = [Cell("image", example.image, example.name), Cell("final", maps["final"]),
                 Cell("without " + ", ".join(off) if off else "all modules on", blended(example.image, maps["final"] > 0.5, example.mask), agreement(maps["final"] > 0.5, example.mask))]
        cells += [Cell("edge", maps["edge"])] if "edge" in maps and "IEM" not in off else []
        return gallery(cells, columns=4, bar="probability", mark=example.mark, legend=legend_of([example]))

    return Panel(draw, {"image": _image_choice(examples), **{name: widgets.Checkbox(value=True, description=name, indent=False) for name in MODULES}})


def look_inside(examples: Sequence[Example], model: nn.Module, layers: Sequence[str] | None = None) -> Panel:
    """Grad-CAM: choose the layer, one of ``layers`` (default: all), and the output whose evidence it shows."""

    def draw(image: int, layer: str, output: str) -> Picture:
        example = examples[image]
        heat = grad_cam(model, example.image, layer, output)
        return gallery([Cell("image", example.image, example.name), Cell(f"evidence in {layer}", heat, "share of its maximum"), Cell("laid over the image", _heated(example.image, heat)),
                        Cell(OUTPUTS[output], output_maps(model, example.image)[output], "probability")], bar="0 to 1", mark=example.mark)

    names = list(layers or layer_names(model))
    return Panel(draw, {"image": _image_choice(examples), "layer": choice("layer", names), "output": choice("output", list(OUTPUTS), "final")})


def weigh_losses(radius: int = 14, shift: int = 6, softness: float = 2.0) -> Panel:
    """A predicted disc beside the true one: move it, grow it, blur it, and see what each loss says; ``radius``, ``shift`` and ``softness`` as in
    :func:`ehanet.interact.losses.losses_picture`, where the sliders begin."""
    return Panel(losses_picture, {"radius": slider("radius (px)", radius, 2, 26, 1), "shift": slider("shift (px)", shift, 0, 30, 1),
                                  "softness": slider("softness (px)", softness, 0.5, 8.0, 0.5)})


def drag_mask(example: Example) -> Panel:
    """Drag a copy of the true mask away from it, by up to half the image's width, and grow or shrink it; Dice, HD95 and the rest follow."""
    reach = example.mask.shape[1] // 2

    def draw(dx: int, dy: int, dilation: int) -> Picture:
        moved = move_mask(example.mask, dx, dy, dilation)
        scores = score_table({"moved": moved}, example.mask).loc["moved"]
        lines = [f"{title} {scores[title]:.2f}" for title in TITLES.values()]
        return _beside(gallery([Cell("moved mask against the truth", blended(example.image, moved, example.mask)), Cell("", np.ones((*example.mask.shape, 3)))],
                               mark=example.mark, legend=AGREEMENT), lines)

    return Panel(draw, {"dx": slider("right (px)", min(6, reach), -reach, reach, 1), "dy": slider("down (px)", 0, -reach, reach, 1), "dilation": slider("grow (px)", 0, -10, 10, 1)})


def _image_choice(examples: Sequence[Example]) -> widgets.Dropdown:
    return choice("image", {example.name: place for place, example in enumerate(examples)})


def _heated(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image in grey where there is no evidence, in the colours of the map where there is: uint8 (H, W, 3)."""
    colours = colormaps[MAP_COLOURS](heat)[..., :3] * 255
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    return np.rint(grey * (1 - 0.7 * heat[..., None]) + colours * 0.7 * heat[..., None]).astype(np.uint8)


def _beside(picture: Picture, lines: list[str]) -> Picture:
    """Text in place of the last image of a gallery."""
    axes = picture.axes[-1]
    axes.set_axis_off()
    axes.text(0.08, 1.0, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8.5, linespacing=1.5)
    return picture
