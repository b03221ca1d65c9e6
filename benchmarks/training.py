"""Training: one step, the data's share of it, and whole epochs with data; on a CPU the plain way and ours in a process each, in turn, since ours keeps its memory."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.released import Released
from benchmarks.timing import IN_A_ROW, Ratio, apart, compare, limit_seconds, seconds
from ehanet.config import RunConfig
from ehanet.data import Dataset, load_dataset
from ehanet.data.phantoms import MINIMUM_SIZE
from ehanet.models import build_model
from ehanet.training import Trainer

SIZE, ORIGINAL = 256, 512  # side in the network, side of the files
COUNT = {"cpu": 40, "cuda": 400}  # files: eight in ten to train, one to validate, one to test
STEPS, EPOCHS = 5, 2  # on a CPU, before the clock counts: so long does a process ask the system for more memory


def rows(device: torch.device, peaks: dict) -> list[Ratio]:
    """The lines of this group."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        files = write_files(folder / "data", COUNT[device.type])
        dataset = load_dataset(folder / "data", size=SIZE)
        found, cpu = [], device.type == "cpu"
        for frozen, batch in ((True, 8), (True, 16), (False, 8), (False, 16)):
            config = RunConfig(dataset=str(folder / "data"), size=SIZE, batch_size=batch, optimizer="adam", augmentation="released", epochs=1000,
                               freeze_encoder="always" if frozen else "never", device=str(device))
            what = f"training step, encoder {'frozen' if frozen else 'trained'}, batch {batch}"
            with apart(device, plain_step, dataset, config, device) as plain, apart(device, our_step, dataset, config, folder / what) as ours:
                found.append(compare(what, plain, ours, device, 3, limit_seconds=limit_seconds(peaks, batch, training=True), note="data of the batch ready",
                                     warm_up=STEPS if cpu else None, target={("cpu", True): 4, ("cpu", False): 3, ("cuda", True): 6, ("cuda", False): 5}[device.type, frozen]))
        train = [files[index] for index in dataset.splits["train"]]
        for batch in (8, 16):  # 16 is the released recipe's
            config = replace(config, batch_size=batch)
            with (apart(device, plain_epoch, train, config, device, SIZE, calls=1) as plain,
                  apart(device, our_epoch, dataset, config, folder / f"epochs {batch}", calls=1) as ours):
                found.append(compare(f"epoch end to end, encoder trained, batch {batch}", plain, ours, device, 2, 5 if cpu else 20,
                                     limit_seconds(peaks, len(train), training=True), f"{len(train)} images, second and later; ours with validation and checkpoints",
                                     warm_up=EPOCHS if cpu else 1))
        return [*found, _share_of_data(dataset, config, folder / "share", device)]


def write_files(folder: Path, count: int) -> list[tuple[Path, Path, Path]]:
    """Polyp phantoms as JPEG with PNG masks and PNG edges, as the released loop reads them; (image, mask, edge) of each training image."""
    phantoms = load_dataset("phantom-polyp", size=max(MINIMUM_SIZE, ORIGINAL // 4))
    files = []
    for number in range(count):
        index = number % len(phantoms.ids)
        paths = tuple(folder / kind / f"{number:03d}.{suffix}" for kind, suffix in (("images", "jpg"), ("masks", "png"), ("edges", "png")))
        mask = phantoms.masks[index] * 255
        edge = mask ^ np.roll(mask, 1, axis=0)
        for path, picture in zip(paths, (phantoms.images[index], mask, edge)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).resize((ORIGINAL, ORIGINAL)).save(path)
        files.append(paths)
    return files


def _batch(dataset: Dataset, config: RunConfig, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    indices = dataset.splits["train"][:config.batch_size]
    images = torch.from_numpy(dataset.images[indices]).permute(0, 3, 1, 2).float() / 255
    masks = torch.from_numpy(dataset.masks[indices])[:, None].float()
    return images.contiguous().to(device), masks.to(device), (masks != masks.roll(1, 2)).float().to(device)


def _released(config: RunConfig, device: torch.device) -> Released:
    model = build_model("ehanet").to(device)
    model.encoder.requires_grad_(config.freeze_encoder == "never")
    return Released(model)


def plain_step(dataset: Dataset, config: RunConfig, device: torch.device):
    """A call that takes one step of the released loop on a batch that is ready."""
    plain, batch = _released(config, device), _batch(dataset, config, device)
    return lambda: plain.step(*batch)


def our_step(dataset: Dataset, config: RunConfig, run_dir: Path):
    """A call that takes one step of :class:`ehanet.training.Trainer` on a batch that is ready."""
    trainer = Trainer(config, dataset, run_dir)
    trainer.model.train()
    indices = dataset.splits["train"][:config.batch_size]
    batch = trainer.batch(indices, torch.Generator().manual_seed(0))
    return lambda: trainer.step(batch)


def plain_epoch(files: list, config: RunConfig, device: torch.device, size: int):
    """A call that trains on every file once, each decoded again."""
    plain, random = _released(config, device), np.random.default_rng(0)
    return lambda: plain.epoch(files, size, config.batch_size, random)


def our_epoch(dataset: Dataset, config: RunConfig, run_dir: Path):
    """A call that trains on every image of the cache once, validates and writes two checkpoints."""
    return Trainer(config, dataset, run_dir).run_epoch


def _share_of_data(dataset: Dataset, config: RunConfig, run_dir: Path, device: torch.device) -> Ratio:
    """Seconds of a step with its data, and of what the data (loading, augmentation and edge labels) add to it; on a GPU as in training, where a batch is made
    ready while the step before still runs."""
    trainer = Trainer(config, dataset, run_dir)
    trainer.model.train()
    indices, generator = dataset.splits["train"][:config.batch_size], torch.Generator().manual_seed(0)
    ready = trainer.batch(indices, generator)
    if device.type == "cuda":
        calls = (lambda: trainer.step(trainer.batch(indices, generator)), lambda: trainer.step(ready))
        times = np.array([[seconds(lambda: [call() for _ in range(IN_A_ROW)], device) / IN_A_ROW for call in calls] for _ in range(6)])[1:]
        whole, step = np.median(times, axis=0)
        data = max(whole - step, 1e-6)
    else:
        times = [(seconds(lambda: trainer.batch(indices, generator), device), seconds(lambda: trainer.step(ready), device)) for _ in range(6)][1:]
        data, step = np.median(times, axis=0)
        whole = data + step
    return Ratio("a step over its data", whole, data, *3 * [whole / data], 20, note=f"data take {100 * data / whole:.1f} % of a step of {config.batch_size}")
