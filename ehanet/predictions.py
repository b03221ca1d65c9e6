"""The test split's probability maps as a report keeps them: small, so that they travel with the scores that anyone may compute again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_BZIP2, BadZipFile, ZipFile

import numpy as np

from ehanet.files import write_atomically


@dataclass(frozen=True)
class Predictions:
    """Maps of one run.

    ids: image names. probabilities: float32 (N, H, W) in [0, 1], in steps of 1/255. edges: the same of the edge branch, or None.
    run: id of the training's record.
    """

    ids: list[str]
    probabilities: np.ndarray
    edges: np.ndarray | None
    run: str


def predictions_path(reports: str | Path, dataset: str, label: str, seed: int) -> Path:
    """Where a report keeps the maps of a run."""
    return Path(reports) / "predictions" / dataset / f"{label}__seed{seed}.npz"


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write maps atomically in 256 steps, (N, H, W) uint8; a pixel above 0.5 stays above it, one at most 0.5 below."""
    arrays = {"ids": np.array(predictions.ids), "probabilities": _to_bytes(predictions.probabilities), "run": np.array(predictions.run)}
    if predictions.edges is not None:
        arrays["edges"] = _to_bytes(predictions.edges)

    def write(temporary: Path) -> None:
        # An .npz for numpy.load, by bzip2: noisy edge maps take a third less than by savez_compressed's deflate.
        with ZipFile(temporary, "w", ZIP_BZIP2) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)

    write_atomically(path, write)


def read_predictions(path: str | Path) -> Predictions:
    """Read stored maps.

    Raises:
        FileNotFoundError, ValueError: missing or damaged; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; run the evaluation step again")
    try:
        with np.load(path, allow_pickle=False) as file:
            edges = file["edges"] if "edges" in file else None
            ids, probabilities, run = file["ids"].tolist(), file["probabilities"], str(file["run"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}); run the evaluation step again") from error
    return Predictions(ids, probabilities.astype(np.float32) / 255, None if edges is None else edges.astype(np.float32) / 255, run)


def _to_bytes(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(np.ceil(probabilities.astype(np.float64) * 255 - 0.5), 0, 255).astype(np.uint8)
