"""Time of all score columns of one 256 x 256 pair, beside the same columns from MONAI and PySODMetrics.

    python benchmarks/metrics.py                         real masks where ../shared/data is there, else phantoms
    python benchmarks/metrics.py --dataset kvasir-seg --root FOLDER --count 60

Processor time of one thread, so that a busy machine does not distort it; each pair is timed under both, in turn. Of the libraries
one call a column is timed, as their users make it. F2, boundary F1 and boundary IoU have no function there; they are built from MONAI's
confusion matrix, surface distances and erosion, and a second line leaves them out. The prediction is the label moved, softened and with
noise, as a network's map is.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy.ndimage import gaussian_filter, zoom  # noqa: E402

from ehanet.data import load_dataset  # noqa: E402
from ehanet.metrics import score_masks  # noqa: E402
from ehanet.metrics.scores import SCORES  # noqa: E402

LIMIT_MS, LIMIT_RATIO = 10.0, 10.0


def probability_map(mask: np.ndarray, seed: int) -> np.ndarray:
    """A plausible probability map (H, W) float32 for a mask: moved a little, softened, with smooth noise, never quite 0 or 1."""
    rng = np.random.default_rng(seed)
    moved = np.roll(mask.astype(float), rng.integers(-4, 5, size=2), axis=(0, 1))
    noise = zoom(rng.normal(size=(16, 16)), np.array(mask.shape) / 16, order=1)
    logits = 8 * (gaussian_filter(moved, 2.5) - 0.5) + 0.8 * noise
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def built_scores(probabilities: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """F2, boundary F1 and boundary IoU from MONAI's parts, for one image (H, W)."""
    import torch
    from monai import metrics
    from monai.metrics.utils import get_mask_edges, get_surface_distance
    from monai.transforms.utils_morphological_ops import erode

    one, other = torch.from_numpy(probabilities > 0.5), torch.from_numpy(label)
    tp, fp, _, fn = metrics.get_confusion_matrix(one[None, None].float(), other[None, None].float())[0, 0]
    scores = {"f2": float(5 * tp / (5 * tp + 4 * fn + fp))}
    edges = get_mask_edges(one, other)
    precision = float((get_surface_distance(*edges) <= 2).float().mean())
    recall = float((get_surface_distance(*edges[::-1]) <= 2).float().mean())
    scores["boundary_f1"] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    inner = torch.stack([one, other])[:, None].float()
    masks = inner.bool()
    for _ in range(max(1, round(0.02 * float(np.hypot(*label.shape))))):
        inner = erode(inner, 3, pad_value=0.0)
    bands = masks & ~inner.bool()
    scores["boundary_iou"] = float((bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum())
    return scores


def library_scores(probabilities: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """The columns that MONAI and PySODMetrics have functions for, for one image (H, W)."""
    import py_sod_metrics
    import torch
    from monai import metrics

    one = torch.from_numpy(probabilities > 0.5)[None, None]
    other = torch.from_numpy(label)[None, None]
    everything = {"include_background": True}
    scores = {
        "dice": metrics.compute_dice(one, other, **everything),
        "iou": metrics.compute_iou(one, other, **everything),
        "hd": metrics.compute_hausdorff_distance(one, other, **everything),
        "hd95": metrics.compute_hausdorff_distance(one, other, percentile=95, **everything),
        "assd": metrics.compute_average_surface_distance(one, other, symmetric=True, **everything),
        "masd": (
            metrics.compute_average_surface_distance(one, other, **everything)
            + metrics.compute_average_surface_distance(other, one, **everything)
        )
        / 2,
    }
    for tau in (1, 2, 3):
        scores[f"nsd_{tau}"] = metrics.compute_surface_dice(one, other, class_thresholds=[tau], **everything)
    matrix = metrics.get_confusion_matrix(one.float(), other.float())
    for column in ("precision", "recall", "specificity", "accuracy"):
        scores[column] = metrics.compute_confusion_matrix_metric(column, matrix)
    scores = {name: float(value) for name, value in scores.items()}
    for column, measure, read in (
        ("s_measure", py_sod_metrics.Smeasure(), lambda results: results["sm"]),
        ("e_measure", py_sod_metrics.Emeasure(), lambda results: results["em"]["curve"].mean()),
        ("weighted_f", py_sod_metrics.WeightedFmeasure(), lambda results: results["wfm"]),
        ("mae", py_sod_metrics.MAE(), lambda results: results["mae"]),
    ):
        measure.step(probabilities, label, normalize=False)
        scores[column] = float(read(measure.get_results()))
    return scores


def one_row(probabilities: np.ndarray, label: np.ndarray) -> pd.DataFrame:
    """Our columns of one image (H, W)."""
    return score_masks(probabilities[None], label[None])


def timed(function: Callable, *arguments: np.ndarray) -> tuple[float, object]:
    """Milliseconds of the processor and result of one call."""
    start = time.process_time()
    result = function(*arguments)
    return 1e3 * (time.process_time() - start), result


def spread(values: np.ndarray) -> str:
    """Median and the middle half."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:8.2f}   ({low:.2f} to {high:.2f})"


def main() -> int:
    shared = ROOT.parent / "shared" / "data"
    parser = argparse.ArgumentParser(description="Time of all score columns, beside MONAI and PySODMetrics.")
    parser.add_argument("--dataset", default="kvasir-seg" if shared.is_dir() else "phantom-polyp")
    parser.add_argument("--root", type=Path, default=shared if shared.is_dir() else None, help="folder with the archives")
    parser.add_argument("--count", type=int, default=60, help="number of masks")
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    masks = load_dataset(arguments.dataset, root=arguments.root, size=arguments.size).masks
    chosen = np.linspace(0, len(masks) - 1, min(arguments.count, len(masks))).astype(int)
    labels = np.asarray(masks[chosen]).astype(bool)
    maps = np.stack([probability_map(mask, seed) for seed, mask in enumerate(labels)])

    ours, libraries, built, largest = [], [], [], 0.0
    functions = ((ours, one_row), (libraries, library_scores), (built, built_scores))
    for _, function in functions:
        function(maps[0], labels[0])  # imports, first calls
    for image, label in zip(maps, labels, strict=True):
        results = []
        for times, function in functions:
            milliseconds, scores = timed(function, image, label)
            times.append(milliseconds)
            results.append(scores)
        if label.any() and (image > 0.5).any():
            largest = max(largest, max(abs(results[0][name][0] - value) for name, value in (results[1] | results[2]).items()))
    ours, libraries = np.array(ours), np.array(libraries)
    everything = libraries + np.array(built)
    together, _ = timed(score_masks, maps, labels)

    ratio = np.median(everything) / np.median(ours)
    columns = len(SCORES)
    print(f"{len(labels)} masks of {arguments.dataset}, {arguments.size} x {arguments.size}, one thread; processor ms a pair: median (middle half)")
    print(f"  score_masks, a call a pair, {columns} columns          {spread(ours)}")
    print(f"  score_masks, all pairs in one call             {together / len(labels):8.2f}")
    print(f"  MONAI + PySODMetrics, {columns} columns                {spread(everything)}   ratio {ratio:.1f}")
    print(f"  without F2, boundary F1 and IoU, {len(results[1])} columns     {spread(libraries)}   ratio {np.median(libraries) / np.median(ours):.1f}")
    print(f"  largest difference in a column                 {largest:.1e}")
    good = np.median(ours) <= LIMIT_MS and ratio >= LIMIT_RATIO
    print(f"  {'within' if good else 'MISSES'} the limits: at most {LIMIT_MS:.0f} ms, at least {LIMIT_RATIO:.0f} times faster")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
