"""The four real archives of ../shared/data: working copies in the layouts of the originals."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from ehanet.data import load_dataset

# what data/README.md of the shared folder and the files themselves say
REAL = {
    "kvasir-seg": {"count": 1000, "groups": 1000, "counts": {"train": 800, "val": 100, "test": 100}, "sizes": 1},
    "dsb2018": {"count": 664, "groups": 664, "counts": {"train": 532, "val": 66, "test": 66}, "sizes": 8},
    "isic2018": {"count": 2594, "groups": 2594, "counts": {"train": 2076, "val": 259, "test": 259}, "sizes": 1},
    "lgg": {"count": 2557, "groups": 72, "counts": None, "sizes": 1},
}


@pytest.mark.parametrize("name", ["kvasir-seg", *(pytest.param(name, marks=pytest.mark.slow) for name in REAL if name != "kvasir-seg")])
def test_real_archives(shared, name):
    data = load_dataset(name, root=shared / "data", size=32)
    expected, manifest = REAL[name], data.manifest
    assert data.images.shape == (expected["count"], 32, 32, 3) and data.masks.shape == data.images.shape[:3]
    assert set(np.unique(data.masks)) == {0, 1} and len(set(data.groups)) == expected["groups"]
    contrast = np.ptp(data.images.reshape(len(data.images), -1), axis=1)
    assert data.images.std() > 15 and np.median(contrast) > 50  # pictures; single ones may be dark (DSB) or blank (LGG, outer slices)
    assert len(manifest["original_sizes"]) == expected["sizes"] and sum(manifest["original_sizes"].values()) == expected["count"]
    assert [source["official"] for source in manifest["sources"]] == [False] * len(manifest["sources"])
    assert any("is not the official file" in warning for warning in manifest["warnings"])
    assert sorted(np.concatenate(list(data.splits.values()))) == list(range(expected["count"]))
    parts = [{data.groups[i] for i in indices} for indices in data.splits.values()]
    assert sum(map(len, parts)) == expected["groups"]
    if expected["counts"]:
        assert manifest["split"]["counts"] == expected["counts"]
    if name == "kvasir-seg":
        with (shared / "data" / "kvasir-seg.split.csv").open() as file:
            published = {row["name"]: row["split"] for row in csv.DictReader(file)}
        assert manifest["split"]["source"] == "kvasir-seg.split.csv"
        assert all(published[data.ids[i]] == part for part, indices in data.splits.items() for i in indices)
        assert 0.13 < data.masks.mean() < 0.18 and manifest["empty_masks"] == 0
    if name == "lgg":
        assert 0.6 < manifest["empty_masks"] / expected["count"] < 0.7  # two thirds
        assert [len(part) for part in parts] == [58, 7, 7]
    if name == "dsb2018":
        bright = data.images.mean(axis=(1, 2, 3)) > 127
        assert 0.01 < bright.mean() < 0.2  # a few bright-field images among fluorescence
