"""Figures: what they show, their marks and records, and the same bytes for the same inputs."""

from __future__ import annotations

import json
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from reporting_inputs import make_dataset, make_reports, measured_cost

from ehanet.metrics.regions import dice_per_image
from ehanet.predictions import Predictions, predictions_path, read_predictions, write_predictions
from ehanet.record_schema import record_id
from ehanet.records import read_record
from ehanet.reporting import comparison, cost_report, curves, data_sheet, side_by_side, training_curve, training_overview
from ehanet.reporting.datasheet import choose_by_area
from ehanet.reporting.overlays import CELL, DARK, THINNEST, _thinner, brightened, display_note, shortened
from ehanet.reporting.pictures import PALETTE, choose_by_dice
from ehanet.reporting.results import read_results
from ehanet.reporting.style import FOUND, LINES, METHODS, MISSED, SPURIOUS, look, looks, panels_across, save_figure
from ehanet.reporting.wording import trained_encoders

METHODS_HERE = {"ehanet": 0.1, "unet-32": 0.3, "ehanet-no-edge": 0.2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every figure once: (root, data set, reports)."""
    root = tmp_path_factory.mktemp("figures")
    data = make_dataset()
    reports = make_reports(root, data, METHODS_HERE)
    draw(root, data, reports)
    return root, data, reports


def draw(root, data, reports):
    data_sheet(data, reports / "data")
    comparison(reports, data.name)
    side_by_side(data, reports)
    training_overview(reports, data.name)
    cost_report(reports, data.name, [measured_cost(label, gmac) for label, gmac in zip(METHODS_HERE, (4.05, 16.0, 3.9))])


def contents(reports):
    return {path.relative_to(reports): path.read_bytes() for folder in ("data", "figures", "tables") for path in sorted((reports / folder).iterdir())}


def test_the_same_inputs_give_the_same_bytes(made):
    root, data, reports = made
    before = contents(reports)
    draw(root, data, reports)
    after = contents(reports)
    assert before.keys() == after.keys() and [path for path in before if before[path] != after[path]] == []
    (reports / "figures/cost_phantom-polyp.json").unlink()  # a figure without its record gets a new one, and carries its id
    draw(root, data, reports)
    assert read_record(reports / "figures/cost_phantom-polyp.json")["id"].encode() in (reports / "figures/cost_phantom-polyp.pdf").read_bytes()


def test_every_figure_carries_record_and_mark(made):
    _, _, reports = made
    pictures = [*(reports / "figures").glob("*.png"), *(reports / "data").glob("*.png")]
    assert {path.stem for path in pictures} == {"scores_phantom-polyp", "side_by_side_phantom-polyp", "training_phantom-polyp", "cost_phantom-polyp", "phantom-polyp"}
    for path in pictures:
        record = read_record(path.with_suffix(".json"))
        with Image.open(path) as image:
            assert image.info["Record"] == record["id"] and image.info["Title"]
        pdf = path.with_suffix(".pdf").read_bytes()
        assert record["id"].encode() in pdf and b"CreationDate" not in pdf
        assert record["mark"] == "phantom data" and path.stat().st_size < 1_500_000 and len(pdf) < 1_500_000


def test_another_score_gives_another_record(made, tmp_path):
    root, data, _ = made
    reports = make_reports(tmp_path, data, {"ehanet": 0.1, "unet-32": 0.3})
    comparison(reports, data.name)
    first = read_record(reports / "figures/scores_phantom-polyp.json")["id"]
    path = reports / "scores/phantom-polyp/unet-32__seed0.json"
    record = json.loads(path.read_text())
    other = {**record, "created": "2020-01-01T00:00:00+00:00"}
    path.write_text(json.dumps({**other, "id": record_id(other)}))
    comparison(reports, data.name)
    again = read_record(reports / "figures/scores_phantom-polyp.json")
    assert again["id"] != first and record_id(other) in again["inputs"]


def test_contours_of_crowded_masks_are_thinner():
    disc, crowd = np.zeros((128, 128), bool), np.zeros((128, 128), bool)
    disc[40:90, 40:90] = True
    crowd[::4, ::4] = True
    assert _thinner(disc, CELL, 2.4) == 1 and _thinner(disc, CELL / 2, 2.4) == pytest.approx(0.5)
    assert _thinner(crowd, CELL, 2.4) == pytest.approx(THINNEST)
    rows = np.zeros((128, 128), bool)
    rows[8::32] = True  # 8 lines across: 2.4 / 72 inches each would cover 21 % of 1.3 inches
    assert _thinner(rows, CELL, 2.4) == pytest.approx(0.12 / (8 * 2.4 / 72 / CELL))


def test_panels_leave_few_places_empty():
    assert [panels_across(count) for count in (1, 2, 3, 4, 6, 8, 9, 10, 12)] == [1, 2, 3, 4, 3, 4, 3, 5, 4]


def test_pictures_are_chosen_by_rule():
    labels = np.ones((7, 2, 2), bool)
    labels[6] = False  # nothing to see: not chosen, although its Dice of 1 is the best
    dice = np.array([0.5, 0.9, 0.1, 0.7, 0.3, 0.8, 1.0])
    # without image 6 the six are ranked 0.1 0.3 0.5 0.7 0.8 0.9; places 5, 3.75, 2.5, 1.25, 0 -> 5, 4, 2, 1, 0 (half to even)
    assert choose_by_dice(dice, labels) == [1, 5, 0, 4, 2]
    assert choose_by_dice(np.array([0.2, 0.4]), np.ones((2, 2, 2), bool)) == [1, 0]
    assert choose_by_dice(np.array([1.0]), np.zeros((1, 2, 2), bool)) == [0]


def test_data_sheet_shows_training_images_by_area(made):
    _, data, _ = made
    chosen = choose_by_area(data)
    areas = [int(data.masks[index].sum()) for index in chosen]
    train = [index for index in data.splits["train"] if data.masks[index].any()]
    assert set(chosen) <= set(train) and areas == sorted(areas)
    assert areas[0] == min(int(data.masks[index].sum()) for index in train) and areas[-1] == max(int(data.masks[index].sum()) for index in train)
    assert 3 not in chosen  # has no object


def test_data_sheet_files(made):
    _, data, reports = made
    record = read_record(reports / "data/phantom-polyp.json")
    assert record["kind"] == "data" and record["data"] == data.manifest
    split = pd.read_csv(reports / "data/phantom-polyp.split.csv")
    assert split.shape[0] == 40 and (split.iloc[:, 1] == "test").sum() == len(data.splits["test"])


def test_data_sheet_without_training_images(tmp_path):
    data = make_dataset("polyps")
    bare = replace(data, splits={**data.splits, "train": data.splits["train"][:0]})
    assert choose_by_area(bare) == [] and data_sheet(bare, tmp_path)["data"] == data.manifest
    assert (tmp_path / "polyps.png").is_file()


def test_data_sheet_tells_slices_of_one_patient_apart(tmp_path, monkeypatch):
    data, drawn = make_dataset("lgg"), []
    monkeypatch.setattr("ehanet.reporting.datasheet.save_figure", lambda figure, *_: drawn.extend(text.get_text() for axis in figure.axes for text in axis.texts))
    data_sheet(replace(data, ids=[f"TCGA_DU_6405_19851005_{index}" for index in range(40)]), tmp_path)
    assert len({text.partition(",")[0] for text in drawn}) == len(drawn) == 6


def test_error_colours():
    truth, found = np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])
    colours = ["#" + "".join(f"{round(255 * part):02x}" for part in PALETTE[place]) for place in 2 * truth + found]
    assert colours == [FOUND, MISSED, SPURIOUS, "#ffffff"]


def test_error_colours_survive_grey_print():
    """CIE lightness of the four colours, at least 11 apart."""
    lightness = []
    for colour in PALETTE:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        lightness.append(116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16)
    assert np.diff(sorted(lightness)).min() > 11


def test_methods_are_told_apart():
    looks = [(style.colour, style.marker) for style in METHODS.values()]
    assert len(set(looks)) == len(METHODS) and len({style.title for style in METHODS.values()}) == len(METHODS)
    own = look("my-net")
    assert own.title == "my-net" and (own.colour, own.marker) not in looks
    assert look("mobilenetv1-unetpp-frozen", "mobilevit-unetpp").title == "MobileNetV1 + U-Net++, frozen"
    assert look("my-unet-large", "mobilevit-unet").title == "my + U-Net, large"
    variant = look("ehanet-no-edge", "ehanet")
    assert variant.title == "EHANet, no-edge" and variant.colour == METHODS["ehanet"].colour and variant.marker != METHODS["ehanet"].marker


def test_rows_of_one_figure_are_told_apart():
    """Every base method, twelve variants of one, a decoder on two encoders, and a user's method in two widths."""
    variants = [f"ehanet-{name}" for name in ("no-efa", "no-iem", "no-ahfa", "mobilenetv1", "figure", "frozen-random", "as-released", "a", "b", "c", "d", "e")]
    rows = {name: name for name in METHODS} | dict.fromkeys(variants, "ehanet") | {"mobilenetv1-unet": "mobilevit-unet", "my-net": "my-net", "wide": "my-net"}
    found = looks(rows)
    assert list(found) == list(rows) and len({(style.colour, style.marker) for style in found.values()}) == len(rows)
    assert all(found[name]._replace(line="-") == METHODS[name] for name in METHODS)
    assert {found[label].colour for label in variants} == {METHODS["ehanet"].colour} and found["my-net"].colour != found["wide"].colour
    assert found["mobilenetv1-unet"].title == "MobileNetV1 + U-Net" and looks({"mobilenetv1-unet": "mobilevit-unet"})["mobilenetv1-unet"].marker == METHODS["mobilevit-unet"].marker
    assert looks(dict.fromkeys(variants[:2], "ehanet"))[variants[1]].marker == found[variants[1]].marker, "by order, not by chance"
    assert [style.line for style in found.values()][:len(LINES)] == list(LINES) and len(set(LINES)) == len(LINES) >= 7
    many = looks({f"net{number}": "my-net" for number in range(60)})
    assert len({(style.colour, style.marker) for style in many.values()}) == 60


def test_only_dark_images_are_brightened():
    dark, light = np.zeros((10, 10, 3), np.uint8), np.full((10, 10, 3), 200, np.uint8)
    dark[:5] = DARK // 2
    assert brightened(light) is light and display_note([light]) == ""
    assert brightened(dark).max() == 255 and not brightened(dark)[5:].any() and "brightened for display" in display_note([light, dark])
    assert brightened(light, like=dark).max() == 255 and brightened(dark, like=light) is dark


def test_figures_of_both_tracks_name_the_trained_encoders(tmp_path):
    data = make_dataset()
    reports = make_reports(tmp_path, data, {"ehanet": 0.1, "unet-32": 0.3})
    assert trained_encoders(read_results(reports, data.name)) == ""
    make_reports(tmp_path, data, {"ehanet-mobilenetv1": 0.1}, encoder="a.safetensors, fine-tuned")
    listing = [{"method": method, "label": label, "seeds": [0], "reason": ""} for method, label in (("ehanet", "ehanet"), ("unet-32", "unet-32"), ("ehanet", "ehanet-mobilenetv1"))]
    (reports / "scores" / data.name / "methods.json").write_text(json.dumps(listing))
    said = "Trained encoder: EHANet, mobilenetv1. All others: from random weights"
    assert trained_encoders(read_results(reports, data.name)) == said
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        for module in ("pictures", "costs"):
            patch.setattr(f"ehanet.reporting.{module}.save_figure", lambda figure, *_: drawn.append([text.get_text() for text in figure.texts]))
        side_by_side(data, reports)
        cost_report(reports, data.name, [measured_cost(label, 4.0) for label in ("ehanet", "ehanet-mobilenetv1")])
    assert len(drawn) == 2 and all(any(text.endswith(f"\n{said}") for text in texts) for texts in drawn)


def test_one_method_alone_is_drawn_with_all_its_seeds(tmp_path):
    data = make_dataset()
    reports = make_reports(tmp_path, data, {"ehanet": 0.1}, seeds=(0, 1, 2))
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ehanet.reporting.pictures.save_figure", lambda figure, path, record, title: drawn.extend([figure, record]))
        side_by_side(data, reports)
    assert drawn[1]["inputs"] == [read_record(path)["id"] for path in sorted((reports / "scores" / data.name).glob("ehanet__seed?.json"))]
    titles = [text.get_text() for axis in drawn[0].axes for text in axis.texts if not text.get_text()[0].isdigit()]
    assert titles == ["image", "truth", "EHANet", "seed 1", "seed 2"]
    scores = pd.read_csv(reports / f"scores/{data.name}/ehanet__seed2.csv").set_index("image")["dice"]
    ids = read_predictions(predictions_path(reports, data.name, "ehanet", 0)).ids
    labels = data.masks[[data.ids.index(image) for image in ids]].astype(bool)
    best = ids[choose_by_dice(dice_per_image(read_predictions(predictions_path(reports, data.name, "ehanet", 0)).probabilities, labels), labels)[0]]
    assert drawn[0].axes[4].texts[0].get_text() == f"{scores[best]:.2f}"
    assert "Bold" not in " ".join(comparison(reports, data.name)[f"comparison_{data.name}"].notes)


def test_predictions_of_other_images_are_refused(made, tmp_path):
    root, data, _ = made
    reports = make_reports(tmp_path, data, {"ehanet": 0.1})
    path = predictions_path(reports, data.name, "ehanet", 0)
    write_predictions(path, Predictions(["elsewhere"], np.zeros((1, 32, 32)), None, "0"))
    with pytest.raises(ValueError, match="was made from other images than phantom-polyp"):
        side_by_side(data, reports)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="ehanet__seed0.npz not found"):
        side_by_side(data, reports)
    assert not (reports / "figures").exists()


def test_training_curve_of_one_run(made, tmp_path):
    _, _, reports = made
    history = reports / "runs/phantom-polyp/ehanet/seed0/history.csv"
    png = training_curve(history, tmp_path / "curve.png")
    assert read_record(tmp_path / "curve.json")["mark"] == "phantom data"
    with Image.open(png) as image:
        assert image.info["Record"] == read_record(tmp_path / "curve.json")["id"] and image.width > 1000
    (tmp_path / "broken.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="broken.csv is no training history"):
        training_curve(tmp_path / "broken.csv", tmp_path / "no")
    assert not list(tmp_path.glob("no*"))


def test_training_figures_mark_the_epoch_kept_not_the_best_dice(tmp_path, monkeypatch):
    """The released protocol keeps the epoch of the smallest validation loss."""
    reports = make_reports(tmp_path, make_dataset(), {"ehanet": 0.1})
    history = reports / "runs/phantom-polyp/ehanet/seed0/history.csv"
    pd.DataFrame({"epoch": [1, 2, 3], "train_loss": 1.0, "val_loss": [3.0, 1.0, 2.0], "val_dice": [0.5, 0.6, 0.7]}).to_csv(history, index=False)
    record = json.loads(history.with_name("record.json").read_text())
    drawn = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, *_: drawn.append([text.get_text() for text in figure.findobj(plt.Text)]))
    for epoch, dice in ((2, "0.600"), (1, "0.500")):
        monkeypatch.setattr(curves, "read_record", lambda path, best={"epoch": epoch}: {**record, "best": best})  # the record's seal would show the change
        training_curve(history, tmp_path / "curve.png")
        assert f"Validation Dice: {dice} in the epoch kept, {epoch}" in drawn[-1]
        training_overview(reports, "phantom-polyp")
        assert dice in drawn[-1] and "0.700" not in drawn[-1]


def test_a_training_curve_names_an_archive_by_its_data_set(tmp_path, monkeypatch):
    history = make_reports(tmp_path, make_dataset("polyps"), {"ehanet": 0.1}, dataset="/d/polyps.zip") / "runs/polyps/ehanet/seed0/history.csv"
    drawn = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, *_: drawn.extend(text.get_text() for text in figure.texts))
    training_curve(history, tmp_path / "curve.png")
    assert "EHANet on polyps, seed 0" in drawn


def test_a_large_picture_gets_a_palette_and_keeps_its_record(tmp_path):
    figure = plt.figure(figsize=(6, 6))
    figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).random((400, 400, 3)))
    save_figure(figure, tmp_path / "noise", {"id": "0123456789abcdef"}, "noise")
    with Image.open(tmp_path / "noise.png") as picture:
        assert picture.mode == "P" and picture.text == {"Title": "noise", "Record": "0123456789abcdef"}
        assert picture.size == (960, 960) and round(picture.info["dpi"][0]) == 160


def test_slices_of_one_patient_keep_different_names():
    assert shortened("TCGA_DU_6405_19851005_44") == "TCGA_DU_64…851005_44" and shortened("a" * 20) == "a" * 20
