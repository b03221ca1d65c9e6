"""Predict arrays, files and whole runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ehanet.checkpoints import load_checkpoint, restore_model
from ehanet.data import Dataset
from ehanet.devices import find_device
from ehanet.predictions import Predictions
from ehanet.records import read_record


def predict(model: nn.Module, images, size: int | None = None, batch_size: int = 16, flips: bool = False):
    """Probability of the object at each pixel, in float32, at each image's own size.

    Args:
        model: any network of the suite; it is put in evaluation mode and stays on its device.
        images: one array (H, W, 3) or (H, W), a stack (N, H, W, 3), a list of arrays, or paths. uint8, uint16, or
            floating point in [0, 1]; an alpha channel is passed over.
        size: side in pixels to which images are squashed for the network; the probabilities come back at the images'
            size. Default: the size a loaded run was trained at, else the images' own.
        flips: average over the four flips of each image (test-time augmentation).

    Returns:
        float32 (N, H, W); a list of (H, W) where sizes differ.

    Raises:
        ValueError: values outside [0, 1], NaN, or another shape; the message says which image.
    """
    arrays = [as_rgb(image, name) for name, image in _enumerate(images)]
    size = size or getattr(model, "input_size", None)
    model.eval()
    parameter = next(model.parameters(), torch.zeros(1))
    inputs = [torch.from_numpy(array).permute(2, 0, 1)[None] for array in arrays]
    shapes = [image.shape[2:] for image in inputs]
    if size is not None:
        inputs = [F.interpolate(image, (size, size), mode="bilinear", antialias=True) for image in inputs]
    results: list[np.ndarray] = []
    for start, stop in _runs_of_one_shape(inputs, batch_size):
        batch = torch.cat(inputs[start:stop]).to(parameter.device)
        probabilities = _probabilities(model, batch, flips)[:, None]
        for probability, shape in zip(probabilities, shapes[start:stop]):
            if probability.shape[1:] != shape:
                probability = F.interpolate(probability[None], shape, mode="bilinear", antialias=True)[0]
            results.append(probability[0].clamp(0, 1).cpu().numpy())
    same = len({result.shape for result in results}) == 1
    return np.stack(results) if same else results


@torch.no_grad()
def predict_run(run_dir: str | Path, dataset: Dataset, split: str = "test", batch_size: int = 32) -> Predictions:
    """Predict a split of a data set with a finished run's best checkpoint, in float32."""
    run_dir = Path(run_dir)
    model, config = restore_model(load_checkpoint(run_dir / "best.pt"))
    device = find_device(config.device)
    model.to(device)
    indices = dataset.splits[split]
    if len(indices) == 0:
        raise ValueError(f"{dataset.name}: the {split} split is empty; nothing to predict")
    probabilities, edges = [], []
    for start in range(0, len(indices), batch_size):
        batch = np.ascontiguousarray(dataset.images[indices[start:start + batch_size]])
        out = model(torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float() / 255)
        probabilities.append(out.logits.sigmoid()[:, 0].float().cpu().numpy())
        if out.edge is not None:
            edges.append(out.edge[:, 1].float().cpu().numpy())
    return Predictions([dataset.ids[index] for index in indices], np.concatenate(probabilities), np.concatenate(edges) if edges else None,
                       read_record(run_dir / "record.json")["id"])


@torch.no_grad()
def _probabilities(model: nn.Module, batch: Tensor, flips: bool) -> Tensor:
    """(B, 3, H, W) -> (B, H, W)."""
    variants = [(), (2,), (3,), (2, 3)] if flips else [()]
    return torch.stack([model(batch.flip(axes)).logits.sigmoid().flip(axes)[:, 0] for axes in variants]).mean(dim=0).float()


def _enumerate(images) -> list[tuple[str, object]]:
    """Each image with the name that an error calls it by."""
    if isinstance(images, (str, Path)):
        return [(str(images), images)]
    if isinstance(images, np.ndarray):
        single = images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (3, 4))
        images = images[None] if single else images
    if not isinstance(images, (Sequence, np.ndarray)) or len(images) == 0:
        raise ValueError("images: expected an array (H, W, 3) or (N, H, W, 3), a list of them, or paths; got "
                         f"{'nothing' if isinstance(images, (Sequence, np.ndarray)) else type(images).__name__}")
    return [(str(image) if isinstance(image, (str, Path)) else f"image {index}", image) for index, image in enumerate(images)]


def as_rgb(image, name: str) -> np.ndarray:
    """Any accepted image -> float32 (H, W, 3) in [0, 1]."""
    if isinstance(image, (str, Path)):
        image = _read(Path(image))
    array = np.asarray(image)
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise ValueError(f"{name}: expected (H, W, 3) or (H, W), got shape {array.shape}")
    array = array[:, :, :3]
    if array.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(array, dtype=np.float32) / np.iinfo(array.dtype).max
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name}: expected uint8, uint16 or floating point values, got {array.dtype}")
    if np.isnan(array).any():
        raise ValueError(f"{name}: contains NaN; clean the image first")
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"{name}: floating point values must lie in [0, 1], found {array.min():g} to {array.max():g}")
    return np.ascontiguousarray(array, dtype=np.float32)


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"image {path} not found")
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                return np.asarray(image, dtype=np.uint16)
            if image.mode in ("I", "F"):
                return np.asarray(image, dtype=np.float64).clip(0, 65535).astype(np.uint16)
            return np.asarray(image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not a readable image ({type(error).__name__})") from error


def _runs_of_one_shape(inputs: list[Tensor], batch_size: int) -> list[tuple[int, int]]:
    """Cut into batches of neighbours that share a shape."""
    bounds, start = [], 0
    for stop in range(1, len(inputs) + 1):
        if stop == len(inputs) or stop - start == batch_size or inputs[stop].shape != inputs[start].shape:
            bounds.append((start, stop))
            start = stop
    return bounds
