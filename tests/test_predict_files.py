"""Photographs as people have them, predicted file by file from the command line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ehanet import predict
from ehanet.__main__ import main
from ehanet.data.images import squash_image
from ehanet.folders import overlay, predict_files
from ehanet.inference import predict_each
from ehanet.models.output import SegmentationOutput
from ehanet.photos import find_images, read_photo

UPRIGHT = np.zeros((36, 48, 3), np.uint8)
UPRIGHT[:12, :30] = 250  # no symmetry: every way to turn it shows


class Bright(nn.Module):
    """The object is where the image is bright."""

    input_size = None

    def __init__(self, size=None):
        super().__init__()
        self.scale, self.input_size, self.batches = nn.Parameter(torch.ones(1)), size, []

    def forward(self, images):
        self.batches.append(tuple(images.shape))
        return SegmentationOutput((images.mean(dim=1, keepdim=True) * self.scale).logit(eps=1e-7), [])


@pytest.mark.parametrize("orientation, stored", [
    (1, UPRIGHT), (2, np.fliplr(UPRIGHT)), (3, np.rot90(UPRIGHT, 2)), (4, np.flipud(UPRIGHT)), (5, np.transpose(UPRIGHT, (1, 0, 2))),
    (6, np.rot90(UPRIGHT)), (7, np.rot90(np.fliplr(UPRIGHT), -1)), (8, np.rot90(UPRIGHT, -1)), (9, UPRIGHT),
])
def test_a_turned_photograph_is_read_upright(tmp_path, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "a.tif"):  # Pillow turns the one kind by itself, the other not
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name, exif=exif)
        assert np.array_equal(read_photo(tmp_path / name), UPRIGHT), name


@pytest.mark.parametrize("mode, name", [("L", "a.png"), ("RGBA", "a.png"), ("P", "a.gif"), ("CMYK", "a.jpg"), ("I;16", "a.png"), ("1", "a.tif"), ("LA", "a.png")])
def test_every_mode_becomes_rgb(tmp_path, mode, name):
    grey = UPRIGHT[:, :, 0]
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    image.save(tmp_path / name)
    array = read_photo(tmp_path / name)
    assert array.shape == (36, 48, 3) and array.dtype == np.uint8
    assert np.abs(array.astype(int) - (255 if mode == "1" else 250) * (UPRIGHT > 0)).max() < 20  # JPEG rings


def animated(path):
    Image.fromarray(UPRIGHT).save(path.with_suffix(".gif"), save_all=True, append_images=[Image.fromarray(255 - UPRIGHT)])
    return path.with_suffix(".gif"), "holds 2 images"


def cut_off(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    return path, "not a readable image .*truncated"


def no_image(path):
    path.write_text("a letter")
    return path, "not a readable image .*unknown format"


def a_folder(path):
    path.mkdir()
    return path, "cannot be read"


@pytest.mark.parametrize("make", [animated, cut_off, no_image, a_folder])
def test_what_is_no_single_whole_image_is_one_line(tmp_path, make):
    path, message = make(tmp_path / "x.png")
    with pytest.raises(ValueError, match=f"x\\.(png|gif): {message}") as raised:
        read_photo(path)
    assert "\n" not in str(raised.value)


def test_the_pixel_limit_can_be_raised(tmp_path, monkeypatch):
    Image.fromarray(UPRIGHT).save(tmp_path / "x.png")
    monkeypatch.setenv("EHANET_MAX_PIXELS", "1000")
    with pytest.raises(ValueError, match="48 x 36 pixels exceed the limit of 1000; set EHANET_MAX_PIXELS higher"):
        read_photo(tmp_path / "x.png")
    monkeypatch.setenv("EHANET_MAX_PIXELS", "2000")
    assert read_photo(tmp_path / "x.png").shape == (36, 48, 3)


def test_an_8_bit_image_is_squashed_as_a_data_set_is():
    photo = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    seen = []

    class Keep(Bright):
        def forward(self, images):
            seen.append((images[0].permute(1, 2, 0) * 255).numpy())
            return super().forward(images)

    assert predict(Keep(), photo, size=32).shape == (1, 90, 70)
    assert np.allclose(seen[0], squash_image(photo, 32), atol=1e-4)


def test_images_of_one_shape_share_batches_whatever_lies_between():
    model = Bright()
    shapes = [(40, 40), (33, 50), (40, 40), (33, 50), (40, 40), (40, 40)]
    images = [np.full((*shape, 3), (index + 1) / 10, np.float32) for index, shape in enumerate(shapes)]
    results = predict(model, images, batch_size=4)
    assert sorted(batch[0] for batch in model.batches) == [2, 4]
    for index, (result, shape) in enumerate(zip(results, shapes, strict=True)):
        assert result.shape == shape and np.allclose(result, (index + 1) / 10, atol=1e-5)


def test_a_stream_of_many_shapes_waits_for_no_more_than_two_batches():
    read = []

    def stream():
        for index in range(20):
            read.append(index)
            yield index, np.zeros((32, 32 + index, 3), np.uint8)

    results = predict_each(Bright(), stream(), batch_size=2)
    next(results)
    assert len(read) == 5 and len(list(results)) == 19


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "in"
    (root / "inner").mkdir(parents=True)
    for name in ("one.png", "one.jpg", "two.png", "inner/one.png", ".hidden.png"):
        Image.fromarray(UPRIGHT).save(root / name)
    (root / "broken.png").write_text("no")
    (root / "notes.txt").write_text("not an image")
    return root


def test_a_folder_gets_a_mask_and_an_overlay_for_each_image(folder, tmp_path, capsys):
    out = tmp_path / "out"
    done, problems = predict_files(Bright(32), [folder], out)
    names = ["inner/one", "one.jpg", "one.png", "two"]
    assert done == 4 and sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == sorted(
        f"{name}{end}" for name in names for end in ("_mask.png", "_overlay.jpg"))
    assert [str(folder / "broken.png") in line for line in problems] == [True] and capsys.readouterr().err.count("broken.png") == 1
    with Image.open(out / "two_mask.png") as mask:
        array = np.asarray(mask)
        assert mask.mode == "L" and array.shape == (36, 48) and set(np.unique(array)) == {0, 255}
        assert (array > 0).sum() == pytest.approx(12 * 30, abs=60)
    with Image.open(out / "two_overlay.jpg") as drawn:
        assert drawn.size == (48, 36)
    assert predict_files(Bright(32), [folder], folder / "results")[0] == 4
    assert predict_files(Bright(32), [folder], folder / "results")[0] == 4  # its own results are no images of it
    for given, out in (([folder], folder), ([folder], folder.parent), ([folder / "inner"], folder), ([f"{folder}/*.png"], folder)):
        with pytest.raises(ValueError, match=f"^{out} holds the images; write the masks to another folder"):
            predict_files(Bright(32), given, out)
    with pytest.raises(ValueError, match=f"^{folder} holds the images; write the masks"):  # as a shell writes a pattern out: masks of one's own would be lost
        predict_files(Bright(32), [str(folder / "one.png"), str(folder / "two.png")], folder)
    pattern = [f"{folder}/**/*.png"]
    assert predict_files(Bright(32), pattern, folder / "by-pattern")[0] == predict_files(Bright(32), pattern, folder / "by-pattern")[0]


def test_labels_are_never_taken_for_results(folder, tmp_path):
    """A mask without an overlay beside it is somebody's own; a folder of masks beside one of images is a data set's."""
    out, label = tmp_path / "labels", np.full((36, 48), 7, np.uint8)
    out.mkdir()
    Image.fromarray(label).save(out / "two_mask.png")
    with pytest.raises(ValueError, match=f"^{out / 'two_mask.png'} is there already, and no result of an earlier call, which has its [*]_overlay.jpg beside it; name another folder with --out$"):
        predict_files(Bright(32), [folder / "two.png"], out)
    (out / "two_mask.png").rename(out / "other_mask.png")
    assert predict_files(Bright(32), [folder / "two.png"], out)[0] == predict_files(Bright(32), [folder / "two.png"], out)[0] == 1
    out.rename(tmp_path / "masks")
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=f"^{tmp_path / 'masks'} holds the masks of a data set .other_mask.png.; name another folder with --out$"):
        predict_files(Bright(32), [folder / "two.png"], tmp_path / "masks")
    (tmp_path / "masks/other_mask.png").unlink()
    assert predict_files(Bright(32), [folder / "two.png"], tmp_path / "masks")[0] == 1  # only its own results there


def test_a_name_too_long_for_a_result_is_told_and_the_others_go_on(folder, tmp_path):
    long, out = tmp_path / f"{'名' * 83}.png", tmp_path / "out"  # 253 bytes
    (folder / "two.png").rename(long)
    done, problems = predict_files(Bright(32), [long, folder / "one.png"], out)
    assert done == 1 and problems == [f"{long}: its name is too long for a result named after it; make it shorter"]
    almost = tmp_path / f"{'名' * 80}.png"  # with what is hung on it 252 bytes, and with a mark of what is unfinished more
    long.rename(almost)
    assert predict_files(Bright(32), [almost], out) == (1, []) and not list(out.glob(".*"))


def test_linked_folders_are_walked_once_and_a_file_given_twice_is_one(folder, tmp_path, monkeypatch):
    (tmp_path / "patients").mkdir()
    for name, target in (("a", folder), ("loop", tmp_path / "patients")):
        (tmp_path / "patients" / name).symlink_to(target)
    assert len(find_images([tmp_path / "patients"])[0]) == len(find_images([folder])[0]) == 5
    monkeypatch.chdir(folder)
    assert [path.name for path, _ in find_images(["two.png", folder / "two.png", "./two.png"])[0]] == ["two.png"]


def test_logits_of_a_network_of_ones_own_are_enough():
    class Bare(nn.Module):
        def forward(self, images):
            return images.mean(dim=1, keepdim=True).logit(eps=1e-7)

    for images in (UPRIGHT, [UPRIGHT] * 6, [UPRIGHT] * 20):  # from the fifth image on by a copy prepared for speed, where the network allows one
        assert np.allclose(predict(Bare(), images, batch_size=2), predict(Bright(), images), atol=1e-6)
    with pytest.raises(ValueError, match="^Wide: forward returned a tensor .1, 2, 36, 48.; expected logits"):
        predict(type("Wide", (nn.Module,), {"forward": lambda self, images: images[:, :2]})(), UPRIGHT)


def test_files_patterns_and_mistakes_are_told_apart(folder, monkeypatch):
    monkeypatch.chdir(folder)
    images, problems = find_images(["two.png", "one.*", "two.png", "nothing*.png", "missing.png"])
    assert [str(path) for path, _ in images] == ["two.png", "one.jpg", "one.png", "missing.png"]
    assert len(problems) == 1 and problems[0].startswith("nothing*.png: no image found")
    with pytest.raises(ValueError, match="^one of the image names is empty; name a file or folder, or . for the current folder$"):
        find_images(["two.png", ""])


def test_all_that_is_read_is_found_by_name_and_the_rest_is_counted(tmp_path):
    for suffix in (".gif", ".avif", ".jp2", ".jfif", ".jpe", ".JPG", ".tiff", ".pbm"):
        image = Image.fromarray(UPRIGHT).convert("1") if suffix == ".pbm" else Image.fromarray(UPRIGHT)
        image.save(tmp_path / f"a{suffix}")
    images, problems = find_images([tmp_path])
    assert len(images) == 8 and not problems and all(read_photo(path).shape == UPRIGHT.shape for path, _ in images)
    for name in ("b.heic", "c.HEIC", "d.dcm", "f.nii.gz", "g.tar.gz", "notes.txt", ".e.heic"):
        (tmp_path / name).write_bytes(b"x")
    images, problems = find_images([tmp_path])
    assert len(images) == 8 and problems == [f"{tmp_path}: passed over 2 .heic, 1 .dcm, 1 .gz (not read; export as JPEG or PNG)"]


def test_results_of_an_earlier_call_are_no_images(folder, tmp_path):
    before = find_images([folder])[0]
    predict_files(Bright(32), [folder / "two.png"], out := tmp_path / "out")
    for path in out.iterdir():
        path.rename(folder / path.name)
    Image.fromarray(UPRIGHT).save(folder / "alone_mask.png")  # no overlay beside it: somebody's image
    for given in ([folder], [f"{folder}/**/*.*g"]):
        names = [path.name for path, _ in find_images(given)[0]]
        assert len(names) == len(before) + 1 and "alone_mask.png" in names and "two_mask.png" not in names and "two_overlay.jpg" not in names
    (tmp_path / "results").mkdir()
    for name in ("two_mask.png", "two_overlay.jpg"):
        (folder / name).rename(tmp_path / "results" / name)
    assert find_images([tmp_path / "results"]) == ([], [f"{tmp_path / 'results'}: holds only results of an earlier call (*_mask.png with *_overlay.jpg)"])
    assert len(find_images([tmp_path / "results" / "two_mask.png"])[0]) == 1, "one that is named is meant"


@pytest.mark.parametrize("inner", ["", "train", "deep/er"])
def test_the_masks_of_a_data_set_are_no_images(tmp_path, inner):
    place = tmp_path / "own" / inner
    for folder in ("images", "masks"):
        (place / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(place / folder / "a.png")
    assert [str(name) for _, name in find_images([tmp_path / "own"])[0]] == [str(Path(inner, "images", "a.png"))]
    assert len(find_images([place / "masks"])[0]) == 1, "a folder that is named is meant"
    shutil.rmtree(place / "images")
    assert len(find_images([tmp_path / "own"])[0]) == 1, "alone they are images of that name"


def test_a_refused_call_leaves_no_folder(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ehanet.hub.load_checkpoint_model", lambda path: Bright(32))
    monkeypatch.setattr("ehanet.hub.find_checkpoint", lambda path: path)
    assert main(["score", str(tmp_path / "nowhere"), "--checkpoint", "c", "--out", str(tmp_path / "new" / "scores.csv")]) == 1
    assert main(["predict", str(folder / "notes.txt"), "--checkpoint", "c", "--out", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()


def test_a_leading_tilde_is_the_home_folder_and_a_file_is_no_place_for_results(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    assert predict_files(Bright(32), ["~/in/two.png", "~/in/inner", "~/in/on*.png"], "~/masks")[0] == 3
    assert (folder.parent / "masks" / "two_mask.png").is_file() and not (tmp_path / "~").exists()
    with pytest.raises(ValueError, match=f"^{folder / 'notes.txt'} is a file; name a folder for the results$"):
        predict_files(Bright(32), [folder], folder / "notes.txt")


def test_the_overlay_draws_a_white_border_round_a_tinted_object():
    image, mask = np.full((60, 80, 3), 100, np.uint8), np.zeros((120, 160), bool)
    mask[40:80, 60:120] = True
    drawn = overlay(image, mask)
    assert (drawn[0, 0] == 100).all() and drawn[30, 45, 0] > drawn[30, 45, 2] + 20 and (drawn[20, 45] == 255).all() and drawn.dtype == np.uint8


def test_the_command_ends_with_1_and_one_line_where_something_is_wrong(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ehanet.hub.load_checkpoint_model", lambda path: Bright(32))
    monkeypatch.setattr("ehanet.hub.find_checkpoint", lambda path: path)
    assert main(["predict", str(folder / "two.png"), "--checkpoint", "c", "--out", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out == f"1 image predicted with c into {tmp_path / 'a'}\n"
    assert main(["predict", str(folder), "--checkpoint", "c", "--out", str(tmp_path / "b")]) == 1
    assert "4 images predicted" in (said := capsys.readouterr()).out and "1 not, see above" in said.out and "Traceback" not in said.err


def test_a_place_that_cannot_be_and_no_memory_are_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ehanet.hub.load_checkpoint_model", lambda path: Bright(32))
    monkeypatch.setattr("ehanet.hub.find_checkpoint", lambda path: path)
    assert main(["predict", str(folder / "two.png"), "--out", str(folder / "notes.txt/x")]) == 1
    assert capsys.readouterr().err == f"error: {folder / 'notes.txt/x'} cannot be written (Not a directory); name a folder that you can write to\n"

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("ehanet.folders.predict_each", full)
    assert main(["predict", str(folder / "two.png"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.endswith("error: out of memory; close other programs, or give fewer or smaller images\n")
    with pytest.raises(SystemExit):
        main(["predict", str(folder / "two.png"), "--out", ""])
    assert "argument --out: the name is empty" in capsys.readouterr().err


def test_the_command_hands_on_how_to_compute(folder, monkeypatch):
    seen = []
    monkeypatch.setattr("ehanet.hub.load_checkpoint_model", lambda path: Bright(32))
    monkeypatch.setattr("ehanet.hub.find_checkpoint", lambda path: path)
    monkeypatch.setattr("ehanet.folders.predict_each", lambda *given, **options: seen.append(options) or iter(()))
    main(["predict", str(folder / "two.png"), "--checkpoint", "c", "--flips", "--precision", "auto"])
    main(["predict", str(folder / "two.png"), "--checkpoint", "c"])
    assert seen == [{"flips": True, "precision": "auto"}, {"flips": False, "precision": "float32"}]


def test_a_missing_checkpoint_says_how_to_get_one(tmp_path, monkeypatch, fresh_cache, capsys):
    monkeypatch.setattr("ehanet.hub.WEIGHTS", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "x.png"]) == 1
    assert capsys.readouterr().err.startswith("error: no checkpoint yet: copy ehanet-universal.safetensors")
    assert main([]) == 0 and "python -m ehanet.data" in capsys.readouterr().out
