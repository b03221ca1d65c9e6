"""Robustness: scores of checkpoints under corruption, the mean corruption error by hand, another data set through the own-folder importer."""

import numpy as np
import pandas as pd
import pytest
import torch
from reporting_inputs import make_dataset, make_reports
from scipy import special

from ehanet.checkpoints import load_best, restore_model, save_checkpoint
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.data.corruptions import CORRUPTIONS, corrupt, occurring
from ehanet.data.phantoms import make_phantom
from ehanet.evaluation import evaluate_runs
from ehanet.inference import predict
from ehanet.metrics.corruption import corruption_errors, interval, resample_conditions
from ehanet.metrics.regions import dice_per_image
from ehanet.metrics.statistics import compare
from ehanet.models import build_model
from ehanet.records import read_beside, read_record, write_record
from ehanet.reporting import corruption_sheet, cross_report, robustness_report
from ehanet.reporting.results import corrupted_frames
from ehanet.reporting.robustness import _draw_curves
from ehanet.reporting.style import figure_style
from ehanet.reporting.wording import p_in_words
from ehanet.robustness import cross_scores, other_dataset, robustness_scores, write_phantom_folder

ROWS = [{"method": "unet-32", "label": "unet-32", "seed": 0}, {"method": "ehanet", "label": "ehanet", "seed": 0}, {"method": "ehanet", "label": "ehanet-kept", "seed": 0}]
KINDS = ["noise", "contrast"]


@pytest.fixture(scope="module")
def data():
    return load_dataset("phantom-polyp", size=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    """Two untrained networks as finished runs, and a row whose checkpoint is not there."""
    root = tmp_path_factory.mktemp("robustness")
    torch.manual_seed(0)
    for row in ROWS[:2]:
        place = root / "runs" / "phantom-polyp" / row["label"] / "seed0"
        config = RunConfig(method=row["method"], size=32, device="cuda:63").to_dict()  # trained where there is such a device
        model = build_model(row["method"])
        last = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d) and module.out_channels == 1][-1]
        last.bias.data -= float(np.mean(special.logit(predict(model, data.images[:3]))))  # about half of the pixels are found, so that Dice tells images and networks apart
        save_checkpoint(place / "best.pt", {"model": model.state_dict(), "config": config})
        write_record(place / "record.json", "run", config=config, seed=0, encoder="none", warnings=[], device={}, precision="float32", seconds=1.0, steps=1,
                     peak_memory_bytes=1, best={}, data=data.manifest)
    return root


@pytest.fixture(scope="module")
def scores(folder, data):
    return robustness_scores(data, folder / "runs" / "phantom-polyp", folder / "reports", ROWS, images=3, corruptions=KINDS)


def test_every_run_sees_every_condition(scores, folder):
    counts = scores.groupby(["label", "corruption", "severity"])["image"].nunique()
    assert len(counts) == 2 * (1 + 5 * len(KINDS)) and set(counts) == {3}
    assert scores["dice"].between(0, 1).all() and len(set(scores["image"])) == 3
    record = read_record(folder / "reports" / "robustness" / "phantom-polyp.json")
    assert [row["label"] for row in record["absent"]] == ["ehanet-kept"] and "no checkpoint" in record["absent"][0]["reason"]
    written = pd.read_csv(folder / "reports" / "robustness" / "phantom-polyp.csv", keep_default_na=False)
    assert written["dice"].to_numpy() == pytest.approx(scores["dice"].to_numpy(), abs=1e-5)


def test_the_same_call_gives_the_same_scores(scores, folder, data, tmp_path):
    again = robustness_scores(data, folder / "runs" / "phantom-polyp", tmp_path, ROWS[:1], images=3, corruptions=["noise"])
    kept = scores[(scores["label"] == "unet-32") & scores["corruption"].isin(["none", "noise"])]
    assert again["dice"].tolist() == kept["dice"].tolist()


def test_scores_are_those_of_each_run_on_each_corrupted_image(scores, folder, data):
    indices = [data.ids.index(image) for image in scores["image"].unique()]
    pictures = [corrupt(data.images[index], "contrast", 4, seed=index) for index in indices]
    for label in ("unet-32", "ehanet"):
        model, _ = restore_model(load_best(folder / "runs" / "phantom-polyp" / label / "seed0"))
        expected = dice_per_image(predict(model, np.stack(pictures)), data.masks[indices].astype(bool))
        found = scores[(scores["label"] == label) & (scores["corruption"] == "contrast") & (scores["severity"] == 4)]
        assert found["image"].tolist() == [data.ids[index] for index in indices] and found["dice"].to_numpy() == pytest.approx(expected, abs=0.01)


def test_report_names_its_reference_and_what_is_missing(scores, folder, data):
    make_reports(folder, make_dataset(), {"unet-32": 0.2, "ehanet": 0.1, "lanet": 0.3})  # the scores, which know how each network began
    table = robustness_report(folder / "reports", "phantom-polyp")
    assert [row["label"] for row in table.rows] == ["unet-32", "ehanet", "ehanet-kept", "lw-mhfi-net"]
    assert table.rows[3]["mark"].startswith("not available: no public code")
    assert table.rows[0]["mce"].mean == 100 and "in percent of that of U-Net (half width)" in " ".join(table.notes)
    means = scores[scores["severity"] > 0].groupby("label")["dice"].mean()
    assert table.rows[0]["difference"].mean == pytest.approx(means["unet-32"] - means["ehanet"], abs=1e-6) and table.rows[1]["difference"] is None  # EHANet is the reference
    assert table.rows[0]["p"] == p_in_words(compare({label: corrupted_frames(scores)[label] for label in ("ehanet", "unet-32")}, "dice")["p_holm"].iloc[1])
    assert "minus that of EHANet, image by image" in " ".join(table.notes)
    assert "no checkpoint here" in table.rows[2]["mark"]
    assert "Scored, but not tried on corrupted images here: LANet." in table.notes
    corruption_sheet(data, folder / "reports", KINDS)
    for stem in ("robustness_phantom-polyp", "corruptions_phantom-polyp"):
        assert (folder / "reports" / "figures" / f"{stem}.png").is_file()


def table_of(dice: dict) -> pd.DataFrame:
    """label -> list of mean Dice: clean, then severities 1 and 2; four images around the mean."""
    rows = []
    for label, levels in dice.items():
        for severity, level in enumerate(levels):
            for image, off in zip("abcd", (-0.02, -0.01, 0.01, 0.02)):
                rows.append({"label": label, "seed": 0, "corruption": "noise" if severity else "none", "severity": severity, "image": image, "group": image, "dice": level + off})
    return pd.DataFrame(rows)


def test_mean_corruption_error_by_hand():
    found = resample_conditions(table_of({"unet": [0.9, 0.8, 0.6], "ours": [0.9, 0.85, 0.75]}), resamples=200)
    errors = corruption_errors(found, "unet")
    assert found.clean[0] == pytest.approx([0.9, 0.9])
    assert errors[0, :, 0] == pytest.approx([100, 100 * (0.15 + 0.25) / (0.2 + 0.4)])
    assert np.allclose(errors[:, 0], 100), "the reference is 100 in every resample"
    mean, low, high = interval(errors[:, 1, 0])
    assert low < mean < high


def test_a_condition_without_an_image_is_refused():
    scores = table_of({"unet": [0.9, 0.8, 0.6]}).drop(index=5)
    with pytest.raises(ValueError, match="unet noise 1 lack an image"):
        resample_conditions(scores)


def test_another_data_set_is_read_like_ones_own_folder(folder, data, tmp_path, monkeypatch):
    written = write_phantom_folder("phantom-polyp", 32, tmp_path, seed=1)
    drawn = make_phantom("phantom-polyp", 32, seed=1)
    read = load_dataset(written, size=32)
    assert read.ids == drawn.ids and np.array_equal(read.images, drawn.images) and np.array_equal(read.masks, drawn.masks)
    monkeypatch.chdir(tmp_path)
    (folder / "elsewhere/own").mkdir(parents=True)
    written.rename("own")
    assert other_dataset("own", 32, str(folder / "elsewhere")).ids == read.ids  # by its path, as the plan does, and not below the archives
    other = other_dataset("phantom-polyp", 32)
    assert other.name == "phantom-polyp-seed1" and np.array_equal(other.images, read.images)
    runs, reports = folder / "runs" / "phantom-polyp", folder / "reports"
    evaluate_runs(data, runs, reports, ROWS[:2])
    scores = cross_scores(data, other, runs, reports, ROWS[:2], images=5)
    assert scores.groupby("label")["image"].nunique().tolist() == [5, 5]
    table = cross_report(reports, data.name, other.name)
    made_from = read_beside(reports / "tables" / f"cross_{data.name}.csv")["inputs"]
    assert made_from == [read_beside(path)["id"] for path in (reports / "robustness" / f"{data.name}__on__{other.name}.csv",
                                                              *(reports / "scores" / data.name / f"{label}__seed0.csv" for label in ("unet-32", "ehanet")))]
    home = pd.read_csv(reports / "scores" / data.name / "ehanet__seed0.csv")["dice"].mean()
    assert table.rows[1]["dice_home"].mean == pytest.approx(home, abs=1e-6)
    assert "5 of 320 images. By perceptual hash none of them looks like an image of Phantom polyps." in table.notes[0]
    assert table.rows[-1]["label"] == "lw-mhfi-net" and table.rows[-1]["mark"].startswith("not available: no public code")
    figure = reports / "figures" / "cross_phantom-polyp.png"
    assert figure.is_file()
    cross_scores(data, other, runs, reports, ROWS[:2], images=5, methods=["ehanet"])
    alone = cross_report(reports, data.name, other.name)
    assert not figure.exists() and [column.key for column in alone.shown if "difference" in column.key] == []  # one network differs from none
    with pytest.raises(ValueError, match="^across: phantom-polyp holds the images that the runs of phantom-polyp learned from; name another data set"):
        cross_scores(data, data, runs, reports, ROWS[:2], images=5)
    earlier = reports / "robustness" / "phantom-polyp__on__apple.csv"
    earlier.write_text("of a data set that was crossed over to before")
    cross_scores(data, other, runs, reports, ROWS[:2], images=5)
    assert not earlier.exists() and (reports / "robustness" / f"phantom-polyp__on__{other.name}.csv").is_file()
    means = scores.groupby("label", sort=False)[["dice", "boundary_f1"]].mean()
    assert table.rows[1]["dice_away"].mean == pytest.approx(means.loc["ehanet", "dice"], abs=1e-5)
    assert table.rows[0]["boundary_f1_difference_away"].mean == pytest.approx(means.loc["unet-32", "boundary_f1"] - means.loc["ehanet", "boundary_f1"], abs=1e-5)
    assert table.rows[1]["dice_difference_away"] is None and table.rows[1]["dice_p_away"] == ""  # EHANet is the reference
    away = {label: [own] for label, own in scores.groupby("label")}
    assert table.rows[0]["dice_p_away"] == p_in_words(compare(away, "dice")["p_holm"].iloc[1])


@pytest.mark.parametrize("options, message", [
    ({"methods": ["pranet"]}, "methods: 'pranet' is not among the runs: unet-32, ehanet"), ({"corruptions": ["fog"]}, "corruptions: 'fog' is unknown"),
    ({"images": 0}, "images: must be at least 1"),
])
def test_wrong_parameters_are_named(folder, data, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        robustness_scores(data, folder / "runs" / "phantom-polyp", tmp_path, ROWS, **options)


def test_a_report_whose_checkpoints_are_gone_still_has_its_table(folder, data, tmp_path):
    reports = make_reports(tmp_path, make_dataset(), {"ehanet-kept": 0.1})
    assert robustness_scores(data, folder / "runs" / "phantom-polyp", reports, ROWS[2:]).empty
    table = robustness_report(reports, data.name)
    assert [row["label"] for row in table.rows] == ["ehanet-kept", "lw-mhfi-net"] and "without KEEP=1" in table.notes[0]
    assert (reports / "figures" / "robustness_phantom-polyp.png").is_file()
    other = other_dataset(data.name, 32)
    cross_scores(data, other, folder / "runs" / "phantom-polyp", reports, ROWS[2:])
    kept, absent = cross_report(reports, data.name, other.name).rows
    assert kept["mark"].startswith("not available: no checkpoint") and absent["label"] == "lw-mhfi-net"


def test_each_curve_has_dashes_of_its_own():
    methods = {"ehanet": "ehanet", "unet": "unet", "lanet": "lanet", "ehanet-b": "ehanet", "ehanet-c": "ehanet"}
    found = resample_conditions(table_of({label: [0.9, 0.8, 0.6] for label in methods}), resamples=50)
    with figure_style():
        figure = _draw_curves("phantom-polyp", found, methods, 4, "", "phantom data")
        lines = figure.axes[0].get_lines()
        assert len({line._unscaled_dash_pattern for line in lines}) == len(lines) == 5  # matplotlib keeps "--" for every pattern elsewhere
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == 5


def test_only_what_occurs_in_a_modality():
    assert "hair" not in occurring("phantom-polyp") and "bias field" in occurring("lgg") and "jpeg" not in occurring("lgg")
    assert occurring("my-own-folder") == list(CORRUPTIONS)
