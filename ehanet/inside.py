"""What trained networks look at in one test image: Grad-CAM of several methods and outputs, side outputs, gates. Drawn by ``ehanet.reporting.inside``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ehanet.checkpoints import load_best, restore_model
from ehanet.data import Dataset
from ehanet.devices import device_or_other
from ehanet.explain import ahfa_gates, efa_gates, grad_cam, layer_shapes, output_maps
from ehanet.kept_scores import finished_run, kept_records
from ehanet.metrics.regions import dice_per_image
from ehanet.records import read_record
from ehanet.reporting.results import TRAINED, beginning

# Of EHANet: output -> the layer that feeds it. The deepest AHFA feeds s1, the shallowest s4 and, with the edge feature, the final output.
OWN_LAYERS = {"s1": "decoder.0", "s2": "decoder.1", "s3": "decoder.2", "s4": "decoder.3", "final": "decoder.3", "edge": "iem.path1"}


@dataclass(frozen=True)
class Cam:
    """Grad-CAM (H, W) of a ``layer`` at ``stride`` for an ``output`` of the method ``label``."""

    label: str
    method: str
    layer: str
    stride: int
    output: str
    cam: np.ndarray


@dataclass(frozen=True)
class Inside:
    """All that was seen in the image ``image`` of a data set.

    maps: output -> probabilities (H, W) of the reference. dice: output -> Dice on each of the test images ``images``; the edge has none.
    cams: of every method at its deepest map and at its last map before the head. own: of the reference's outputs at the layers that feed them.
    efa, ahfa: see :mod:`ehanet.explain`. inputs: ids of the runs' records. absent: label -> why it was not looked at.
    """

    image: str
    images: list[str]
    label: str
    method: str
    maps: dict[str, np.ndarray]
    dice: dict[str, np.ndarray]
    cams: list[Cam]
    own: list[Cam]
    efa: list[tuple[np.ndarray, np.ndarray]]
    ahfa: list[np.ndarray]
    inputs: list[str]
    absent: dict[str, str]


def look_inside(data: Dataset, runs: str | Path, rows: list[dict], methods: int = 6, images: int = 64, reports: str | Path = "reports") -> Inside | None:
    """Look into the runs of a data set with the first seed of each network.

    The image is the test image at the median of the reference's Dice among those with an object.

    Args:
        runs: folder of the data set's runs, <label>/seed<k>/ below it. rows: ``{"method", "label", "seed"}`` of each run; EHANet's is the reference.
        methods: how many networks, the reference included, variants of one network counted once. images: test images for the side outputs' Dice.
        reports: where the records of kept rows lie (``"kept": True``); a checkpoint of another training of that name is not theirs.

    Returns:
        None where no checkpoint of EHANet is on this machine, as where a report's kept runs were trained elsewhere.

    Raises:
        ValueError: a test split without images.
    """
    if not len(data.splits["test"]):
        raise ValueError(f"{data.name}: the test split is empty; nothing to look at")
    first = {row["label"]: row for row in reversed(rows)}
    folders = {label: Path(runs) / label / f"seed{first[label]['seed']}" for label in dict.fromkeys(row["label"] for row in rows)}
    kept = kept_records(Path(reports), data.name, list(first.values()))
    there = [first[label] for label, folder in folders.items() if finished_run(folder, kept.get((label, first[label]["seed"])))]
    absent = {label: "its checkpoint is not on this machine" for label in folders if first[label] not in there}
    if not any(row["method"] == "ehanet" for row in there):
        return None
    records = {row["label"]: read_record(folders[row["label"]] / "record.json") for row in there}
    trained = [label for label, record in records.items() if beginning(record["encoder"]) == TRAINED]
    models, inputs = {}, []
    for row in (chosen := choose_rows(there, methods, trained)):
        model, config = restore_model(load_best(folders[row["label"]]))
        models[row["label"]] = (row, model.to(device_or_other(config.device)))
        inputs.append(records[row["label"]]["id"])
    reference, model = models[chosen[0]["label"]]
    tested = data.splits["test"][:images]
    dice = _dice_of_outputs(model, data, tested)
    place = _median(dice["final"], data.masks[tested].any(axis=(1, 2)), tested)
    image = data.images[place]
    shapes = layer_shapes(model)
    own = [Cam(reference["label"], reference["method"], layer, shapes[layer][1], output, grad_cam(model, image, layer, output))
           for output, layer in OWN_LAYERS.items() if layer in shapes]
    cams = [cam for row, network in models.values() for cam in _cams(row, network, image)]
    return Inside(data.ids[place], [data.ids[index] for index in tested], reference["label"], reference["method"], output_maps(model, image), dice, cams, own,
                  efa_gates(model, image), ahfa_gates(model, image), inputs, absent)


def choose_rows(rows: list[dict], methods: int, trained: Collection[str] = ()) -> list[dict]:
    """EHANet, then the other networks in the table's order, each once: the row whose encoder began ``trained`` (labels), else that named like its network,
    else its first."""
    found: dict[str, dict] = {}
    for row in sorted(rows, key=lambda row: (row["label"] not in trained, row["label"] != row["method"])):
        found.setdefault(row["method"], row)
    order = dict.fromkeys(row["method"] for row in rows if row["method"] != "ehanet")
    return [found[method] for method in ("ehanet", *order)][:methods]


def deepest_and_last(shapes: dict[str, tuple[int, int]]) -> tuple[str, str]:
    """The layers that the methods are compared at: the last of the coarsest maps, and the last map of at least 8 channels, before the head."""
    coarsest = max(stride for _, stride in shapes.values())
    deep = [layer for layer, (_, stride) in shapes.items() if stride == coarsest and not layer.startswith(("decoder", "reduce", "adapters"))]
    last = [layer for layer, (channels, _) in shapes.items() if channels >= 8 and not layer.startswith(("head", "iem", "edge"))]
    return (deep or list(shapes))[-1], (last or list(shapes))[-1]


def _cams(row: dict, model: nn.Module, image: np.ndarray) -> list[Cam]:
    shapes = layer_shapes(model)
    return [Cam(row["label"], row["method"], layer, shapes[layer][1], "final", grad_cam(model, image, layer)) for layer in deepest_and_last(shapes)]


def _dice_of_outputs(model: nn.Module, data: Dataset, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Dice of every region output on each of the images at ``indices``, (N,)."""
    found: dict[str, list[float]] = {}
    for index in indices:
        for output, probabilities in output_maps(model, data.images[index]).items():
            if output != "edge":
                found.setdefault(output, []).append(float(dice_per_image(probabilities[None], data.masks[index][None].astype(bool))[0]))
    return {output: np.array(values) for output, values in found.items()}


def _median(dice: np.ndarray, objects: np.ndarray, places: np.ndarray) -> int:
    candidates = np.flatnonzero(objects) if objects.any() else np.arange(len(dice))
    ranked = candidates[np.argsort(dice[candidates], kind="stable")]
    return int(places[ranked[(len(ranked) - 1) // 2]])
