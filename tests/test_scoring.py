"""``python -m ehanet score``: the numbers are those of ``score_masks`` on the network's own predictions, and what is said about them is true."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from reporting_inputs import make_dataset, make_reports

from ehanet import EHANet, predict
from ehanet.__main__ import main
from ehanet.data import load_dataset
from ehanet.data.splits import content_and_split
from ehanet.files import file_sha256
from ehanet.metrics import score_masks
from ehanet.metrics.scores import read_scores
from ehanet.models.pretrained import save_weights
from ehanet.records import read_beside
from ehanet.robustness import write_phantom_folder
from ehanet.scoring import describe_scores, failures, learned_from, score_dataset, write_scores

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labelled images of the user's own, at another size than the network's."""
    folder = write_phantom_folder("phantom-nuclei", 96, tmp_path_factory.mktemp("own"), seed=5)
    for part in ("images", "masks"):
        for path in sorted((folder / part).iterdir())[12:]:
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(3)
    model = EHANet("mobilenetv1_100.keras", efa=False).eval()
    model.input_size = SIZE
    data = load_dataset("phantom-nuclei", size=SIZE)
    with torch.no_grad():  # some pixels above one half, some below
        model.head[6].bias -= model(torch.from_numpy(data.images[:1].copy()).permute(0, 3, 1, 2) / 255).logits.median()
    model.about = {"data": [{"name": "phantom-nuclei", "content": data.manifest["content"][:16], "split": data.manifest["split"]["sha256"][:16]}, {"name": "old"}]}
    path = tmp_path_factory.mktemp("weights") / "one.safetensors"
    save_weights(model, path)
    return path


def test_a_folder_is_scored_whole_at_the_networks_size(folder, checkpoint, tmp_path, capsys):
    assert main(["score", str(folder), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out/scores.csv")]) == 0
    data = load_dataset(folder, size=SIZE, split="none")
    wanted = score_masks(predict(EHANet.from_pretrained(checkpoint), data.images), data.masks, ids=data.ids, groups=data.groups)
    found, record = read_scores(tmp_path / "out/scores.csv"), read_beside(tmp_path / "out/scores.csv")
    assert len(found) == len(data.ids) == 12 and 0.1 < found["dice"].mean() < 0.9
    for name in ("image", "group", "gt_empty", "pred_empty"):
        assert found[name].tolist() == wanted[name].tolist()
    for name in ("dice", "boundary_f1", "mae"):
        assert np.allclose(found[name], wanted[name], atol=1e-4)
    assert record["checkpoint_sha256"] == file_sha256(checkpoint) and record["data"] == data.manifest
    assert record["about"] == {"checkpoint": "one.safetensors", "split": "all", "flips": False, "precision": "float32"}
    said = capsys.readouterr().out
    assert f"on all {len(found)} images of {folder.name}, at 64 x 64 pixels" in said and f"{len(found)} rows in {tmp_path / 'out/scores.csv'}" in said
    assert f" {len(found)} {found['dice'].mean():.3f} [" in said.splitlines()[2] and "learned from" not in said


def test_a_data_set_by_its_test_split_unless_told_and_with_a_note_where_the_checkpoint_knows_its_images(checkpoint, capsys):
    data = load_dataset("phantom-nuclei", size=SIZE)
    assert main(["score", "phantom-nuclei", "--checkpoint", str(checkpoint)]) == 0
    tested = capsys.readouterr().out
    assert "on the test split of Phantom nuclei, at 64 x 64 pixels; means with 95 % intervals (phantom data)" in tested and "learned from" not in tested
    assert f" {len(data.splits['test'])} " in tested.splitlines()[2]
    assert main(["score", "phantom-nuclei", "--checkpoint", str(checkpoint), "--split", "val"]) == 0
    assert "note: the checkpoint learned from training images of this data set; only its test split" in capsys.readouterr().out
    assert main(["score", "phantom-polyp", "--checkpoint", str(checkpoint), "--split", "val"]) == 0
    assert "learned from" not in capsys.readouterr().out


def test_a_data_set_that_the_checkpoint_has_not_learned_from_by_all_its_images(checkpoint, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr("ehanet.scoring.score_dataset", lambda model, data, split, *rest: seen.append((data.name, split)) or score_dataset(model, data, "val"))
    for name in ("phantom-polyp", "phantom-nuclei", "universal-phantoms"):
        assert main(["score", name, "--checkpoint", str(checkpoint)]) == 0
    silent = EHANet.from_pretrained(checkpoint)
    silent.about = {}
    silent.save_pretrained(checkpoint.parent / "says nothing")
    assert main(["score", "phantom-polyp", "--checkpoint", str(checkpoint.parent / "says nothing")]) == 0
    assert seen == [("phantom-polyp", "all"), ("phantom-nuclei", "test"), ("universal-phantoms", "test"), ("phantom-polyp", "test")]


def test_a_run_says_what_it_learned_from_and_an_unknown_one_nothing(checkpoint, tmp_path):
    manifest = load_dataset("phantom-nuclei", size=SIZE).manifest
    assert learned_from(checkpoint) == [("phantom-nuclei", manifest["content"][:16], manifest["split"]["sha256"][:16])]
    run = make_reports(tmp_path, make_dataset(), {"ehanet": 0.2}) / "runs/phantom-polyp/ehanet/seed0"
    assert learned_from(run / "best.pt") == [("phantom-polyp", "c" * 16, "5" * 16)]
    assert learned_from(tmp_path / "best.pt") == []


def test_the_test_split_is_no_test_for_a_checkpoint_that_knows_the_images_in_another_split(checkpoint, tmp_path):
    data = load_dataset("phantom-nuclei", size=SIZE)
    frame = score_masks(data.masks[:4].astype(float), data.masks[:4], ids=data.ids[:4])
    model = EHANet.from_pretrained(checkpoint)
    content, split = (value[:16] for value in content_and_split(data.manifest))
    for name, seen, own, told in (("phantom-nuclei", content, "0" * 16, True), ("phantom-nuclei", content, split, False), ("kvasir-seg", "0" * 16, "0" * 16, False)):
        model.about = {"data": [{"name": name, "content": seen, "split": own}]}
        save_weights(model, tmp_path / "net.safetensors")
        said = describe_scores(frame, data, tmp_path / "net.safetensors", "test")
        assert ("note: the checkpoint learned from this data set in another split, so some of these test images" in said) is told
    official = replace(data, name="kvasir-seg", manifest={**data.manifest, "name": "kvasir-seg", "content": "1" * 64})  # the same data set in other bytes
    assert "in another split" in describe_scores(frame, official, tmp_path / "net.safetensors", "test")


def test_one_image_is_scored_without_an_interval(checkpoint, folder, tmp_path, capsys):
    for part in ("images", "masks"):
        (tmp_path / "one" / part).mkdir(parents=True)
        first = sorted((folder / part).iterdir())[0]
        (tmp_path / "one" / part / f"only{'_mask' * (part == 'masks')}.png").write_bytes(first.read_bytes())
    assert main(["score", str(tmp_path / "one"), "--checkpoint", str(checkpoint)]) == 0
    said = capsys.readouterr().out
    assert "on the one image of one" in said and "nan" not in said.lower() and "the worst is only (" in said and "[" not in said and "intervals" not in said


def test_a_file_of_ones_own_is_not_replaced_by_the_record(checkpoint, folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.json").write_text('{"annotations": []}')
    arguments = ["score", str(folder), "--checkpoint", str(checkpoint), "--out"]
    assert main([*arguments, str(tmp_path / "a.csv")]) == 1
    assert f"{tmp_path / 'a.json'} is there already and no record of scores; the one of {tmp_path / 'a.csv'} would replace it" in capsys.readouterr().err
    assert (tmp_path / "a.json").read_text() == '{"annotations": []}' and not (tmp_path / "a.csv").exists()
    for _ in range(2):  # its own record may be
        assert main([*arguments, str(tmp_path / "b.csv")]) == 0
        assert f"rows in {tmp_path / 'b.csv'}, their record in {tmp_path / 'b.json'}" in capsys.readouterr().out


def test_flips_are_those_of_predict(checkpoint):
    data = load_dataset("phantom-polyp", size=SIZE)
    found = score_dataset(EHANet.from_pretrained(checkpoint), replace(data, splits={"val": data.splits["val"][:8]}), "val", flips=True)
    wanted = score_masks(predict(EHANet.from_pretrained(checkpoint), data.images[data.splits["val"][:8]], flips=True), data.masks[data.splits["val"][:8]])
    assert np.allclose(found["mae"], wanted["mae"], atol=1e-5)


@pytest.mark.parametrize("arguments, said", [
    (["nowhere"], "nowhere"), (["phantom-nuclei", "--checkpoint", "none.safetensors"], "checkpoint none.safetensors not found"),
    (["kvasir-seg", "--source", "empty"], "kvasir-seg.zip"), (["Kvasir-SEG", "--source", "empty"], "or give --source the folder that holds it"),
    (["dsb 2018", "--source", "empty"], "dsb2018: no stage1_train.zip"), (["phantom-nuclei", "--out", "empty/a.csv/b.csv"], "empty/a.csv/b.csv cannot be written (Not a directory)"),
    ([""], "the data set's name is empty; name a folder with images/ and masks/"),
    (["phantom-nuclei", "--out", "empty/c.csv"], "empty/c.csv is a folder; name a file"),
])
def test_bad_input_is_one_line(checkpoint, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty/c.csv").mkdir(parents=True)
    (tmp_path / "empty/a.csv").write_text("")
    monkeypatch.setattr("ehanet.scoring.score_dataset", lambda *_, **__: pytest.fail("the work was begun"))
    assert main(["score", *(["--checkpoint", str(checkpoint)] if "--checkpoint" not in arguments else []), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error


def test_a_data_set_goes_by_the_title_in_the_tables_unless_a_folder_has_that_name(checkpoint, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = ["--checkpoint", str(checkpoint), "--split", "val"]
    assert main(["score", "Phantom nuclei", *arguments, "--out", "~/out/scores.csv"]) == 0 and (tmp_path / "out/scores.csv").is_file()
    assert "on the val split of Phantom nuclei" in capsys.readouterr().out and not (tmp_path / "~").exists()
    (tmp_path / "LGG").symlink_to(folder)
    assert main(["score", "LGG", "--checkpoint", str(checkpoint)]) == 0 and "on all 12 images of LGG" in capsys.readouterr().out


def test_a_file_that_is_no_csv_is_refused_before_the_work(checkpoint, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["score", "phantom-nuclei", "--checkpoint", str(checkpoint), "--out", "scores.xlsx"])
    assert raised.value.code == 2 and "'scores.xlsx' does not end in .csv" in capsys.readouterr().err


def test_an_unknown_or_empty_split_is_refused(checkpoint):
    data, model = load_dataset("phantom-polyp", size=SIZE), EHANet.from_pretrained(checkpoint)
    with pytest.raises(ValueError, match="^split: 'dev' is none of train, val, test, all$"):
        score_dataset(model, data, "dev")
    with pytest.raises(ValueError, match="^phantom-polyp: the test split is empty; choose another, or all$"):
        score_dataset(model, replace(data, splits={**data.splits, "test": np.zeros(0, int)}))


def test_nothing_is_called_worst_where_no_image_holds_an_object():
    frame = pd.DataFrame({"image": ["a", "b"], "dice": [1.0, 0.0], "gt_empty": [True, True], "pred_empty": [True, False]})
    assert failures({"name": "lgg"}, frame, "images") == ["LGG: something found on 1 of 2 images that hold none."]


def test_scores_whose_csv_changed_are_refused(checkpoint, tmp_path):
    data = load_dataset("phantom-polyp", size=SIZE)
    frame = score_masks(np.zeros((2, SIZE, SIZE)), data.masks[:2])
    write_scores(tmp_path / "scores.csv", frame, data, checkpoint, split="all")
    (tmp_path / "scores.csv").write_text((tmp_path / "scores.csv").read_text().replace("0,", "1,", 1))
    with pytest.raises(ValueError, match="was altered"):
        read_beside(tmp_path / "scores.csv")
