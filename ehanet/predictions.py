"""The test split's probability maps as a report keeps them: small, so that they travel with the scores that anyone may compute again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_BZIP2, BadZipFile, ZipFile

import numpy as np

from ehanet.files import clear_parts, part_path, write_atomically

PART_BYTES = 1_300_000  # of one file, about: a report's files go into repositories, whose hosts balk at large ones
DAMAGE = (OSError, ValueError, KeyError, EOFError, BadZipFile)  # what reading a damaged or missing file raises


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
    """Write maps atomically in 256 steps, (N, H, W) uint8; a pixel above 0.5 stays above it, one at most 0.5 below.

    What would take more than :data:`PART_BYTES` goes on in <name>.2.npz and so on beside it, each with some of the images.
    """
    path = Path(path)
    arrays = {"ids": np.array(predictions.ids), "probabilities": _to_bytes(predictions.probabilities)}
    if predictions.edges is not None:
        arrays["edges"] = _to_bytes(predictions.edges)
    _write_part(path, arrays, predictions.run, 1)
    count = min(math.ceil(path.stat().st_size / PART_BYTES), len(predictions.ids))
    cuts = [len(predictions.ids) * part // count for part in range(count + 1)] if count > 1 else []
    for part in reversed(range(1, len(cuts))):  # the first at last: until then it holds all
        _write_part(part_path(path, part), {name: array[cuts[part - 1]:cuts[part]] for name, array in arrays.items()}, predictions.run, count)
    clear_parts(path, count)


def _write_part(path: Path, arrays: dict[str, np.ndarray], run: str, count: int) -> None:
    def write(temporary: Path) -> None:
        # An .npz for numpy.load, by bzip2: noisy edge maps take a third less than by savez_compressed's deflate.
        with ZipFile(temporary, "w", ZIP_BZIP2) as archive:
            for name, array in {**arrays, "run": np.array(run), "parts": np.array(count)}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)

    write_atomically(path, write)


def read_predictions(path: str | Path) -> Predictions:
    """Read stored maps, all parts of them.

    Raises:
        FileNotFoundError, ValueError: missing, damaged, or parts that were not written together; the message names the file.
    """
    parts = [_read_part(Path(path))]
    parts += [_read_part(part_path(path, number)) for number in range(2, int(parts[0].get("parts", 1)) + 1)]
    for number, part in enumerate(parts, start=1):
        if any(part.get(name) != parts[0].get(name) for name in ("run", "parts")):
            raise ValueError(f"{part_path(path, number)} does not go on from {path}; remove both and run the evaluation step again")
    ids, probabilities = [name for part in parts for name in part["ids"].tolist()], np.concatenate([part["probabilities"] for part in parts])
    edges = np.concatenate([part["edges"] for part in parts]) if "edges" in parts[0] else None
    return Predictions(ids, probabilities.astype(np.float32) / 255, None if edges is None else edges.astype(np.float32) / 255, str(parts[0]["run"]))


def are_kept(path: str | Path, run: str) -> bool:
    """Whether the maps of the training with the record ``run`` are there with all their parts; reads no map."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            count, own = int(file["parts"]) if "parts" in file else 1, str(file["run"])
    except DAMAGE:
        return False
    return own == run and all(part_path(path, number).is_file() for number in range(2, count + 1))


def _read_part(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found; run the evaluation step again")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        arrays["ids"], arrays["probabilities"], arrays["run"]  # noqa: B018 (each must be there)
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}); remove it and run the evaluation step again") from error
    return arrays


def _to_bytes(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(np.ceil(probabilities.astype(np.float64) * 255 - 0.5), 0, 255).astype(np.uint8)
