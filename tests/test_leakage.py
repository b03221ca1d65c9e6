"""Near-duplicates by perceptual hash, and what splits share."""

import numpy as np
import pandas as pd
import pytest

from ehanet.data import Dataset, load_dataset
from ehanet.data.corruptions import corrupt
from ehanet.data.duplicates import leakage, near_duplicates, perceptual_hashes, reduced, resembling
from ehanet.reporting import leakage_report


@pytest.fixture(scope="module")
def images():
    """24 different phantoms, then: a copy of 3, a compressed 5, a darker 7 and a slightly noisy 9."""
    own = np.array(load_dataset("phantom-polyp", size=64).images[:24])
    changed = [own[3], corrupt(own[5], "jpeg", 1), (own[7] * 0.7).astype(np.uint8), corrupt(own[9], "noise", 1)]
    return np.concatenate([own, changed])


def test_copies_are_found_and_nothing_else(images):
    found = near_duplicates(images)
    assert set(zip(found["first"], found["second"])) == {(3, 24), (5, 25), (7, 26), (9, 27)}
    assert found.loc[found["identical"], ["first", "second"]].values.tolist() == [[3, 24]]
    assert found["identical"].iloc[0] and found["distance"].iloc[0] == 0


def test_images_that_resemble_those_of_another_data_set(images):
    larger = images[20:].repeat(2, axis=1).repeat(2, axis=2)  # two data sets need not have one size
    assert resembling(larger, images[:10]) == [4, 5, 6, 7] and resembling(larger, images[10:20]) == []


def test_hashes_do_not_depend_on_brightness_and_contrast():
    grey = np.random.default_rng(0).uniform(50, 200, (5, 32, 32)).astype(np.float32)
    assert np.array_equal(perceptual_hashes(grey), perceptual_hashes(0.5 * grey + 20))
    assert len(set(perceptual_hashes(grey))) == 5


def test_reduction_is_the_area_average():
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, :2, :2] = [[200] * 3, [100] * 3]
    assert reduced(image)[0, 0, 0] == pytest.approx(150, abs=0.5) and reduced(image).sum() == pytest.approx(150, abs=0.5)


def test_what_two_splits_share_by_hand():
    pairs = pd.DataFrame({"first": [0, 0, 1, 2], "second": [3, 4, 2, 4], "distance": 0, "correlation": 1.0, "identical": [True, False, False, False]})
    places, groups = ["train", "train", "val", "test", "test"], ["a", "b", "a", "c", "b"]
    found = leakage(pairs, places, groups).set_index(["one", "other"])
    assert found.loc[("train", "test")].tolist() == [2, 1, 2, 2, 1]  # pairs, identical, affected, images, patients in both
    assert found.loc[("train", "val")].tolist() == [1, 0, 1, 1, 1]
    assert found.loc[("val", "test")].tolist() == [1, 0, 1, 2, 0]
    assert leakage(pairs.iloc[:0], places, groups)["pairs"].sum() == 0


def test_patients_cut_by_a_split_of_slices(tmp_path):
    data = load_dataset("phantom-glioma", size=64)
    kept = np.arange(80)
    parts = {"train": kept[:48], "val": kept[48:64], "test": kept[64:]}
    small = Dataset(data.name, data.images[kept], data.masks[kept], data.ids[:80], data.groups[:80], parts, data.manifest)
    table = leakage_report(small, tmp_path)
    by_patient, by_slice = table.rows[:3], table.rows[3:]
    assert all(row["groups"] == 0 for row in by_patient) and all(row["split"] == "by slice" and row["groups"] > 0 for row in by_slice)
    listed = pd.read_csv(tmp_path / "leakage" / "phantom-glioma.csv")
    across = listed[listed["first_split"] != listed["second_split"]]
    assert len(across) == sum(row["pairs"] for row in by_patient)
    assert (tmp_path / "figures" / "leakage_phantom-glioma.png").is_file()


def test_images_of_one_colour_are_alike_where_they_are_the_same():
    random = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    images = np.stack([np.zeros_like(random), np.zeros_like(random), random, random, np.full_like(random, 90)])
    found = near_duplicates(images)
    assert list(zip(found["first"], found["second"], found["identical"])) == [(0, 1, True), (2, 3, True)]
    assert resembling(images[:1], images[1:2]) == [0] and resembling(images[:1], images[4:]) == []
