"""Masks that scores stumble over, and probability maps to go with them; seeded, for the metric tests."""

import numpy as np
from scipy.ndimage import gaussian_filter

SHAPES = [(1, 1), (1, 2), (1, 17), (17, 1), (2, 2), (2, 9), (5, 5), (9, 13), (16, 16), (23, 11), (32, 32)]


def draw_mask(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """One mask: empty, full, a pixel, a block at the border, noise, smooth blobs, a ring, stripes or a chessboard."""
    height, width = shape
    mask = np.zeros(shape, bool)
    kind = rng.integers(10)
    if kind == 1:
        mask[:] = True
    elif kind == 2:
        mask[rng.integers(height), rng.integers(width)] = True
    elif kind == 3:
        mask[: rng.integers(1, height + 1), rng.integers(width) :] = True
    elif kind == 4:
        mask = rng.random(shape) < rng.choice([0.02, 0.3, 0.5, 0.9])
    elif kind in (5, 6):
        mask = gaussian_filter(rng.normal(size=shape), rng.choice([1.0, 2.0, 4.0])) > 0.05
    elif kind == 7:
        mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        mask[height // 3 : height - height // 3, width // 3 : width - width // 3] = False
    elif kind == 8:
        mask[:: rng.integers(1, 4), :: rng.integers(1, 4)] = True
    elif kind == 9:
        top, left = rng.integers(height), rng.integers(width)
        mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = True
    return mask


def draw_pair(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (H, W) and a label: a smooth or hard version of the label, of another mask, noise or a constant."""
    label = draw_mask(rng, shape)
    source = label if rng.random() < 0.5 else draw_mask(rng, shape)
    kind = rng.integers(6)
    if kind == 0:
        probabilities = source.astype(float)
    elif kind == 1:
        probabilities = np.full(shape, rng.choice([0.0, 0.3, 0.5, 0.7, 1.0]))
    elif kind == 2:
        probabilities = rng.random(shape)
    elif kind == 3:
        probabilities = np.round(gaussian_filter(source.astype(float), 1.0) * 255) / 255
    else:
        probabilities = 0.02 + 0.96 * gaussian_filter(source.astype(float), rng.choice([0.5, 1.5]))
    return np.clip(probabilities, 0, 1).astype(rng.choice([np.float32, np.float64])), label


def draw_pairs(count: int, seed: int, shapes: list[tuple[int, int]] = SHAPES) -> list[tuple[np.ndarray, np.ndarray]]:
    """``count`` pairs (probabilities, label) over all ``shapes``."""
    rng = np.random.default_rng(seed)
    return [draw_pair(rng, shapes[place % len(shapes)]) for place in range(count)]


def draw_masks(count: int, seed: int, shape: tuple[int, int], empty: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """``count`` predictions and labels (count, H, W) of one shape; half of the predictions are near their label."""
    rng = np.random.default_rng(seed)
    pairs = []
    while len(pairs) < count:
        label = draw_mask(rng, shape)
        prediction = label ^ (rng.random(shape) < 0.05) if rng.random() < 0.5 else draw_mask(rng, shape)
        if empty or (label.any() and prediction.any()):
            pairs.append((prediction, label))
    predictions, labels = zip(*pairs, strict=True)
    return np.array(predictions), np.array(labels)
