"""The walkthroughs with files: photographs, uploads, a training that is watched, finished runs, the checkpoint."""

import base64
import io
import json
import re
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import shutil

import numpy as np
import pandas as pd
import pytest
from archives import disc, discs, encoded, make_folder
from interactive import change, model, shown  # noqa: F401 (fixtures)
from PIL import Image

from ehanet.config import RunConfig
from ehanet.files import write_atomically
from ehanet.interact import demo, examples, live, panels, uploads


def test_own_photographs(tmp_path):
    Image.fromarray(np.zeros((1000, 2000, 3), np.uint8)).save(tmp_path / "b.png")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "a.png")
    found = examples.load_examples(tmp_path)
    assert [(example.name, example.image.shape, example.mask) for example in found] == [("a", (30, 40, 3), None), ("b", (320, 640, 3), None)]
    with pytest.raises(FileNotFoundError, match="phantom-polip: no such file or folder, and no data set of that name; known are .*phantom-polyp"):
        examples.load_examples("phantom-polip")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "a.jpg")
    assert [example.name for example in examples.load_examples(tmp_path)] == ["a.jpg", "a.png", "b"], "two files of one stem can both be chosen"
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match="a.png: not a readable image"):
        examples.load_examples(tmp_path)


@pytest.mark.parametrize("folders", [("images", "masks"), ("Images", "Masks"), ("test/images", "test/masks")])
def test_examples_are_taken_from_every_layout_that_an_import_takes(tmp_path, fresh_cache, folders):
    for folder, value in zip(folders, (90, 255)):
        (tmp_path / "own" / folder).mkdir(parents=True)
        for name in ("a", "b", "c"):
            Image.fromarray(np.full((40, 40), value, np.uint8)).save(tmp_path / "own" / folder / f"{name}.png")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "own")
    for source in (tmp_path / "own", packed):
        found = examples.load_examples(source, size=32)
        assert found and all(example.image.shape == (32, 32, 3) and example.mask.all() for example in found)


def test_a_data_set_without_test_images_is_named(tmp_path, fresh_cache):
    for place in ("train", "val"):
        make_folder(tmp_path / "own" / place, {f"{kind}/{place}.png": encoded(disc(0) * np.uint8(255), "PNG") for kind in ("images", "masks")})
    with pytest.raises(ValueError, match="^own has no images in its part test, only in train, val; move some there, or choose another part or data set$"):
        examples.load_examples(tmp_path / "own", size=32)


def test_sample_files_are_of_the_kinds_that_they_are_said_to_be(tmp_path):
    files = {path.name: Image.open(path) for path in examples.sample_files(tmp_path)}
    assert {name: (file.mode, file.size) for name, file in files.items()} == {
        "grey.png": ("L", (120, 90)), "sixteen_bits.png": ("I;16", (120, 90)), "photograph.jpg": ("RGB", (4000, 3000)), "turned.jpg": ("RGB", (120, 90))}
    assert files["turned.jpg"].getexif()[274] == 6


def as_upload(name, image=None, content=b""):
    buffer = io.BytesIO()
    if image is not None:
        Image.fromarray(image).save(buffer, format="PNG")
    return ({"name": name, "type": "image/png", "size": 1, "content": memoryview(buffer.getvalue() or content), "last_modified": datetime(2025, 1, 1, tzinfo=UTC)},)


def test_upload_gives_the_mask_at_the_size_of_the_file(model, shown):
    panel = uploads.upload(model, shown[0])
    link = panel.children[-1]
    image = np.random.default_rng(0).integers(0, 65535, (900, 700), np.uint16)  # grey, 16 bits, larger than what is shown
    before, after = change(panel, "file", as_upload("my photo.png", image))
    assert before != after
    assert 'download="my photo_mask.png"' in link.value
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", link.value).group(1)))))
    assert mask.shape == (900, 700) and set(np.unique(mask)) <= {0, 255}


def test_an_unreadable_upload_is_refused_in_one_line(model, shown):
    panel = uploads.upload(model, shown[0])
    panel.controls["file"].value = as_upload("broken.png", content=b"no image")
    assert re.fullmatch(r"<b>broken.png: not a readable image.*</b>", panel.message.value)
    assert "href" not in panel.children[-1].value, "the mask of another image must not be offered"
    change(panel, "file", as_upload("sound.png", np.zeros((40, 50, 3), np.uint8)))


def test_training_is_watched_to_its_end(tmp_path, monkeypatch, shown, model):
    """With the files of ``fit``, but without its minutes; the notebook itself runs the real one."""
    def fit(config, run_dir, root, progress, stop):
        if config.size == 33:
            raise ValueError("loss is nan")
        for epoch in range(1, config.epochs + 1):
            frame = pd.DataFrame({"epoch": range(1, epoch + 1), "train_loss": 1.0, "val_loss": 2.0, "val_dice": 0.5})
            write_atomically(run_dir / "history.csv", frame.to_csv(index=False))
            time.sleep(0.1)  # as on a GPU, where the checkpoint comes later than the history
            write_atomically(run_dir / "last.pt", frame.to_json(orient="records"))
            time.sleep(0.1)

    monkeypatch.setattr(live, "fit", fit)
    monkeypatch.setattr(live, "load_checkpoint", lambda path: {"history": json.loads(path.read_text())})
    monkeypatch.setattr(live, "restore_model", lambda state: (model, len(state["history"])))
    seen = list(live.train_live(RunConfig(size=32, epochs=3), tmp_path / "run", every=0.01))
    counts = [len(history) for history, _ in seen]
    assert counts[-1] == 3 and counts == sorted(counts) and len(counts) > 1
    pictures = {live.progress_picture(history, network, shown, 3).png() for history, network in seen[-1:] + seen[:1]}
    assert len(pictures) == 2
    with pytest.raises(ValueError, match="loss is nan"):
        list(live.train_live(RunConfig(size=33), tmp_path / "other", every=0.01))


@pytest.mark.parametrize("leave", ["close", "interrupt"])
def test_leaving_a_training_ends_it_after_the_epoch_at_work_and_it_can_be_gone_on_with(tmp_path, monkeypatch, leave):
    """As the notebook's stop button does: the interrupt comes while the loop waits."""
    folder = make_folder(tmp_path / "discs", discs(32))
    config = RunConfig(dataset=str(folder), method="unet-32", size=32, epochs=200, batch_size=8, precision="float32", device="cpu")
    watched = live.train_live(config, tmp_path / "run", every=0.01)
    next(watched)
    if leave == "close":
        watched.close()
    else:
        monkeypatch.setattr(live.time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list(watched)
        monkeypatch.undo()
    done = len(pd.read_csv(tmp_path / "run/history.csv"))
    assert 1 <= done < 200 and not (tmp_path / "run/record.json").exists()
    counts = []
    for history, _ in live.train_live(config, tmp_path / "run", every=0.01):
        counts.append(len(history))
        if len(history) > done:
            break
    assert counts[-1] > done


def test_finished_runs_are_found_and_opened_when_chosen(tmp_path, monkeypatch, shown, model):
    for profile, dataset, label in [("laptop", "phantom-polyp", "unet"), ("quick", "phantom-polyp", "unet"), ("quick", "phantom-polyp", "lanet"), ("quick", "lgg", "canet"), ("quick", "polyps", "unet")]:
        folder = tmp_path / profile / dataset / label / "seed0"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text("{}")
    found = demo.finished_runs("phantom-polyp", tmp_path)
    assert found == {"lanet": tmp_path / "quick/phantom-polyp/lanet/seed0", "unet": tmp_path / "laptop/phantom-polyp/unet/seed0"}
    assert demo.finished_runs("/d/polyps.zip", tmp_path) == {"unet": tmp_path / "quick/polyps/unet/seed0"}
    opened = []
    monkeypatch.setattr(panels, "load_run", lambda folder: opened.append(folder) or SimpleNamespace(model=model))
    panel = panels.explore(shown, {"EHANet": model, **found})
    assert opened == []
    panel.controls["method"].value = "lanet"
    assert opened == [found["lanet"]] and panel.message.value == ""


def test_demo_prefers_the_checkpoint(monkeypatch, tmp_path, capsys, model):
    monkeypatch.setattr(demo, "find_checkpoint", lambda path: tmp_path / "ehanet-universal.safetensors")
    monkeypatch.setattr(demo, "load_checkpoint_model", lambda path: model)
    assert demo.demo_model() is model
    assert capsys.readouterr().out == "Weights: ehanet-universal.safetensors\n"


def test_demo_trains_once_where_there_is_no_checkpoint(monkeypatch, fresh_cache, capsys, model):
    def missing(path):
        raise FileNotFoundError("no checkpoint yet")

    calls = []

    def fit(config, folder, progress):
        calls.append(config)
        (folder / "record.json").write_text("{}")
        return {"best": {"val_dice": 0.876}}

    monkeypatch.setattr(demo, "find_checkpoint", missing)
    monkeypatch.setattr(demo, "fit", fit)
    monkeypatch.setattr(demo, "load_checkpoint", lambda path: path)
    monkeypatch.setattr(demo, "restore_model", lambda path: (model, None))
    assert demo.demo_model("my-photo.jpg") is model and demo.demo_model("phantom-nuclei") is model
    assert [config.dataset for config in calls] == ["phantom-polyp", "phantom-nuclei"]
    assert "training on phantom-nuclei, about 40 s on two cores, once.\nWeights: trained here on phantom-nuclei, validation Dice 0.88\n" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        demo.demo_model(checkpoint="there.safetensors")
