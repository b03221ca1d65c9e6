"""One file holds a network whole, says what it is, and is refused in one line where it is damaged or foreign."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from reporting_inputs import make_dataset, make_reports
from safetensors.torch import load_file, save_file

from ehanet import EHANet, predict
from ehanet.checkpoints import save_checkpoint
from ehanet.config import RunConfig
from ehanet.hub import CHECKPOINT, describe_run, find_checkpoint, load_checkpoint_model, publish_run
from ehanet.metrics.scores import read_scores
from ehanet.models.pretrained import KEY, save_weights
from ehanet.record_schema import record_id
from ehanet.records import read_record
from ehanet.runs import load_run
from ehanet.scoring import failures, score_rows

KERAS = "mobilenetv1_100.keras"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    model = EHANet(KERAS, efa=False).eval()
    model.input_size = 64
    return model


@pytest.fixture(scope="module")
def images():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "one.safetensors"
    save_weights(model, path, half=True)
    return path


@torch.no_grad()
def test_a_folder_holds_the_same_network_bit_for_bit(model, images, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    again = EHANet.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(images).logits, model(images).logits)
    assert again.input_size == 64 and not again.training and isinstance(again.efa[0], torch.nn.Identity)
    assert json.loads((tmp_path / "saved/config.json").read_text()) == again.arguments | {"efa": False}
    assert "Not for clinical use" in (tmp_path / "saved/README.md").read_text()


@torch.no_grad()
def test_half_precision_on_disk_float32_in_memory(model, images, written):
    assert written.stat().st_size < 12_000_000
    stored = load_file(written)
    assert stored["head.6.weight"].dtype == torch.float16 and stored["head.1.running_var"].dtype == torch.float32
    again = EHANet.from_pretrained(str(written))
    assert {tensor.dtype for tensor in again.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.allclose(again(images).logits, model(images).logits, atol=2e-2)
    assert not torch.equal(again(images).logits, model(images).logits)


def test_the_same_network_gives_the_same_bytes(model, written, tmp_path):
    save_weights(EHANet.from_pretrained(written), tmp_path / "again.safetensors", half=True)
    assert (tmp_path / "again.safetensors").read_bytes() == written.read_bytes()


def test_weights_that_float16_cannot_hold_are_refused(written, tmp_path):
    model = EHANet.from_pretrained(written)
    with torch.no_grad():
        model.head[6].weight[0, 0] = 1e5
    with pytest.raises(ValueError, match="head.6.weight holds values that are not finite in float16"):
        save_weights(model, tmp_path / "x.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def truncated(path, written):
    path.write_bytes(written.read_bytes()[:-1000])


def text(path, written):
    path.write_text("no weights")


def foreign(path, written):
    save_file(load_file(written), path)


def described(**changes):
    def write(path, written):
        description = {"schema": 1, "arguments": {"encoder": KERAS, "efa": False}, "input_size": 64, "about": {}} | changes
        save_file(load_file(written), path, metadata={KEY: json.dumps(description)})
    return write


def not_finite(path, written):
    tensors = load_file(written)
    tensors["head.1.running_var"][0] = float("nan")
    save_file(tensors, path, metadata={KEY: json.dumps({"schema": 1, "arguments": {"encoder": KERAS, "efa": False}})})


@pytest.mark.parametrize("damage, message", [
    (truncated, "is damaged or no safetensors file"), (text, "is damaged or no safetensors file"),
    (foreign, "does not say how its network is built"), (described(schema=2), "has schema 2, this version reads 1"),
    (described(arguments={"encoder": "no-such-net"}), "does not fit EHANet of this version .*unknown encoder 'no-such-net'"),
    (described(arguments={"encoder": KERAS, "depth": 3}), "does not fit EHANet .*depth"),
    (described(arguments={"encoder": KERAS}), "does not fit EHANet .*efa"), (not_finite, "weights that are not finite"),
])
def test_damaged_and_foreign_files_are_one_line_that_names_the_file(written, tmp_path, damage, message):
    path = tmp_path / "x.safetensors"
    damage(path, written)
    with pytest.raises(ValueError, match=f"x.safetensors .*{message}|x.safetensors {message}") as raised:
        EHANet.from_pretrained(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("source", ["weights/none.safetensors", "/no/such/folder", "nothing-here", "../up"])
def test_a_wrong_path_never_asks_the_hub(source, monkeypatch):
    monkeypatch.setattr("ehanet.models.pretrained.hf_hub_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(FileNotFoundError, match="is neither a file or folder here nor the name"):
        EHANet.from_pretrained(source)


def test_a_name_is_fetched_from_the_hub(written, monkeypatch):
    asked = []
    monkeypatch.setattr("ehanet.models.pretrained.hf_hub_download", lambda *names, **options: asked.append((names, options)) or str(written))
    assert EHANet.from_pretrained("owner/name", revision="v1").input_size == 64
    assert EHANet.from_pretrained("owner/name-1.0").input_size == 64
    assert asked == [(("owner/name", "model.safetensors"), {"revision": "v1"}), (("owner/name-1.0", "model.safetensors"), {})]


def test_checkpoints_are_found_in_their_order(written, tmp_path, monkeypatch, fresh_cache):
    monkeypatch.setattr("ehanet.hub.WEIGHTS", tmp_path / "package/weights")
    (tmp_path / "clone/notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clone/notebooks")
    with pytest.raises(FileNotFoundError, match=f"no checkpoint yet: copy {CHECKPOINT} .* to {fresh_cache}/weights"):
        find_checkpoint()
    for folder in (fresh_cache / "weights", tmp_path / "clone/weights", tmp_path / "package/weights"):  # the clone's goes first
        folder.mkdir(parents=True)
        (folder / CHECKPOINT).write_bytes(written.read_bytes())
        assert find_checkpoint().resolve() == (folder / CHECKPOINT).resolve()
    assert find_checkpoint(written) == written and predict(load_checkpoint_model(), np.zeros((40, 50, 3), np.uint8)).shape == (1, 40, 50)
    with pytest.raises(FileNotFoundError, match="checkpoint none.safetensors not found"):
        find_checkpoint("none.safetensors")


def test_a_home_folder_is_written_with_a_tilde(written, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(written.read_bytes())
    assert find_checkpoint("~/model.safetensors") == find_checkpoint("~") == tmp_path / "model.safetensors"
    assert EHANet.from_pretrained("~/model.safetensors").input_size == 64


def test_a_folder_without_a_checkpoint_says_what_it_holds(written, tmp_path):
    with pytest.raises(FileNotFoundError, match="^folder .* holds no model.safetensors and no best.pt; give a .safetensors file"):
        find_checkpoint(tmp_path)
    (tmp_path / "mine.safetensors").write_bytes(written.read_bytes())
    with pytest.raises(FileNotFoundError, match="holds no model.safetensors and no best.pt, but mine.safetensors; name the file itself: .*/mine.safetensors$"):
        find_checkpoint(tmp_path)


def test_a_record_alone_says_how_to_train_it_again(tmp_path):
    """As after a clone: the reports hold the records of runs whose checkpoints are not in git."""
    made = make_reports(tmp_path / "made", make_dataset("kvasir-seg"), {"ehanet": 0.2})
    shutil.copytree(made, tmp_path / "reports/laptop")
    folder = tmp_path / "reports/laptop/runs/kvasir-seg/ehanet/seed0"
    said = "best.pt not found in .*, which holds a record but no checkpoint; make repeat RUN=laptop/kvasir-seg/ehanet/seed0 trains it again$"
    with pytest.raises(FileNotFoundError, match=said):
        find_checkpoint(folder)
    for run in (folder, "laptop/kvasir-seg/ehanet/seed0", read_record(folder / "record.json")["id"]):
        with pytest.raises(FileNotFoundError, match=said):
            load_run(run, runs=tmp_path / "runs", reports=tmp_path / "reports")
    repeated = shutil.copytree(folder, tmp_path / "reports/laptop/repeated/0123456789abcdef/runs/kvasir-seg/ehanet/seed0")
    with pytest.raises(FileNotFoundError, match="make repeat RUN=0123456789abcdef trains it again$"):
        load_run(repeated)
    own = shutil.copytree(folder, tmp_path / "runs/laptop/kvasir-seg/ehanet/seed0")
    with pytest.raises(FileNotFoundError, match=said.replace("in .*,", f"in {own},")):
        load_run("laptop/kvasir-seg/ehanet/seed0", runs=tmp_path / "runs", reports=tmp_path / "reports")
    other = shutil.copytree(folder, tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="holds a record but no checkpoint; train it again$"):
        find_checkpoint(other)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of EHANet without a training, and the scores of its test split."""
    root = tmp_path_factory.mktemp("run")
    reports = make_reports(root, make_dataset("kvasir-seg"), {"ehanet": 0.2})
    run = reports / "runs/kvasir-seg/ehanet/seed0"
    config = RunConfig(dataset="kvasir-seg", size=64, options={"iem": False})
    save_checkpoint(run / "best.pt", {"model": EHANet(KERAS, iem=False).state_dict(), "config": config.to_dict(), "encoder": KERAS})
    return run, reports / "scores/kvasir-seg/ehanet__seed0.csv"


def test_a_run_is_published_with_a_card_whose_numbers_are_those_of_the_csv(finished, tmp_path):
    run, csv = finished
    model = publish_run(run, tmp_path / "w/mine.safetensors", [csv], name="Mine", recipe={"Teacher": "none"}, notes=["A note."])
    assert model.iem is None and model.input_size == 64 and model.about["run"] == read_record(run / "record.json")["id"]
    card, frame = (tmp_path / "w/mine.md").read_text(), pd.read_csv(csv)
    row = next(line for line in card.splitlines() if line.startswith("| Kvasir-SEG"))
    assert f"| {len(frame)} | {frame['dice'].mean():.3f} [" in row and f"{frame['hd95'].mean():.2f} [" in row and "reproduced here" in row
    assert f"Dice below 0.5 on {(frame['dice'] < 0.5).sum()} of {len(frame)} test images" in card
    for words in ("# EHANet: Mine", "Not for clinical use", "research only", "- Teacher: none", "- A note.", "mine.safetensors", "12 epochs, 96 steps"):
        assert words in card, words
    assert str(tmp_path) not in card and "None" not in card and "{{" not in card


def test_the_card_tells_a_loss_of_its_own_and_no_other(tmp_path):
    cards = []
    for label, options in (("released", {}), ("own", {"edge_loss": "bce", "per_image": True, "smooth": 0.01})):
        reports = make_reports(tmp_path / label, make_dataset("kvasir-seg"), {"ehanet": 0.2}, loss_options=options)
        run = reports / "runs/kvasir-seg/ehanet/seed0"
        save_checkpoint(run / "best.pt", {"model": EHANet(KERAS).state_dict(), "config": RunConfig(dataset="kvasir-seg", size=64).to_dict(), "encoder": KERAS})
        publish_run(run, tmp_path / f"{label}.safetensors", [reports / "scores/kvasir-seg/ehanet__seed0.csv"])
        cards.append((tmp_path / f"{label}.md").read_text())
    assert "- Loss:" not in cards[0] and "- Loss: as released, but the edge by cross-entropy, Dice of each image, a smooth of 1 % of the pixels in Dice\n" in cards[1]


def test_the_card_names_an_archive_by_its_data_set(tmp_path):
    reports = make_reports(tmp_path, make_dataset("polyps"), {"ehanet": 0.2}, dataset="/d/polyps.zip")
    told = describe_run(read_record(reports / "runs/polyps/ehanet/seed0/record.json"), [reports / "scores/polyps/ehanet__seed0.csv"])
    assert [one["name"] for one in told["data"]] == ["polyps"]


def test_the_card_tells_objects_from_empty_images(tmp_path):
    data = make_dataset()
    data.masks[data.splits["test"][:5]] = 0
    reports = make_reports(tmp_path, data, {"ehanet": 0.2})
    frame = read_scores(reports / "scores/phantom-polyp/ehanet__seed0.csv")
    held = frame[~frame["gt_empty"].astype(bool)]
    every, objects = score_rows(data.manifest, frame)
    assert (every["title"], every["images"], objects["title"], objects["images"]) == ("Phantom polyps", 20, "Phantom polyps, images with an object", 15)
    assert every["dice"].startswith(f"{frame['dice'].mean():.3f} [") and objects["hd95"].startswith(f"{held['hd95'].mean():.2f} [")
    assert len(score_rows(data.manifest, held)) == 1
    frame = pd.DataFrame({"image": ["a", "b", "c", "d"], "dice": [0.2, 0.6, 1.0, 0.0], "gt_empty": [False, False, True, True], "pred_empty": [False, True, True, False]})
    assert failures({"name": "lgg"}, frame) == [
        "LGG: Dice below 0.5 on 1 of 2 test images that hold an object; the worst are a (0.20), b (0.60).",
        "LGG: nothing found on 1 of 2 test images that hold an object.", "LGG: something found on 1 of 2 test images that hold none."]


def test_weights_of_another_training_are_not_published(finished, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "run")
    record = read_record(run / "record.json")
    record["checkpoint_sha256"] = "0" * 64
    (run / "record.json").write_text(json.dumps(record | {"id": record_id(record)}))
    with pytest.raises(ValueError, match="best.pt is not the one of .*record.json"):
        publish_run(run, tmp_path / "x.safetensors", [finished[1]])
    assert not (tmp_path / "x.safetensors").exists()


def test_scores_of_another_run_are_refused(finished, tmp_path):
    run, csv = finished
    other = make_reports(tmp_path, make_dataset("dsb2018"), {"ehanet": 0.1}) / "scores/dsb2018/ehanet__seed0.csv"
    with pytest.raises(ValueError, match="was scored from run .*evaluate this run first"):
        publish_run(run, tmp_path / "x.safetensors", [csv, other])
    assert not (tmp_path / "x.safetensors").exists()
