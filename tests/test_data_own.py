"""Data sets of the user's own: a folder or archive with images/ and masks/, through ``load_dataset``."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from archives import CLUTTER, disc, encoded, kvasir, make_folder, make_zip, picture
from PIL import Image

from ehanet.data import load_dataset
from ehanet.data.images import decode_image
from ehanet.data.own_images import decode_own_image, decode_own_mask
from ehanet.profiles import dataset_key
from workflow.plan import source_files


def own_files(count=5, suffixes=(".png", ".png"), value=255):
    files = {}
    for seed in range(count):
        files[f"images/case {seed}{suffixes[0]}"] = encoded(picture(seed), "JPEG" if suffixes[0] == ".jpg" else "PNG")
        files[f"masks/case {seed}{suffixes[1]}"] = encoded(disc(seed) * np.uint8(value), "PNG")
    return files


def test_own_folder_and_its_archive(tmp_path, fresh_cache):
    folder = make_folder(tmp_path / "polyps", own_files(suffixes=(".jpg", ".png"), value=1) | CLUTTER)
    data = load_dataset(folder, size=32)
    assert data.name == "polyps" and data.ids == [f"case {seed}" for seed in range(5)]
    assert data.masks.any(axis=(1, 2)).all()
    assert {part: len(indices) for part, indices in data.splits.items()} == {"train": 3, "val": 1, "test": 1}
    packed = make_zip(tmp_path / "polyps.zip", {f"top/{name}": value for name, value in own_files(suffixes=(".jpg", ".png")).items()})
    assert load_dataset(str(packed), size=32).manifest["content"] == data.manifest["content"]
    assert load_dataset("polyps", root=tmp_path, size=32).manifest["content"] == data.manifest["content"]


def test_a_link_is_a_data_set_of_its_own_name_everywhere(tmp_path, fresh_cache, monkeypatch):
    folder = make_folder(tmp_path / "real" / "folder", own_files())
    packed = make_zip(tmp_path / "real" / "packed.zip", own_files())
    links = [tmp_path / "links" / name for name in ("mine", "mine.zip")]
    links[0].parent.mkdir()
    for link, target in zip(links, (folder, packed)):
        link.symlink_to(target)
        data = load_dataset(link, size=32)
        assert data.name == dataset_key(str(link)) == "mine" and data.manifest["sources"][0]["file"] == link.name
    (tmp_path / "links" / "mine.split.csv").write_text("name,split\n" + "".join(f"case {seed}.png,{part}\n" for seed, part in enumerate(["train"] * 3 + ["val", "test"])))
    assert load_dataset(links[0], size=32).manifest["split"]["source"] == "mine.split.csv"
    assert source_files(str(links[0]), None)[1]["file"] == "mine.split.csv"
    monkeypatch.chdir(folder / "images")
    for name, found in ((".", "images"), ("..", "folder")):
        assert dataset_key(name) == found
    assert load_dataset("..", size=32).name == "folder"


def test_a_turned_or_many_paged_file_is_refused_in_an_own_folder_alone(tmp_path, fresh_cache):
    exif = Image.Exif()
    exif[0x0112] = 3
    pages = encoded(picture(2), "TIFF", save_all=True, append_images=[Image.fromarray(picture(3))])
    turned = encoded(picture(1), "JPEG", exif=exif)
    files = {name: data for name, data in own_files().items() if name != "images/case 1.png"}
    with pytest.raises(ValueError, match=r"turned: images/case 1\.jpg: stored turned or mirrored \(EXIF orientation 3\), .* save it upright \(2 of 10 files are; in a copy, "
                                         r"'mogrify -auto-orient images/\*\.jpg' turns the pixels .*, 'exiftool -Orientation= images/\*\.jpg' drops the mark .*\)$"):
        load_dataset(make_folder(tmp_path / "turned", {key: data for key, data in files.items() if key != "images/case 2.png"}
                                 | {"images/case 1.jpg": turned, "images/case 2.jpg": turned}), size=32)
    with pytest.raises(ValueError, match=r"pages: images/case 1\.tif: holds 2 images"):
        load_dataset(make_folder(tmp_path / "pages", files | {"images/case 1.tif": pages}), size=32)
    ids = [f"cju{number}" for number in range(6)]
    make_zip(tmp_path / "root" / "kvasir-seg.zip", kvasir(ids) | {"Kvasir-SEG/images/cju2.jpg": turned})
    assert len(load_dataset("kvasir-seg", root=tmp_path / "root", size=32).ids) == len(ids)


def test_a_name_is_one_name_however_its_accents_are_encoded(tmp_path, fresh_cache):
    whole, parted = "caf\u00e9", "cafe\u0301"
    files = {name.replace("case", parted if name.startswith("masks") else whole): data for name, data in own_files().items()}
    places = enumerate(["train"] * 3 + ["val", "test"])
    (tmp_path / "accents.split.csv").write_text("name,split\n" + "".join(f"{parted} {seed},{part}\n" for seed, part in places))
    data = load_dataset(make_folder(tmp_path / "accents", files), size=32)
    assert data.ids == data.groups == [f"{whole} {seed}" for seed in range(5)] and data.manifest["split"]["source"] == "accents.split.csv"


def test_grey_images_of_different_ranges_are_warned_of(tmp_path, fresh_cache):
    def wide(seed, top):
        values = picture(seed)[..., 0].astype(np.uint16) * (top // 255)
        return encoded(values, "PNG")

    def load(name, tops):
        images = {f"images/case {seed}.png": wide(seed, top) for seed, top in enumerate(tops)}
        return load_dataset(make_folder(tmp_path / name, {key: data for key, data in own_files().items() if key.startswith("masks")} | images), size=32)

    assert load("alike", [65535] * 5).manifest["warnings"] == []
    assert load("mixed", [65535, 4080, 4080, 65535, 65535]).manifest["warnings"] == [
        "images of more than 8 bits scaled from different ranges, each by its own maximum (0 to 4095: 2, 0 to 65535: 3), so that their brightness does not compare; export all alike"]


def test_images_in_subfolders_are_counted_in_a_warning(tmp_path, fresh_cache):
    deeper = {name.replace("/", "/ward 2/"): data for name, data in own_files(2).items()} | {"masks/a/b/x.png": b"", "images/a/notes.txt": b""}
    data = load_dataset(make_folder(tmp_path / "wards", own_files() | deeper | {"extra/y.png": b""}), size=32)
    assert len(data.ids) == 5
    assert data.manifest["warnings"] == ["5 files in images/ward 2 and 2 more were passed over; put them into images/ and masks/ themselves"]
    with pytest.raises(ValueError, match=r"^deep: images/ and masks/ hold their files in subfolders \(images/.*\); put them into images/ and masks/ themselves, or for a split of yours into train/images"):
        load_dataset(make_folder(tmp_path / "deep", deeper), size=32)


@pytest.mark.parametrize("ending", ["_mask", "_Segmentation", "-mask", "_gt"])
def test_a_mask_may_say_that_it_is_one(tmp_path, fresh_cache, ending):
    plain = load_dataset(make_folder(tmp_path / "plain", own_files()), size=32)
    said = {name.replace(".png", f"{ending}.png") if name.startswith("masks/") else name: data for name, data in own_files().items()}
    data = load_dataset(make_folder(tmp_path / "said", said), size=32)
    assert data.ids == plain.ids and np.array_equal(data.masks, plain.masks)


def test_a_stem_of_an_image_is_no_ending_and_a_second_mask_is_refused(tmp_path, fresh_cache):
    files = {"images/a.png": encoded(picture(0), "PNG"), "images/a_mask.png": encoded(picture(1), "PNG"), "images/b.png": encoded(picture(2), "PNG")}
    masks = {"masks/a.png": encoded(disc(0), "PNG"), "masks/a_mask.png": encoded(disc(1), "PNG"), "masks/b_seg.png": encoded(disc(2), "PNG")}
    data = load_dataset(make_folder(tmp_path / "named", files | masks), size=32)
    assert data.ids == ["a", "a_mask", "b"]
    alone = load_dataset(make_folder(tmp_path / "alone", {f"{part}/{name}.png": encoded(draw(seed), "PNG") for part, draw in (("images", picture), ("masks", disc))
                                                          for seed, name in enumerate("xyz")}), size=32)
    assert np.array_equal(data.masks, alone.masks)
    with pytest.raises(ValueError, match="images/a.png has no mask"):
        load_dataset(make_folder(tmp_path / "less", files | {name: data for name, data in masks.items() if name != "masks/a.png"}), size=32)
    with pytest.raises(ValueError, match="masks/b_(seg|mask).png: another mask of 'b' is masks/b_(seg|mask).png; keep one of the two"):
        load_dataset(make_folder(tmp_path / "two", files | masks | {"masks/b_mask.png": encoded(disc(3), "PNG")}), size=32)
    with pytest.raises(ValueError, match="masks/b_seg.png is a mask without an image"):
        load_dataset(make_folder(tmp_path / "own", files | masks | {"masks/b.png": encoded(disc(3), "PNG")}), size=32)


def test_without_a_split_all_are_test_images(tmp_path, fresh_cache):
    folder = make_folder(tmp_path / "one", own_files(1))
    with pytest.raises(ValueError, match="needs at least 3 images or patients, got 1"):
        load_dataset(folder, size=32)
    data = load_dataset(folder, size=32, split="none")
    assert data.splits["test"].tolist() == [0] and not len(data.splits["train"]) and data.manifest["warnings"] == []
    assert data.manifest["split"]["source"] == "none" and data.manifest["split"]["seed"] is None


def test_own_folder_errors(tmp_path, fresh_cache):
    with pytest.raises(FileNotFoundError, match="does not exist; name a folder or archive with images/ and masks/"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="unknown data set 'kvasir_seg'; known are kvasir-seg, dsb2018, isic2018, lgg, phantom-polyp"):
        load_dataset("kvasir_seg")
    files = own_files()
    files["images/case 1.jpg"] = encoded(picture(1), "JPEG")
    with pytest.raises(ValueError, match="a different file for 'case 1'"):
        load_dataset(make_folder(tmp_path / "twice", files), size=32)


@pytest.mark.parametrize("files, message", [
    ({"a.jpg": b"", "b.jpg": b"", "a.png": b"", "notes": b""}, r"no folders images/ and masks/ in it \(found: 2 \.jpg, 1 \.png, 1 without suffix\); put the images into images/ and their masks"),
    ({"masks/a.png": b""}, r"no folder images/ in it \(found: 1 \.png\); put"),
    ({}, r"no folders images/ and masks/ in it \(found: no files\)"),
    ({"images/a.dcm": b"", "images/b.dcm": b"", "masks/a.png": b""}, r"images/ holds nothing that is read as an image \(found: 2 \.dcm\); export the images as PNG"),
    ({f"images/{name}.png": b"" for name in "abcde"} | {"masks/e.png": b""}, r"images/a\.png has no mask \(and 3 more of 5: images/b\.png, images/c\.png, \.\.\.\); expected images/ and masks/"),
    ({f"images/{name}.png": b"" for name in "ab"} | {f"masks/{name}.npy": b"" for name in "ab"},
     r"images/a\.png has no mask \(and 1 more of 2: images/b\.png\); masks/ holds only files that are not read \(2 \.npy\); export the masks as PNG"),
    ({"images/Case.png": b"", "masks/case_mask.png": b""}, r"images/Case\.png has no mask; masks/case_mask\.png differs from it in upper and lower case; rename one of the two"),
    ({"images/a.png": b"", "masks/a.png": b"", "masks/b.png": b"", "masks/c.png": b""}, r"masks/b\.png is a mask without an image \(and 1 more of 3: masks/c\.png\); expected"),
])
def test_a_layout_error_says_what_is_there(tmp_path, fresh_cache, files, message):
    (tmp_path / "flat").mkdir()
    with pytest.raises(ValueError, match=f"^flat: {message}") as caught:
        load_dataset(make_folder(tmp_path / "flat", files), size=32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name, way", [("kvasir-seg", r"write kvasir-seg with --source .*/x, else rename it"), ("phantom-polyp", "write phantom-polyp without a folder"), ("universal", "write universal")])
def test_a_folder_named_like_a_known_data_set_is_not_taken_for_it(tmp_path, fresh_cache, name, way):
    folder = make_folder(tmp_path / "x" / name, own_files())
    with pytest.raises(ValueError, match=f"^{folder} is named like the known data set {name}; for that one {way}"):
        load_dataset(folder, size=32)
    make_folder(tmp_path / "x" / "kvasir-seg", kvasir([f"cju{number}" for number in range(3)]))
    assert load_dataset("kvasir-seg", root=tmp_path / "x", size=32).name == "kvasir-seg", "its unpacked folder is found by its name"


def in_folders(places, names=None):
    """``own_files``, each in the folder of its place, and by other names where they are given."""
    names = names or [f"case {seed}" for seed in range(len(places))]
    return {file.replace(f"/case {seed}", f"/{name}"): data for seed, (place, name) in enumerate(zip(places, names, strict=True))
            for file, data in ((f"{place}/{own}", data) for own, data in own_files(len(places)).items() if f"case {seed}." in own)}


def test_folders_train_val_and_test_are_the_split(tmp_path, fresh_cache):
    places = ["train", "Valid", "train", "test", "train", "test"]
    folder = make_folder(tmp_path / "parted", in_folders(places))
    data = load_dataset(folder, size=32)
    assert data.ids == data.groups == [f"case {seed}" for seed in range(6)] and {part: rows.tolist() for part, rows in data.splits.items()} == {"train": [0, 2, 4], "val": [1], "test": [3, 5]}
    assert data.manifest["split"]["source"] == "train/val/test folders" and data.manifest["split"]["seed"] is None and "places" not in data.manifest
    assert load_dataset(folder, size=32, split="rule").manifest["split"]["source"] == "rule"
    assert len(load_dataset(folder, size=32, split="none").splits["test"]) == 6
    (tmp_path / "parted.split.csv").write_text("name,split\n" + "".join(f"case {seed},{part}\n" for seed, part in enumerate(["train"] * 4 + ["val", "test"])))
    assert load_dataset(folder, size=32).manifest["split"]["source"] == "parted.split.csv"


def test_folders_of_a_split_may_use_a_name_twice(tmp_path, fresh_cache):
    data = load_dataset(make_folder(tmp_path / "twice", in_folders(["train", "val", "train", "val"], ["1", "1", "2", "2"])), size=32)
    assert data.ids == data.groups == ["train/1", "train/2", "val/1", "val/2"] and data.splits["val"].tolist() == [2, 3]
    assert data.manifest["warnings"] == ["the split train/val/test folders has no images for test"]
    (tmp_path / "own.csv").write_text("name,split\ntrain/1.png,train\ntrain/2,val\nval/1.png,test\nval/2.png,train\n")
    data = load_dataset(tmp_path / "twice", size=32, split=tmp_path / "own.csv")
    assert [data.splits[part].tolist() for part in ("train", "val", "test")] == [[0, 3], [1], [2]]


def test_one_folder_is_no_split_and_images_outside_are_refused(tmp_path, fresh_cache):
    data = load_dataset(make_folder(tmp_path / "one", in_folders(["train"] * 4)), size=32)
    assert data.ids[0] == "case 0" and data.manifest["split"]["source"] == "rule"
    mixed = make_folder(tmp_path / "mixed", in_folders(["train", "test", "ward", "train"]))
    with pytest.raises(ValueError, match="^mixed: 1 of 4 images lie outside its folders train, test; move them into one, or give split= a CSV of name,split$"):
        load_dataset(mixed, size=32)
    assert len(load_dataset(mixed, size=32, split="none").ids) == 4


def test_masks_of_more_than_half_are_warned_of(tmp_path, fresh_cache):
    files = {name: encoded(~disc(index // 2), "PNG") if name.startswith("masks") else data for index, (name, data) in enumerate(own_files().items())}
    warnings = load_dataset(make_folder(tmp_path / "white", files), size=32).manifest["warnings"]
    assert len(warnings) == 1 and re.fullmatch("masks cover (89|90) % of the images; if they are inverted, export them with the object white on black", warnings[0])


def saved(image, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "orientation"), [("JPEG", 6), ("PNG", 3), ("TIFF", 8), ("WEBP", 2), ("JPEG", 5)])
def test_an_own_file_that_a_viewer_turns_is_refused_and_a_published_one_is_read_as_stored(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(0), kind, exif=exif)
    for decode in (decode_own_image, decode_own_mask):
        with pytest.raises(ValueError, match=rf"^a\.x: stored turned or mirrored \(EXIF orientation {orientation}\), .*; save it upright$"):
            decode(data, "a.x")
    if kind != "TIFF":  # Pillow itself turns a TIFF
        np.testing.assert_array_equal(decode_image(data, "a.x"), decode_image(saved(picture(0), kind), "a.x"))


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_an_orientation_that_turns_nothing_is_no_hindrance(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_own_image(saved(picture(0), "PNG", exif=exif), "a.png"), picture(0))


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_an_own_file_of_several_pages_is_refused(kind):
    page = disc(0).astype(np.uint8) * 255
    pages = saved(page, kind, save_all=True, append_images=[Image.fromarray(255 - page), Image.fromarray(page // 2)])
    for decode in (decode_own_image, decode_own_mask):
        with pytest.raises(ValueError, match=r"^a\.x: holds 3 images \(an animation or several pages\); save the one you mean as PNG or JPEG$"):
            decode(pages, "a.x")
