"""Splits: a partition, pure in its groups, the same on every machine; published CSVs in their usual spellings."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from archives import kvasir, lgg, make_zip
from hypothesis import given
from hypothesis import strategies as st

from ehanet.data import load_dataset
from ehanet.data.splits import SPLITS, read_split, resolve_split, rule_split, split_csv, write_split

names = st.lists(st.text("abc123_", min_size=1, max_size=6), min_size=3, max_size=60, unique=True)


@given(names, st.integers(0, 5), st.randoms())
def test_the_rule_is_a_partition_that_ignores_order(ids, seed, shuffler):
    places = dict(zip(ids, rule_split(ids, ids, seed)))
    assert set(places.values()) == set(SPLITS)
    count = {part: list(places.values()).count(part) for part in SPLITS}
    tenth = max(1, int(len(ids) / 10 + 0.5))
    assert count == {"train": len(ids) - 2 * tenth, "val": tenth, "test": tenth}
    shuffler.shuffle(ids)
    assert dict(zip(ids, rule_split(ids, ids, seed))) == places


@given(names, st.data())
def test_groups_stay_together(groups, data):
    members = [group for group in groups for _ in range(data.draw(st.integers(1, 4)))]
    ids = [f"{group}-{number}" for number, group in enumerate(members)]
    places = rule_split(ids, members)
    for group in groups:
        assert len({place for place, member in zip(places, members) if member == group}) == 1


def test_the_rule_gives_these_very_splits_for_ever():
    """Frozen: the published numbers of this project rest on them."""
    ids = [f"image{number}" for number in range(20)]
    places = rule_split(ids, ids, 0)
    assert [i for i, place in zip(ids, places) if place == "test"] == FROZEN_TEST
    assert [i for i, place in zip(ids, places) if place == "val"] == FROZEN_VAL
    assert rule_split(ids, ids, 1) != places


FROZEN_TEST = ["image5", "image17"]
FROZEN_VAL = ["image8", "image9"]


def test_the_rule_needs_three_groups():
    with pytest.raises(ValueError, match="at least 3 images or patients, got 2"):
        rule_split(["a1", "a2", "b1"], ["a", "a", "b"])


IDS = ["a", "b.x", "c"]


@pytest.mark.parametrize(
    "text",
    [
        "name,split\na,train\nb.x,val\nc,test\n",
        "split,name\nvalid,b.x.jpg\ntest,c.PNG\ntrain,a.tif\n",
        "\ufeffname,split,note\r\na.jpg,Training,1\r\nb.x,validation,2\r\nimages/c.jpg,test,3\r\n",
    ],
)
def test_published_splits_in_their_usual_spellings(tmp_path, text):
    path = tmp_path / "split.csv"
    path.write_bytes(text.encode())
    assert read_split(path, IDS) == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,split\na,train\nb.x,val\n", "leaves out 1 of 3 images, 'c' first"),
        ("name,split\na,train\nb.x,val\nc,test\nd,test\n", "line 5: the data set has no image 'd'"),
        ("name,split\na,train\nb.x,val\nc,test\na.jpg,test\n", "line 5: 'a' is named twice"),
        ("name,split\na,train\nb.x,dev\nc,test\n", "line 3: the split 'dev' is none of train, val, test"),
        ("a,train\nb.x,val\nc,test\n", "needs a header with the columns name,split"),
        ("", "needs a header with the columns name,split"),
        ("name,split\na\n", "line 2: the split None is none of"),
    ],
)
def test_bad_split_files_are_named(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_split(path, IDS)
    assert "bad.csv" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist; give split='rule'"):
        read_split(tmp_path / "none.csv", IDS)


def test_which_split_is_taken_and_what_the_manifest_says(tmp_path, fresh_cache):
    ids = [f"p{number}" for number in range(12)]
    make_zip(tmp_path / "kvasir-seg.zip", kvasir(ids))
    by_rule = load_dataset("kvasir-seg", root=tmp_path, size=16)
    assert by_rule.manifest["split"]["source"] == "rule" and by_rule.manifest["split"]["counts"] == {"train": 10, "val": 1, "test": 1}
    published = tmp_path / "kvasir-seg.split.csv"
    published.write_text("name,split\n" + "".join(f"{i}.jpg,{'train' if n < 8 else 'valid' if n < 10 else 'test'}\n" for n, i in enumerate(ids)))
    data = load_dataset("kvasir-seg", root=tmp_path, size=16)
    assert [data.splits[part].tolist() for part in SPLITS] == [list(range(8)), [8, 9], [10, 11]]
    assert data.manifest["split"] | {"sha256": None} == {
        "source": "kvasir-seg.split.csv", "seed": None, "sha256": None, "counts": {"train": 8, "val": 2, "test": 2},
    }
    again = load_dataset("kvasir-seg", root=tmp_path, size=16, split="rule")
    assert again.manifest["split"] == by_rule.manifest["split"]
    other_seed = load_dataset("kvasir-seg", root=tmp_path, size=16, split="rule", seed=3)
    assert other_seed.manifest["split"]["seed"] == 3 and other_seed.manifest["split"]["sha256"] != again.manifest["split"]["sha256"]
    written = tmp_path / "out" / "split.csv"
    write_split(written, data.ids, data.splits)
    assert hashlib.sha256(written.read_bytes()).hexdigest() == data.manifest["split"]["sha256"]
    back = load_dataset("kvasir-seg", root=tmp_path, size=16, split=written)
    assert all(np.array_equal(back.splits[part], data.splits[part]) for part in SPLITS)
    assert back.manifest["split"]["sha256"] == data.manifest["split"]["sha256"]


def test_a_split_file_may_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_split(tmp_path / "s.csv", IDS, {"train": np.arange(len(IDS))})
    assert resolve_split("own", IDS, IDS, "~/s.csv", [], 0)[1]["source"] == "s.csv"
    with pytest.raises(FileNotFoundError, match="^the split file ~nobody-of-that-name/s.csv does not exist; "):
        resolve_split("own", IDS, IDS, "~nobody-of-that-name/s.csv", [], 0)


def test_names_with_commas_and_quotes_survive(tmp_path):
    ids = ["a,1", 'b "2"', "c"]
    write_split(tmp_path / "split.csv", ids, {"train": np.array([0]), "val": np.array([1]), "test": np.array([2])})
    assert read_split(tmp_path / "split.csv", ids) == ["train", "val", "test"]
    assert split_csv(["a", "b"], ["train", "test"]) == "name,split\na,train\nb,test\n", "hashes of ordinary names stay"


def test_a_published_split_that_tears_patients_apart_is_noted(tmp_path, fresh_cache):
    make_zip(tmp_path / "lgg-mri-segmentation.zip", lgg(3, slices=6))
    by_rule = load_dataset("lgg", root=tmp_path, size=16)
    assert not any("patients" in warning for warning in by_rule.manifest["warnings"])
    torn = tmp_path / "torn.csv"
    torn.write_text("name,split\n" + "".join(f"{i},{('train', 'val', 'train')[n % 3]}\n" for n, i in enumerate(by_rule.ids)))
    warnings = load_dataset("lgg", root=tmp_path, size=16, split=torn).manifest["warnings"]
    assert any("3 patients (or videos) in more than one part" in warning for warning in warnings)
    assert any("no images for test" in warning for warning in warnings)
