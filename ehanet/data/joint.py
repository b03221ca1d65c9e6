"""Several data sets as one: a network trained on it meets every modality, and no image changes its side of the split."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from ehanet.data.splits import SPLITS, content_and_split, split_csv


def join(parts: list) -> tuple[np.ndarray, np.ndarray, list[str], list[str], dict[str, np.ndarray], dict]:
    """Images, masks, ids, groups, splits and manifest of data sets of one size, one after the other.

    Ids and groups get the part's name in front, as in "kvasir-seg/cju0qkwl35piu0993l0dewei2"; the manifest's ``parts`` maps each
    part's name to the number of its images, in order, ``part_hashes`` to its ``content_and_split``.
    """
    ids = [f"{part.name}/{image}" for part in parts for image in part.ids]
    groups = [f"{part.name}/{group}" for part in parts for group in part.groups]
    starts = np.cumsum([0, *(len(part.ids) for part in parts)])
    splits = {name: np.concatenate([start + part.splits[name] for start, part in zip(starts, parts)]) for name in SPLITS}
    places = np.empty(len(ids), dtype=object)
    for name, indices in splits.items():
        places[indices] = name
    manifests = [part.manifest for part in parts]
    manifest = {
        "size": manifests[0]["size"], "count": len(ids), "parts": {part.name: len(part.ids) for part in parts},
        "part_hashes": {part.name: content_and_split(part.manifest) for part in parts},
        "content": hashlib.sha256("\n".join(manifest["content"] for manifest in manifests).encode()).hexdigest(),
        "sources": [source for manifest in manifests for source in manifest["sources"]],
        "original_sizes": dict(sum((Counter(manifest["original_sizes"]) for manifest in manifests), Counter())),
        "empty_masks": sum(manifest["empty_masks"] for manifest in manifests),
        "warnings": [f"{part.name}: {warning}" for part in parts for warning in part.manifest["warnings"]],
        "split": {"source": "those of its parts", "seed": None, "sha256": hashlib.sha256(split_csv(ids, list(places)).encode()).hexdigest(),
                  "counts": {name: len(splits[name]) for name in SPLITS}},
        "licence": "; ".join(f"{part.name}: {part.manifest['licence']}" for part in parts),
        "citation": "; ".join(part.manifest["citation"] for part in parts if part.manifest["citation"]) or None,
        "modality": common.pop() if len(common := {manifest["modality"] for manifest in manifests}) == 1 else "several", "spacing_mm": None,
    }
    return (np.concatenate([part.images for part in parts]), np.concatenate([part.masks for part in parts]), ids, groups, splits, manifest)


PHANTOM_SHARE = 0.25  # of what a real data set gives to an epoch: phantoms are learned in a fraction of the time


def balanced_draw(indices: np.ndarray, sizes: dict[str, int], count: int, random: np.random.Generator) -> np.ndarray:
    """About ``count`` of ``indices`` in random order, the same number from each part (a phantom set beside real ones gives a quarter), without
    repetition while a part lasts.

    Args:
        indices: of the training images. sizes: images of each part, in the order of the data set.
    """
    real = [name for name in sizes if not name.startswith("phantom-")]
    shares = [PHANTOM_SHARE if real and name not in real else 1.0 for name in sizes]
    bounds = np.cumsum([0, *sizes.values()])
    drawn = []
    for share, low, high in zip(shares, bounds[:-1], bounds[1:]):
        part = indices[(indices >= low) & (indices < high)]
        wanted = max(1, round(count * share / sum(shares)))
        if len(part):
            drawn.append(np.concatenate([random.permutation(part) for _ in range(-(-wanted // len(part)))])[:wanted])
    return random.permutation(np.concatenate([indices[:0], *drawn]))
