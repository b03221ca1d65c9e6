"""Predict arrays, files and whole runs."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ehanet.checkpoints import load_best, restore_model
from ehanet.config import check_choice
from ehanet.data import Dataset
from ehanet.data.images import squash_image
from ehanet.devices import choose_attention, compute_dtype, device_or_other, float32_in_full, forward_pass, keep_memory, narrow_weights
from ehanet.graphs import recorded
from ehanet.metrics.inputs import to_numpy
from ehanet.models.flips import FLIPS, mean_prediction
from ehanet.models.folding import folded
from ehanet.models.output import SegmentationOutput, as_output
from ehanet.photos import read_photo
from ehanet.predictions import Predictions
from ehanet.records import read_record

_PLAIN_MODES = ("RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # of PIL; others hold numbers of a palette, of inks, or one bit
PIXELS = 2**19  # predicted at once on a CPU: eight images of 256 x 256, for which EHANet takes 0.6 GB in float32

def predict(model: nn.Module, images, size: int | None = None, batch_size: int | None = None, flips: bool = False, precision: str = "float32"):
    """Probability of the object at each pixel, in float32, at each image's own size.

    Args:
        model: any network of the suite, or one that returns logits (B, 1, H, W); it is put in evaluation mode and stays on its device.
        images: one array or tensor (H, W, 3), or grey (H, W) or (H, W, 1), a stack (N, H, W, 3), a PIL image (as it is, where a file is turned upright by its EXIF), the path of a file, or any number of them: a list,
            ``Path("photos").glob("*.png")``. uint8, uint16 from 0 to 65535, or floating point in [0, 1]; an alpha channel is passed over. A 16-bit file counts
            from 0 to 255, 4095 or 65535, the first that holds its maximum.
        size: side in pixels, at least 1 (EHANet: 32), to which images are squashed for the network; the probabilities come back at the images'
            size. Default: the size a loaded run was trained at, else the images' own.
        batch_size: images that are predicted at once; fewer need less memory. Default: 16 on a GPU; elsewhere 8 of 256 x 256, more of smaller ones and fewer of
            larger ones.
        flips: average over the four flips of each image (test-time augmentation).
        precision: what the network computes in. "float32"; "bfloat16", faster on hardware that multiplies it fast (GPUs, CPUs with AVX-512 BF16 or
            AMX) and nearly the same (the reports' scores are float32's); "auto", bfloat16 on such hardware alone.

    Returns:
        float32 (N, H, W); a list of (H, W) where sizes differ. From the fifth image on, a copy of the network prepared for speed predicts, and on a CPU under Linux
        the process keeps the memory that a batch frees for what comes (:func:`ehanet.devices.keep_memory`).

    Raises:
        TypeError: model is no network.
        FileNotFoundError: no file of that name.
        ValueError: values outside [0, 1], NaN, another shape, or a folder, the message says which image; a size or batch_size below 1; an unknown precision.
    """
    named = _enumerate(images)
    arrays = ((index, check_image(image, name)) for index, (name, image) in enumerate(named))
    found = dict(predict_each(model, arrays, size, batch_size, flips, precision))
    results = [found[index] for index in range(len(named))]
    return np.stack(results) if len({result.shape for result in results}) == 1 else results


def predict_each(model: nn.Module, images: Iterable[tuple[Hashable, np.ndarray]], size: int | None = None, batch_size: int | None = None,
                 flips: bool = False, precision: str = "float32") -> Iterator[tuple[Hashable, np.ndarray]]:
    """:func:`predict` for a stream: (key, image) in, (key, probability) out, in the order in which batches fill.

    Images of one shape share a batch whatever lies between them, and no more than two batches' worth wait, so memory does not grow with the stream.

    Args:
        images: arrays as :func:`check_image` gives them.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a network, as build_model or load_run(...).model gives it, got {type(model).__name__}")
    for name, value in (("size", size), ("batch_size", batch_size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1):
            raise ValueError(f"{name}: expected a whole number, at least 1, or None, got {value!r}")
    check_choice("precision", precision)
    size = size or getattr(model, "input_size", None)
    network = _Network(model, flips, precision)
    waiting: dict[tuple, list[tuple]] = {}
    for key, array in images:
        shape, image = array.shape[:2], network_input(array, size)
        batch = waiting.setdefault(tuple(image.shape), [])
        batch.append((key, image, shape))
        full = {shape: len(batch) / (batch_size or images_at_once(network.device, shape[2] * shape[3])) for shape, batch in waiting.items()}
        while full and (max(full.values()) >= 1 or sum(full.values()) > 2):
            fullest = max(full, key=full.get)
            del full[fullest]
            yield from _predict_batch(network, waiting.pop(fullest))
    for batch in waiting.values():
        yield from _predict_batch(network, batch)


def images_at_once(device: torch.device, pixels: int) -> int:
    """How many images of so many pixels :func:`predict` gives a network at once unless told: 16 on a GPU, elsewhere as many as have :data:`PIXELS` together, from 1 to 16."""
    return 16 if device.type == "cuda" else min(16, max(1, PIXELS // pixels))


def network_input(array: np.ndarray, size: int | None) -> Tensor:
    """Checked image (H, W, 3) -> float32 (1, 3, size, size); 8-bit images are squashed exactly as those of a data set."""
    if size is None or array.dtype == np.uint8:
        return torch.from_numpy(as_rgb(array if size is None else squash_image(array, size))).permute(2, 0, 1)[None]
    image = torch.from_numpy(as_rgb(array)).permute(2, 0, 1)[None]
    return F.interpolate(image, (size, size), mode="bilinear", antialias=True)


def _predict_batch(network: _Network, batch: list[tuple]) -> Iterator[tuple[Hashable, np.ndarray]]:
    """(key, image (1, 3, h, w), (H, W)) of one shape -> (key, probability (H, W))."""
    keys, images, shapes = zip(*batch)
    probabilities = network(torch.cat(images))[:, None]
    for key, probability, shape in zip(keys, probabilities, shapes):
        if probability.shape[1:] != shape:
            probability = F.interpolate(probability[None], shape, mode="bilinear", antialias=True)[0]
        yield key, probability[0].clamp(0, 1).cpu().numpy()


@torch.no_grad()
def predict_run(run_dir: str | Path, dataset: Dataset, split: str = "test", batch_size: int = 32) -> Predictions:
    """Predict a split of a data set with a finished run's best checkpoint, in float32, over flips where its configuration says so."""
    run_dir = Path(run_dir)
    model, config = restore_model(load_best(run_dir))
    device = device_or_other(config.device)
    model.to(device)
    indices = dataset.splits[split]
    if len(indices) == 0:
        raise ValueError(f"{dataset.name}: the {split} split is empty; nothing to predict")
    probabilities, edges = [], []
    for start in range(0, len(indices), batch_size):
        batch = np.ascontiguousarray(dataset.images[indices[start:start + batch_size]])
        with float32_in_full():
            found, edge = mean_prediction(model, torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float() / 255, config.test_flips)
        probabilities.append(found.cpu().numpy())
        if edge is not None:
            edges.append(edge.cpu().numpy())
    return Predictions([dataset.ids[index] for index in indices], np.concatenate(probabilities), np.concatenate(edges) if edges else None,
                       read_record(run_dir / "record.json")["id"])


def fast_network(model: nn.Module, example: Tensor, dtype: torch.dtype) -> nn.Module:
    """A copy that gives masks alone, called by :func:`~ehanet.devices.forward_pass` in ``dtype``: folded, in bfloat16 with weights and attention as these are fastest;
    the network itself where it cannot be folded.

    Args:
        example: an image (1, 3, H, W), see :func:`~ehanet.models.folding.folded`.
    """
    copy = folded(model, example, mask_only=True)
    if copy is not model and dtype != torch.float32:
        narrow_weights(copy, dtype)
        choose_attention(copy, example.device, dtype)
    return copy


class _Network:
    """A network that predicts batches, by a fast copy as soon as that is earned back: from the batch with the fifth pass of an image on, each flip a pass.

    On a GPU folding and recording take 0.2 s and spare some 10 ms a batch (benchmarks/results), so there a long stream alone has a fast copy, from its 17th
    batch on, and its batches of one shape are replayed from a recording.
    """

    def __init__(self, model: nn.Module, flips: bool, precision: str):
        self.model, self.flips = model.eval(), flips
        self.passes = self.batches = 0
        weights = next(model.parameters(), torch.zeros(1))
        self.device, self.input_dtype = weights.device, weights.dtype
        self.dtype = compute_dtype(precision, self.device)
        self.prepared = False
        self.mean = self._mean

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> probabilities (B, H, W) float32, averaged over the flips."""
        images = images.to(self.device, self.input_dtype)
        self.passes, self.batches = self.passes + len(images) * (len(FLIPS) if self.flips else 1), self.batches + 1
        if not self.prepared and (self.batches > 16 if self.device.type == "cuda" else self.passes > 4):
            self.prepared = True
            self.model = fast_network(self.model, images[:1], self.dtype)
            if self.device.type == "cpu":
                keep_memory()
            self.mean = recorded(self._mean, self.device)
        with float32_in_full(self.dtype):
            return self.mean(images)[0].float()

    def _mean(self, images: Tensor) -> list[Tensor]:
        return [mean_prediction(self._forward, images, self.flips)[0]]

    def _forward(self, images: Tensor) -> SegmentationOutput:
        return as_output(self.model, (images,), forward_pass(self.model, images, self.dtype))


def _enumerate(images) -> list[tuple[str, object]]:
    """Each image with the name that an error calls it by."""
    if isinstance(images, (np.ndarray, Tensor)):
        images = images[None] if images.ndim <= 3 else images  # one image; check_image says what it must look like
    elif isinstance(images, (str, Path, Image.Image)):
        images = [images]
    elif isinstance(images, Iterable) and not isinstance(images, (bytes, Mapping, Set)):  # these hold no images, or in no order
        images = list(images)
    else:
        raise ValueError(f"images: expected an array (H, W, 3) or (N, H, W, 3), a PIL image, a path, or a list of them; got {type(images).__name__}")
    if len(images) == 0:
        raise ValueError("images: expected at least one array (H, W, 3), PIL image or path; got nothing")
    return [(str(image) if isinstance(image, (str, Path)) else f"image {index}", image) for index, image in enumerate(images)]


def as_rgb(image, name: str = "image") -> np.ndarray:
    """Any accepted image -> float32 (H, W, 3) in [0, 1]; errors as in :func:`check_image`."""
    array = check_image(image, name)
    if array.dtype in (np.uint8, np.uint16):
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    return array.astype(np.float32, copy=False)


def check_image(image, name: str = "image") -> np.ndarray:
    """Any accepted image, or the path of one -> (H, W, 3) uint8, uint16, or floating in [0, 1].

    Raises:
        FileNotFoundError, ValueError: no file, a folder, not an image, another shape or type, NaN, values outside [0, 1]; one line with ``name``.
    """
    if isinstance(image, (str, Path)):
        path = Path(os.path.expanduser(image))
        if path.is_dir():
            raise ValueError(f"{path} is a folder; list its files, as in predict(model, sorted(Path({str(path)!r}).glob('*.png')))")
        image = read_photo(path)
    if isinstance(image, Image.Image) and image.mode not in _PLAIN_MODES:
        try:
            image = image.convert("RGB")
        except ValueError as error:
            raise ValueError(f"{name}: the colour space {image.mode} cannot be read; convert it to RGB") from error
    array = to_numpy(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        first = array.ndim > 2 and array.shape[-3] in (1, 3, 4) and array.size > 0
        raise ValueError(f"{name}: expected (H, W, 3), (H, W, 4), or grey (H, W) or (H, W, 1), got shape {array.shape}"
                         + "; channels come last here: .permute(1, 2, 0), of a batch .permute(0, 2, 3, 1) (numpy: transpose)" * first)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    array = np.ascontiguousarray(array[:, :, :3])
    if array.dtype in (np.uint8, np.uint16):
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name}: expected uint8, uint16 or floating point values, got {array.dtype}")
    if np.isnan(array).any():
        raise ValueError(f"{name}: contains NaN; clean the image first")
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"{name}: floating point values must lie in [0, 1], found {array.min():g} to {array.max():g}")
    return array
