"""Importers on tiny archives that look like the official downloads, through ``load_dataset``."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from archives import CLUTTER, cvc_clinicdb, disc, dsb2018, dsb_id, encoded, isic2018, kaggle_lgg, kvasir, lgg, make_folder, make_tar, make_zip, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from ehanet.data import load_dataset
from ehanet.data.archives import Member, Source
from ehanet.data.importers import IMPORTERS, find_samples, natural_key

IDS = [f"cju{number}" for number in (1, 2, 9, 10, 11, 30)]
FRAMES = [1, 2, 25, 26, 50, 51, 591, 612]
LAYOUTS = {
    "kvasir-seg": {"kvasir-seg.zip": kvasir(IDS)},
    "dsb2018": {"stage1_train.zip": dsb2018(4)},
    "isic2018": dict(zip(("ISIC2018_Task1-2_Training_Input.zip", "ISIC2018_Task1_Training_GroundTruth.zip"), isic2018(4))),
    "lgg": {"lgg-mri-segmentation.zip": kaggle_lgg(3)},
    "cvc-clinicdb": {"CVC-ClinicDB.zip": cvc_clinicdb(FRAMES)},
}
COUNTS = {"kvasir-seg": 6, "dsb2018": 4, "isic2018": 4, "lgg": 36, "cvc-clinicdb": 8}


def root_of(tmp_path, files_by_archive, maker=make_zip, clutter=True, strip_tops=False, order=None):
    """Write the archives of a data set; optionally with clutter, without top folders, members shuffled."""
    for name, files in files_by_archive.items():
        if strip_tops:
            files = {path.partition("/")[2]: data for path, data in files.items()}
        if clutter:
            files = {**files, **CLUTTER}
        if order is not None:
            keys = sorted(files)
            random.Random(order).shuffle(keys)
            files = {key: files[key] for key in keys}
        if maker is make_folder:
            name = name.removesuffix(".zip")
        elif maker is make_tar:
            name = name.replace(".zip", ".tar")
        maker(tmp_path / name, files)
    return tmp_path


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_read_with_clutter_and_in_any_order(tmp_path, fresh_cache, name):
    plain = load_dataset(name, root=root_of(tmp_path / "plain", LAYOUTS[name], clutter=False), size=32)
    assert plain.images.shape == (COUNTS[name], 32, 32, 3) and plain.images.dtype == np.uint8
    assert plain.masks.shape == (COUNTS[name], 32, 32) and set(np.unique(plain.masks)) == {0, 1}
    assert len(set(plain.ids)) == COUNTS[name] and plain.ids == sorted(plain.ids, key=natural_key)
    for order in (1, 2):
        other = load_dataset(name, root=root_of(tmp_path / f"order{order}", LAYOUTS[name], order=order), size=32)
        assert other.manifest["content"] == plain.manifest["content"]
        assert (other.ids, other.groups) == (plain.ids, plain.groups)
        assert {k: v.tolist() for k, v in other.splits.items()} == {k: v.tolist() for k, v in plain.splits.items()}


@pytest.mark.parametrize("maker", [make_folder, make_tar])
@pytest.mark.parametrize("name", LAYOUTS)
def test_unpacked_folders_and_tars_give_the_same_arrays(tmp_path, fresh_cache, name, maker):
    zipped = load_dataset(name, root=root_of(tmp_path / "zip", LAYOUTS[name]), size=32)
    other = load_dataset(name, root=root_of(tmp_path / "other", LAYOUTS[name], maker), size=32)
    assert other.manifest["content"] == zipped.manifest["content"]


@pytest.mark.parametrize(("name", "files"), [("kvasir-seg", kvasir(IDS)), ("dsb2018", dsb2018(4)), ("lgg", lgg(3))])
def test_archives_without_top_folder(tmp_path, fresh_cache, name, files):
    archive = next(iter(LAYOUTS[name]))
    bare = {path.partition("/")[2]: data for path, data in files.items()}
    with_top = load_dataset(name, root=root_of(tmp_path / "top", {archive: files}), size=32)
    without = load_dataset(name, root=root_of(tmp_path / "bare", {archive: bare}), size=32)
    assert without.manifest["content"] == with_top.manifest["content"]
    unpacked_into_root = load_dataset(name, root=make_folder(tmp_path / "anything", bare), size=32)
    assert unpacked_into_root.manifest["content"] == with_top.manifest["content"]
    archive_as_root = load_dataset(name, root=tmp_path / "top" / archive, size=32)
    assert archive_as_root.manifest["content"] == with_top.manifest["content"]


def test_isic_without_top_folders(tmp_path, fresh_cache):
    names = LAYOUTS["isic2018"]
    bare = dict(zip(names, isic2018(4, tops=False)))
    tops = load_dataset("isic2018", root=root_of(tmp_path / "tops", names), size=32)
    assert load_dataset("isic2018", root=root_of(tmp_path / "bare", bare), size=32).manifest["content"] == tops.manifest["content"]


def test_kvasir_values_ids_and_order(tmp_path, fresh_cache):
    data = load_dataset("kvasir-seg", root=root_of(tmp_path, LAYOUTS["kvasir-seg"]), size=32)
    assert data.ids == ["cju1", "cju2", "cju9", "cju10", "cju11", "cju30"] == data.groups
    for seed in range(len(IDS)):
        expected = disc(seed)
        assert abs(data.masks[seed].mean() - expected.mean()) < 0.02
        assert np.abs(data.images[seed].mean((0, 1)) - picture(seed).mean((0, 1))).max() < 3


def test_cvc_clinicdb_groups_frames_by_video_and_counts_png_and_tiff_once(tmp_path, fresh_cache):
    both = load_dataset("cvc-clinicdb", root=root_of(tmp_path / "both", LAYOUTS["cvc-clinicdb"]), size=32)
    assert both.ids == [str(frame) for frame in FRAMES]
    assert both.groups == [f"video_{video:02d}" for video in (1, 1, 1, 2, 2, 3, 28, 29)]
    for kinds in (("TIF",), ("PNG",)):
        alone = load_dataset("cvc-clinicdb", root=root_of(tmp_path / kinds[0], {"CVC-ClinicDB.zip": cvc_clinicdb(FRAMES, kinds)}, make_folder), size=32)
        assert alone.manifest["content"] == both.manifest["content"] and alone.groups == both.groups
    assert "8 images, the official release has 612" in both.manifest["warnings"] and both.manifest["grouped_by"] == "videos"


def test_dsb_unites_the_nuclei_and_drops_alpha(tmp_path, fresh_cache):
    data = load_dataset("dsb2018", root=root_of(tmp_path, LAYOUTS["dsb2018"]), size=64)
    assert set(data.ids) == {dsb_id(seed) for seed in range(4)}
    assert data.manifest["original_sizes"] == {"40x32": 2, "48x32": 1, "64x32": 1}
    index = data.ids.index(dsb_id(2))  # 64 x 32: doubled in height, so the union is known exactly
    union = disc(2000, 64) | disc(2001, 64)
    np.testing.assert_array_equal(data.masks[index], np.repeat(union, 2, axis=0))
    assert data.masks[index].sum() > 2 * max(disc(2000, 64).sum(), disc(2001, 64).sum())


def test_lgg_groups_by_patient_and_counts_the_second_tree_once(tmp_path, fresh_cache):
    data = load_dataset("lgg", root=root_of(tmp_path, LAYOUTS["lgg"]), size=32)
    assert sorted(set(data.groups)) == [f"TCGA_CS_{4941 + i}_{19960909 + i}" for i in range(3)]
    assert data.ids[:12] == [f"TCGA_CS_4941_19960909_{number}" for number in range(1, 13)]
    assert data.manifest["empty_masks"] == 24
    for first in data.splits.values():
        assert {data.groups[i] for i in first}.isdisjoint(data.groups[i] for j in data.splits.values() if j is not first for i in j)
    assert data.manifest["spacing_mm"] is None


def test_a_second_copy_that_differs_is_an_error(tmp_path, fresh_cache):
    files = kaggle_lgg(3)
    name = next(name for name in files if name.startswith("lgg-mri") and name.endswith("_5.tif"))
    files[name] = encoded(picture(999), "TIFF")
    with pytest.raises(ValueError, match="a different file for 'TCGA_CS_4941_19960909_5'"):
        load_dataset("lgg", root=root_of(tmp_path, {"lgg-mri-segmentation.zip": files}), size=32)


def test_missing_archive_names_what_where_and_the_ways_on(tmp_path, fresh_cache):
    with pytest.raises(FileNotFoundError) as caught:
        load_dataset("isic2018", root=tmp_path)
    for word in ("ISIC2018_Task1-2_Training_Input.zip", "ISIC2018_Task1_Training_GroundTruth.zip", str(tmp_path), "make data", "SOURCE="):
        assert word in str(caught.value)
    make_zip(tmp_path / "ISIC2018_Task1-2_Training_Input.zip", isic2018(4)[0])
    with pytest.raises(FileNotFoundError, match="no ISIC2018_Task1_Training_GroundTruth.zip") as caught:
        load_dataset("isic2018", root=tmp_path)
    assert "Training_Input" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="Kaggle"):
        load_dataset("lgg")
    make_zip(fresh_cache / "downloads" / "isic2018" / "ISIC2018_Task1_Training_GroundTruth.zip", isic2018(4)[1])
    assert len(load_dataset("isic2018", root=tmp_path, size=16).ids) == 4, "what the folder lacks may have been downloaded"
    with pytest.raises(FileNotFoundError, match="the data folder .* does not exist"):
        load_dataset("lgg", root=tmp_path / "nowhere")


BAD = {
    "image without mask": (lambda f: f.pop("Kvasir-SEG/masks/cju2.jpg"), r"kvasir-seg\.zip: Kvasir-SEG/images/cju2\.jpg has no mask"),
    "mask without image": (lambda f: f.pop("Kvasir-SEG/images/cju2.jpg"), r"Kvasir-SEG/masks/cju2\.jpg is a mask without an image"),
    "mask of another size": (
        lambda f: f.update({"Kvasir-SEG/masks/cju9.jpg": encoded(disc(0, 44, 32), "JPEG")}),
        r"masks/cju9\.jpg: the mask is 44 x 32 pixels, its image 40 x 32; export one of them again",
    ),
    "corrupt JPEG": (
        lambda f: f.update({"Kvasir-SEG/images/cju9.jpg": f["Kvasir-SEG/images/cju9.jpg"][:-300]}),
        r"kvasir-seg\.zip: Kvasir-SEG/images/cju9\.jpg: not a readable image",
    ),
    "all masks empty": (
        lambda f: f.update({name: encoded(np.zeros((32, 40), bool), "JPEG") for name in f if "/masks/" in name}),
        "kvasir-seg: all 6 masks are empty",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_samples_are_one_line_and_leave_nothing(tmp_path, fresh_cache, case):
    spoil, message = BAD[case]
    files = dict(LAYOUTS["kvasir-seg"]["kvasir-seg.zip"])
    spoil(files)
    root = root_of(tmp_path / "root", {"kvasir-seg.zip": files})
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("kvasir-seg", root=root, size=32)
    assert "\n" not in str(caught.value)
    assert not list((fresh_cache / "datasets").glob("*")) and not list((fresh_cache / "datasets").glob(".*"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_archive_of_another_data_set_is_recognised(tmp_path, fresh_cache, name):
    for other in LAYOUTS:
        if other == name or len(LAYOUTS[name]) != len(LAYOUTS[other]):
            continue
        root = root_of(tmp_path / other, dict(zip(LAYOUTS[name], LAYOUTS[other].values())))
        with pytest.raises(ValueError, match=f"looks like {other}, not {name}; {name} has the layout"):
            load_dataset(name, root=root, size=32)


def test_an_archive_of_nothing_and_a_truncated_one(tmp_path, fresh_cache):
    make_zip(tmp_path / "kvasir-seg.zip", CLUTTER)
    with pytest.raises(ValueError, match="holds no images of kvasir-seg"):
        load_dataset("kvasir-seg", root=tmp_path)
    path = make_zip(tmp_path / "stage1_train.zip", dsb2018(3))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"stage1_train\.zip is truncated or damaged"):
        load_dataset("dsb2018", root=tmp_path)


@pytest.mark.parametrize("size", [15, 0, -1, 2.5, "64", True, None, 5000])
def test_size_is_checked(tmp_path, size):
    with pytest.raises(ValueError, match="size must be a whole number of pixels from 16 to 4096"):
        load_dataset("kvasir-seg", root=tmp_path, size=size)


@given(st.lists(st.from_regex(r"[a-c_]{0,2}[0-9]{0,3}[a-b]?", fullmatch=True), unique=True), st.randoms())
def test_natural_order_is_total_and_counts_numbers(names, shuffler):
    expected = sorted(names, key=natural_key)
    shuffler.shuffle(names)
    assert sorted(names, key=natural_key) == expected
    assert sorted(["s10", "s9", "s1", "a2b10", "a2b9"], key=natural_key) == ["a2b9", "a2b10", "s1", "s9", "s10"]


class Memory(Source):
    """Files of a dictionary as a source."""

    def __init__(self, files):
        self.files = files
        super().__init__(Path("memory.zip"), [Member(name, len(data)) for name, data in files.items()])

    def read(self, member):
        return self.files[member.path]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(LAYOUTS)))
def test_samples_do_not_depend_on_order_top_folder_copies_or_clutter(data, name):
    files = {path: content for archive in LAYOUTS[name].values() for path, content in archive.items()}
    expected = summary(find_samples(name, IMPORTERS[name], [Memory(files)]))
    assert len(expected) == COUNTS[name]
    top = data.draw(st.sampled_from(["", "a/", "some folder/b/"]))
    paths = data.draw(st.permutations(sorted(files)))
    copies = data.draw(st.lists(st.sampled_from(sorted(files)), max_size=5))
    shuffled = {f"{top}{path}": files[path] for path in paths} | {f"copy/{path}": files[path] for path in copies}
    cut = data.draw(st.integers(0, len(shuffled)))
    halves = [dict(list(shuffled.items())[:cut]), dict(list(shuffled.items())[cut:]) | CLUTTER]
    assert summary(find_samples(name, IMPORTERS[name], map(Memory, halves))) == expected


def summary(samples):
    return [(s.id, s.group, s.image.member.pure.name, [mask.member.pure.name for mask in s.masks]) for s in samples]
