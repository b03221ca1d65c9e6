"""A small reports folder with everything that tables, figures and page are made from, without training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from ehanet.data import Dataset
from ehanet.metrics import score_masks
from ehanet.metrics.released import score_choice
from ehanet.predictions import Predictions, predictions_path, write_predictions
from ehanet.records import write_record


def discs(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, size, size, 3) of one bright disc each, and the discs' masks; image 3 has none."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    masks = np.zeros((count, size, size), np.uint8)
    for index in range(count):
        radius = random.uniform(0.08, 0.3) * size
        cy, cx = random.uniform(0.2, 0.8, 2) * size
        masks[index] = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
    masks[3] = 0
    images = random.normal(90, 12, (count, size, size, 3)) + 80 * masks[..., None] * [1.0, 0.5, 0.4]
    return images.clip(0, 255).astype(np.uint8), masks


def make_dataset(name: str = "phantom-polyp", count: int = 40, size: int = 32) -> Dataset:
    """A data set whose last half is its test split."""
    images, masks = discs(count, size, 1)
    indices = np.arange(count)
    splits = {"train": indices[: count // 2 - 4], "val": indices[count // 2 - 4:count // 2], "test": indices[count // 2:]}
    phantom = name.startswith("phantom-")
    manifest = {"name": name, "modality": "phantom" if phantom else "colonoscopy", "licence": "that of this code" if phantom else "research only",
                "citation": None, "spacing_mm": None, "sources": [] if phantom else [{"file": "a.zip", "bytes": 10, "sha256": "0" * 64, "official": False}],
                "size": size, "count": count, "content": "c" * 64, "original_sizes": {f"{size}x{size}": count}, "empty_masks": 1,
                "warnings": [] if phantom else ["a.zip is not the official file"],
                "split": {"source": "rule", "seed": 0, "sha256": "5" * 64, "counts": {part: len(where) for part, where in splits.items()}}}
    ids = [f"image{index:03d}" for index in range(count)]
    return Dataset(name, images, masks, ids, ids, splits, manifest)


def blur_prediction(masks: np.ndarray, error: float, seed: int) -> np.ndarray:
    """Probabilities whose mistakes grow with ``error``: the mask shifted and its border made noisy; now and then nothing."""
    random = np.random.default_rng(seed)
    out = []
    for mask in masks.astype(float):
        moved = np.roll(mask, random.integers(-1, 2, 2) * round(12 * error), axis=(0, 1))
        noisy = moved * 0.8 + 0.1 + random.normal(0, error, mask.shape)
        out.append(np.zeros_like(mask) if random.random() < error / 8 else noisy)
    return np.stack(out).clip(0, 1)


def make_reports(root: Path, data: Dataset, methods: dict[str, float], seeds=(0,), absent=(), encoder: str = "random, trained", **settings) -> Path:
    """``root``/reports of finished, scored runs; ``methods``: label -> size of its mistakes. Returns the reports folder."""
    reports, test = root / "reports", data.splits["test"]
    scores = reports / "scores" / data.name
    scores.mkdir(parents=True, exist_ok=True)
    known = ("unet-32", "unet", "lanet", "pranet", "ehanet")
    listing, choices = [], []
    for number, (label, error) in enumerate(methods.items()):
        method = next((name for name in known if label.startswith(name)), label)
        for seed in seeds:
            probabilities = blur_prediction(data.masks[test], error, 100 * number + seed)
            ids = [data.ids[index] for index in test]
            config = {"method": method, "label": label, "dataset": data.name, "seed": seed, "size": data.images.shape[1], "epochs": 12, "protocol": "corrected",
                      "batch_size": 32, "optimizer": "adam", "learning_rate": 0.002, "schedule": "one-cycle", "augmentation": "flips",
                      "freeze_encoder": "never", "weight_decay": 0.0, "edge_width": 3, "precision": "auto", **settings}
            folder = reports / "runs" / data.name / label / f"seed{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            _history(error, seed).to_csv(folder / "history.csv", index=False)
            run = write_record(folder / "record.json", "run", config=config, seed=seed, data=data.manifest, device={"type": "cpu", "name": "Test processor", "threads": 2}, precision="float32",
                               seconds=61.5, steps=96, peak_memory_bytes=812_000_000, encoder="none" if method.startswith("unet") else encoder,
                               best={"epoch": 9, "val_dice": 0.8}, warnings=data.manifest["warnings"])
            frame = score_masks(probabilities, data.masks[test], ids=ids, groups=ids)
            frame.to_csv(scores / f"{label}__seed{seed}.csv", index=False, float_format="%.6g")
            write_record(scores / f"{label}__seed{seed}.json", "scores", config=config, seed=seed, data=data.manifest, encoder=run["encoder"],
                         inputs=[run["id"]], warnings=run["warnings"])
            choices.append(score_choice(probabilities, data.masks[test], ids).assign(label=label, seed=seed))
            write_predictions(predictions_path(reports, data.name, label, seed), Predictions(ids, probabilities, None, run["id"]))
        listing.append({"method": method, "label": label, "seeds": list(seeds), "reason": ""})
    listing += [{"method": "pranet", "label": label, "seeds": [], "reason": reason} for label, reason in absent]
    (scores / "methods.json").write_text(json.dumps(listing))
    pd.concat(choices).to_csv(scores / "score_choice.csv", index=False)
    return reports


def measured_cost(label: str, gmac: float) -> dict:
    """As ``ehanet.cost.measure_cost`` gives it."""
    return {"label": label, "method": label, "parameters": round(1e6 * gmac), "gmac": gmac, "side": 32, "precision": "float32", "rate_1": 10.0, "rate_best": 20.0,
            "batch_best": 4, "memory_mb": 100, "device": "Test processor, 2 threads"}


def _history(error: float, seed: int, epochs: int = 12) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    noise = np.random.default_rng(seed).normal(0, 0.02, epochs)
    dice = (1 - error) * (1 - np.exp(-epoch / 3)) + noise
    return pd.DataFrame({"epoch": epoch, "steps": 8 * epoch, "train_loss": 2 * np.exp(-epoch / 4) + 0.4, "val_loss": 2 * np.exp(-epoch / 4) + 0.5 - noise,
                         "val_dice": dice.clip(0, 1), "learning_rate": 0.002, "seconds": 5.0})
