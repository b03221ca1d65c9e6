"""Traps in the data, drawn: edge labels that miss the object, patients on both sides of a split."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from ehanet.data import Dataset
from ehanet.data.augment import Augmentation
from ehanet.data.edges import edge_labels, released_edge_labels
from ehanet.data.splits import rule_split
from ehanet.interact.canvas import Cell, Picture, gallery
from ehanet.interact.examples import Example


def augmented_edges(example: Example, kind: str = "released", seed: int = 0) -> dict[str, np.ndarray]:
    """One example augmented, with the edge labels of both protocols.

    Args:
        kind: of augmentation, as ``RunConfig.augmentation`` names it.
        seed: of its random numbers.

    Returns:
        image uint8 (H, H, 3); mask, corrected, left behind, released: bool (H, H). "left behind" is the edge as it was before the augmentation,
        "released" what the released code makes of that.
    """
    image = torch.from_numpy(example.image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    mask = torch.from_numpy(example.mask.astype(np.float32))[None, None]
    moved, moved_mask = Augmentation(kind)(image, mask, torch.Generator().manual_seed(seed))
    bools = {"mask": moved_mask, "corrected": edge_labels(moved_mask), "left behind": edge_labels(mask), "released": released_edge_labels(mask)}
    return {"image": np.rint(moved[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8), **{name: label[0, 0].numpy() > 0.5 for name, label in bools.items()}}


def edges_picture(example: Example, edges: dict[str, np.ndarray]) -> Picture:
    """The augmented image with its mask and the edge labels; ``edges`` as :func:`augmented_edges` gives them, each (H, W)."""
    cells = [Cell("image", example.image, example.name), Cell("augmented", edges["image"]), Cell("its mask", edges["mask"].astype(float))]
    cells += [Cell(name, edges[name].astype(float), f"{np.count_nonzero(edges[name])} pixels") for name in ("corrected", "left behind", "released")]
    return gallery(cells, mark=example.mark)


def split_leak(data: Dataset, seed: int = 0) -> pd.DataFrame:
    """How many groups (patients) have images in more than one part of the split, and in training and test: split by slice and by patient, both by
    the rule with ``seed``."""
    def parts_of(places: list[str]) -> list[set[str]]:
        return [{place for place, owner in zip(places, data.groups) if owner == group} for group in set(data.groups)]

    rows = {"by slice": parts_of(rule_split(data.ids, data.ids, seed)), "by patient": parts_of(rule_split(data.ids, data.groups, seed))}
    return pd.DataFrame({name: {"patients in several parts": sum(len(one) > 1 for one in found), "in training and test": sum({"train", "test"} <= one for one in found)}
                         for name, found in rows.items()}).T
