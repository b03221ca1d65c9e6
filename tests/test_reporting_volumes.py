"""Scores of whole volumes beside those of slices, and the files of all runs held against their records."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from reporting_inputs import make_dataset, make_reports

from ehanet.evaluation import evaluate_runs
from ehanet.predictions import predictions_path, read_predictions
from ehanet.records import read_record
from ehanet.reporting import comparison, protocol_report, score_choice_report
from ehanet.reporting.results import read_together
from ehanet.reporting.tables import read_table

NAME = "phantom-glioma"
CHOICES = f"reports/scores/{NAME}/score_choice.csv"


@pytest.fixture
def scored(tmp_path):
    """A report of two seeds of one network and one of another, whose images are slices of four."""
    alone = make_dataset(NAME)
    data = replace(alone, groups=[f"patient {index // 4}" for index in range(len(alone.ids))], manifest={**alone.manifest, "grouped_by": "patients"})
    reports = make_reports(tmp_path, data, {"ehanet": 0.1, "unet-32": 0.3}, seeds=(0, 1))
    rows = [{"method": label, "label": label, "seed": seed, "kept": True} for label in ("ehanet", "unet-32") for seed in (0, 1)]
    evaluate_runs(data, tmp_path, reports, rows)
    return data, reports


def test_volumes_are_scored_from_the_pixels_of_all_their_slices(scored):
    data, reports = scored
    written = comparison(reports, NAME)
    assert f"volumes_{NAME}" in written
    means, lowest = [], []
    for seed in (0, 1):
        stored = read_predictions(predictions_path(reports, NAME, "unet-32", seed))
        by_patient: dict[str, list[int]] = {}
        for name, probabilities in zip(stored.ids, stored.probabilities):
            index = data.ids.index(name)
            drawn, label = probabilities > 0.5, data.masks[index].astype(bool)
            counts = by_patient.setdefault(data.groups[index], [0, 0])
            counts[0] += int((drawn & label).sum())
            counts[1] += int(drawn.sum() + label.sum())
        dice = [2 * both / total for both, total in by_patient.values()]
        means.append(sum(dice) / len(dice))
        lowest.append(min(dice))
    row = next(row for row in read_table(reports / f"tables/volumes_{NAME}.csv").rows if row["label"] == "unet-32")
    assert row["dice"].mean == pytest.approx(sum(means) / 2, abs=1e-5) and row["dice"].low < row["dice"].mean < row["dice"].high
    assert row["dice_lowest"].mean == pytest.approx(min(lowest), abs=1e-5)
    slices = pd.concat(pd.read_csv(reports / f"scores/{NAME}/unet-32__seed{seed}.csv") for seed in (0, 1))["dice"].mean()
    assert row["dice_slices"].mean == pytest.approx(slices, abs=1e-6) != row["dice"].mean


def test_a_data_set_without_volumes_loses_the_table(scored):
    data, reports = scored
    comparison(reports, NAME)
    for left in (reports / "scores" / NAME).glob("volumes.*"):
        left.unlink()
    assert f"volumes_{NAME}" not in comparison(reports, NAME)
    assert not list((reports / "tables").glob("volumes_*"))


def test_a_run_that_the_volumes_lack_is_named(scored):
    _, reports = scored
    path = reports / f"scores/{NAME}/volumes.csv"
    frame = pd.read_csv(path)
    path.with_suffix(".json").unlink()
    frame[frame["seed"] == 0].to_csv(path, index=False)
    with pytest.raises(ValueError, match="volumes.csv lacks ehanet, seed 1; run the evaluation step of phantom-glioma again"):
        comparison(reports, NAME)


@pytest.mark.parametrize("name", ["score_choice", "volumes"])
def test_scores_of_all_runs_have_a_record_made_from_theirs(scored, name):
    data, reports = scored
    record = read_record(reports / f"scores/{NAME}/{name}.json")
    runs = {read_record(path)["id"] for path in (reports / "scores" / NAME).glob("*__seed*.json")}
    assert set(record["inputs"]) == runs and len(runs) == 4 and record["data"]["content"] == data.manifest["content"]


def test_altered_files_are_told(scored, tmp_path):
    _, reports = scored
    path = tmp_path / CHOICES
    before = path.read_text()
    path.write_text(before.replace("0.", "0.9", 1))
    for report in (score_choice_report, protocol_report):
        with pytest.raises(ValueError, match="score_choice.csv was altered after it was written"):
            report(reports, NAME)
    path.write_text(before)
    score_choice_report(reports, NAME)
    index = path.with_name("methods.json")
    listing = json.loads(index.read_text())
    index.write_text(json.dumps([{**row, "seeds": row["seeds"][:1]} for row in listing]))
    with pytest.raises(ValueError, match="methods.json was altered after it was written; run the evaluation step of phantom-glioma again"):
        comparison(reports, NAME)


@pytest.mark.parametrize(("content", "told"), [("label,seed\nehanet,0\n", "score_choice.csv lacks the column evaluation"), ("", "is no CSV of scores .EmptyDataError.")])
def test_a_damaged_file_without_a_record_is_told(scored, tmp_path, content, told):
    _, reports = scored
    path = tmp_path / CHOICES
    path.write_text(content)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match=told):
        score_choice_report(reports, NAME)


def test_scores_without_their_record_are_told(scored):
    _, reports = scored
    (reports / f"scores/{NAME}/ehanet__seed1.json").unlink()
    with pytest.raises(FileNotFoundError, match="ehanet__seed1.csv has no record beside it .ehanet__seed1.json.; run its step again"):
        comparison(reports, NAME)


def test_a_name_is_a_name_whatever_it_says(tmp_path):
    path = tmp_path / "scores/x/volumes.csv"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"label": ["NA", "null", "007"], "seed": 0, "group": ["nan", "None", "1"], "dice": 0.5, "recall": [0.25, None, 1.0]}).to_csv(path, index=False)
    found = read_together(tmp_path, "x", "volumes.csv", ["label", "recall"])
    assert found["label"].tolist() == ["NA", "null", "007"] and found["group"].tolist() == ["nan", "None", "1"]
    assert found["recall"].isna().tolist() == [False, True, False] and found["recall"].dtype == float
