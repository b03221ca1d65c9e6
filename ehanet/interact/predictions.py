"""Pictures of predictions: outputs, overlays, corrupted images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from scipy.ndimage import binary_dilation

from ehanet.interact.canvas import Cell, Picture, gallery
from ehanet.interact.examples import Example
from ehanet.metrics.distances import surface
from ehanet.metrics.regions import count_pixels, region_scores
from ehanet.reporting.style import BLUE, VERMILLION

FOUND, MISSED, SPURIOUS = "#ffe14d", BLUE, VERMILLION  # on photographs: far apart in lightness as well as in hue
AGREEMENT = [Patch(facecolor=FOUND, label="found"), Patch(facecolor=MISSED, label="missed"), Patch(facecolor=SPURIOUS, label="spurious")]
OUTPUTS = {"s1": "s1, stride 16", "s2": "s2, stride 8", "s3": "s3, stride 4", "s4": "s4, stride 2", "final": "final", "edge": "edge (IEM)"}


def blended(image: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None = None, blend: float = 0.7) -> np.ndarray:
    """The image with what was found, missed and drew where nothing is, or with the prediction alone where there is no truth.

    Args:
        image: uint8 (H, W, 3). prediction, truth: bool or 0/1 (H, W).
        blend: 0 shows the image alone, 1 the colours alone.

    Returns:
        uint8 (H, W, 3).
    """
    prediction = np.asarray(prediction, bool)
    truth = prediction if truth is None else np.asarray(truth, bool)
    result = image.astype(np.float64)
    coloured = prediction | truth  # grey below the colours, or yellow on red tissue would pass for orange
    result[coloured] = (1 - blend) * result[coloured] + blend * result[coloured].mean(axis=1, keepdims=True)
    for where, colour in ((prediction & truth, FOUND), (truth & ~prediction, MISSED), (prediction & ~truth, SPURIOUS)):
        result[where] = (1 - blend) * result[where] + blend * 255 * np.array(to_rgb(colour))
    return np.rint(result).astype(np.uint8)


def contours(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image with the outline of the mask (H, W) in yellow, one pixel wide on a dark rim: uint8 (H, W, 3)."""
    line = surface(np.asarray(mask, bool))
    result = np.array(image)
    result[binary_dilation(line) & ~line] //= 2
    result[line] = np.rint(255 * np.array(to_rgb(FOUND)))
    return result


def outputs_picture(example: Example, maps: dict[str, np.ndarray]) -> Picture:
    """The image beside every output of the network: ``maps``, (H, W) probabilities by name, as from ``ehanet.explain.output_maps``."""
    first = Cell("image", example.image, example.name)
    return gallery([first, *(Cell(OUTPUTS.get(name, name), values) for name, values in maps.items())], columns=4, bar="probability", mark=example.mark)


def prediction_picture(example: Example, values: np.ndarray, threshold: float = 0.5, blend: float = 0.7, title: str = "final") -> Picture:
    """Image, one map, and the image under what the map finds above the threshold, with Dice and IoU where there is a truth."""
    prediction = values > threshold
    cells = [Cell("image", example.image, example.name), Cell(title, values),
             Cell(f"above {threshold:.2f}", blended(example.image, prediction, example.mask, blend), agreement(prediction, example.mask))]
    return gallery(cells, bar="probability", mark=example.mark, legend=legend_of([example]))


def legend_of(examples: Sequence[Example]) -> list[Patch]:
    """The colours that :func:`blended` uses on these examples: without a truth there is only what was found."""
    return AGREEMENT if any(example.mask is not None for example in examples) else AGREEMENT[:1]


def agreement(prediction: np.ndarray, truth: np.ndarray | None) -> str:
    """"Dice 0.91, IoU 0.83", or the share of the image that was found where there is no truth."""
    if truth is None:
        return f"{100 * prediction.mean():.1f} % of the image"
    scores = region_scores(count_pixels(prediction[None], truth[None].astype(bool)))
    return f"Dice {scores['dice'][0]:.2f}, IoU {scores['iou'][0]:.2f}"


def corruption_picture(example: Example, corrupted: np.ndarray, before: np.ndarray, after: np.ndarray, title: str) -> Picture:
    """What a corruption does to an image and to its prediction.

    Args:
        corrupted: uint8 (H, W, 3). before, after: probabilities (H, W) of the clean and of the corrupted image.
        title: of the corrupted image.
    """
    cells = [Cell("image", example.image, example.name), Cell("prediction", blended(example.image, before > 0.5, example.mask), agreement(before > 0.5, example.mask)),
             Cell(title, corrupted), Cell("prediction", blended(corrupted, after > 0.5, example.mask), agreement(after > 0.5, example.mask))]
    return gallery(cells, mark=example.mark, legend=legend_of([example]))
