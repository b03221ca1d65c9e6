"""A mask that is moved against itself while the scores follow: where Dice and boundary distances disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.ndimage import binary_dilation, binary_erosion

from ehanet.interact.canvas import Cell, Picture, gallery
from ehanet.interact.predictions import AGREEMENT, blended
from ehanet.metrics import score_masks
from ehanet.metrics.regions import dice_per_image

SHOWN = ("dice", "iou", "recall", "hd95", "assd", "nsd_2", "boundary_f1", "boundary_iou")
TITLES = {"dice": "Dice", "iou": "IoU", "recall": "recall", "hd95": "HD95 (px)", "assd": "ASSD (px)", "nsd_2": "NSD at 2 px", "boundary_f1": "boundary F1", "boundary_iou": "boundary IoU"}


def move_mask(mask: np.ndarray, dx: int = 0, dy: int = 0, dilation: int = 0) -> np.ndarray:
    """The mask shifted right by ``dx`` and down by ``dy`` pixels, and grown by ``dilation`` steps of the 4-neighbour cross (shrunk where below 0).

    What leaves the image is lost. mask: bool or 0/1 (H, W); returns bool (H, W).
    """
    height, width = mask.shape
    padded = np.pad(np.asarray(mask, bool), ((height, height), (width, width)))
    top, left = height - int(np.clip(dy, -height, height)), width - int(np.clip(dx, -width, width))
    moved = padded[top:top + height, left:left + width]
    if dilation == 0:
        return moved.copy()
    return (binary_dilation if dilation > 0 else binary_erosion)(moved, iterations=abs(dilation))


def score_table(predictions: dict[str, np.ndarray], truth: np.ndarray) -> pd.DataFrame:
    """Scores to two decimals, a row for each of ``predictions``, bool (H, W), by its name."""
    stack = np.stack([np.asarray(mask, np.float32) for mask in predictions.values()])
    frame = score_masks(stack, np.repeat(np.asarray(truth)[None], len(stack), axis=0), ids=list(predictions))
    return frame.set_index("image")[list(SHOWN)].rename(columns=TITLES).rename_axis(None).round(2)


def shift_table(truth: np.ndarray, dx: int, shrink: int) -> pd.DataFrame:
    """Scores of a shift by ``dx`` pixels, on the object as it is and on what is left when it is shrunk by ``shrink`` pixels; truth: bool or 0/1 (H, W)."""
    objects = {"as it is": np.asarray(truth, bool), f"shrunk by {shrink} px": move_mask(truth, dilation=-shrink)}
    rows = {name: score_table({name: move_mask(mask, dx=dx)}, mask).loc[name, ["Dice", "HD95 (px)"]] for name, mask in objects.items()}
    return pd.DataFrame(rows).T.assign(pixels=[int(mask.sum()) for mask in objects.values()])[["pixels", "Dice", "HD95 (px)"]]


def same_dice(truth: np.ndarray, dice: float = 0.85) -> dict[str, np.ndarray]:
    """Four mistakes with about the same Dice: shifted, grown, a part cut off, a blob far away.

    Args:
        truth: bool or 0/1 (H, W), not empty.

    Returns:
        name -> bool (H, W), each the one of its kind whose Dice is nearest to ``dice``.

    Raises:
        ValueError: an empty mask.
    """
    truth = np.asarray(truth, bool)
    if not truth.any():
        raise ValueError("same_dice needs a mask with an object")
    rows, columns = np.nonzero(truth)
    order = np.argsort(rows, kind="stable")
    far = np.hypot(*(np.indices(truth.shape) - np.array([rows.mean(), columns.mean()])[:, None, None]))
    corner = np.unravel_index(np.argmax(np.where(truth, -1, far)), truth.shape)
    from_corner = np.hypot(*(np.indices(truth.shape) - np.array(corner)[:, None, None]))

    def cut(share: float) -> np.ndarray:
        kept, stay = np.zeros_like(truth), order[round(share * len(order)):]
        kept[rows[stay], columns[stay]] = True
        return kept

    def off(mask: np.ndarray) -> float:
        return abs(dice_per_image(mask[None], truth[None])[0] - dice)

    kinds = {
        "shifted": [move_mask(truth, dx) for dx in range(1, truth.shape[1] // 2)],
        "grown": [move_mask(truth, dilation=step) for step in range(1, 12)],
        "cut off": [cut(share) for share in np.linspace(0.02, 0.6, 59)],
        "far blob": [truth | (from_corner <= radius) for radius in np.arange(1, truth.shape[0] / 2, 0.5)],
    }
    return {name: min(masks, key=off) for name, masks in kinds.items()}


def masks_picture(predictions: dict[str, np.ndarray], truth: np.ndarray, image: np.ndarray | None = None, mark: str = "") -> Picture:
    """Predictions against one truth in colours of agreement; below each its Dice and HD95.

    Args:
        predictions: by the name to show, each bool (H, W). truth: bool or 0/1 (H, W).
        image: uint8 (H, W, 3), to lay them over; default: white.
        mark: where the data come from, e.g. "phantom data".
    """
    truth = np.asarray(truth, bool)
    base = np.full((*truth.shape, 3), 255, np.uint8) if image is None else image
    table = score_table(predictions, truth)
    cells = [Cell(name, blended(base, mask, truth, 0.85), f"Dice {table.loc[name, 'Dice']:.2f}, HD95 {table.loc[name, 'HD95 (px)']:.2f} px")
             for name, mask in predictions.items()]
    return gallery(cells, mark=mark, legend=AGREEMENT)
