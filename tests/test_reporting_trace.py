"""From a number in a table back to the training: nothing left out, nothing altered on the way."""

import pandas as pd
import pytest
from reporting_inputs import make_dataset, make_reports

import ehanet
from ehanet.records import read_record
from ehanet.reporting import comparison, score_choice_report
from ehanet.reporting.tables import read_table
from ehanet.reporting.trace import main


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = make_reports(tmp_path_factory.mktemp("trace"), make_dataset(), {"ehanet": 0.1, "unet-32": 0.3}, seeds=(0, 1))
    comparison(folder, "phantom-polyp")
    score_choice_report(folder, "phantom-polyp")
    return folder


def row(reports, label):
    table = read_table(reports / "tables" / "comparison_phantom-polyp.csv")
    return next(row for row in table.rows if row["label"] == label)


def test_a_mean_leads_to_its_scores_and_trainings_and_to_no_other(reports):
    mean = row(reports, "unet-32")["dice"].mean
    (origin,) = [origin for origin in ehanet.trace(f"{mean:.3f}", reports) if origin.table.name.startswith("comparison") and origin.column == "mDice"]
    assert origin.row == "U-Net (half width)" and origin.value == pytest.approx(mean) and origin.computed == pytest.approx(mean, rel=1e-5)
    kinds = [record["kind"] for _, record in origin.records]
    assert kinds == ["table", "scores", "run", "scores", "run"]
    expected = {read_record(reports / "runs/phantom-polyp/unet-32" / f"seed{seed}" / "record.json")["id"] for seed in (0, 1)}
    assert {record["id"] for _, record in origin.records if record["kind"] == "run"} == expected


def test_a_score_that_one_seed_lacks_is_taken_again_as_the_table_takes_it(tmp_path):
    folder = make_reports(tmp_path, make_dataset(), {"ehanet": 0.3}, seeds=(0, 1, 2))
    csvs = [folder / f"scores/phantom-polyp/ehanet__seed{seed}.csv" for seed in (0, 1, 2)]
    pd.read_csv(csvs[1]).assign(recall=lambda frame: frame["recall"].where(frame.index > 3)).to_csv(csvs[1], index=False)  # undefined where only a prediction has an object
    comparison(folder, "phantom-polyp")
    mean = row(folder, "ehanet")["recall"].mean
    (origin,) = [origin for origin in ehanet.trace(f"{mean:.5f}", folder) if origin.table.name.startswith("comparison") and origin.column == "Recall"]
    assert origin.computed == pytest.approx(mean, abs=1e-6)


def test_an_interval_and_a_difference(reports):
    low = row(reports, "ehanet")["dice"].low
    assert "lower end of the 95 % interval of mDice" in {origin.column for origin in ehanet.trace(f"{low:.4f}", reports)}
    difference = next(row for row in read_table(reports / "tables" / "differences_phantom-polyp.csv").rows if row["label"] == "unet-32")["dice_difference"].mean
    (origin, *_) = ehanet.trace(f"{difference:.4f}".replace("-", "−"), reports)
    assert {record["config"]["label"] for _, record in origin.records if record["kind"] == "run"} == {"ehanet", "unet-32"}


def test_the_command_line(reports, capsys):
    mean = row(reports, "ehanet")["dice"].mean
    assert main([f"{mean:.3f}", str(reports)]) == 0
    said = capsys.readouterr().out
    for part in ("column \"mDice\"", "20 rows, 20 images", "seed 1, 96 steps in 62 s on Test processor", "content cccccccccccc", "commit ", "ehanet.reporting.compare "):
        assert part in said, part
    assert max(map(len, said.splitlines())) < 300
    assert main(["0.123456", str(reports)]) == 1
    assert "0.123456 stands in no table of" in capsys.readouterr().err
    assert main(["many", str(reports)]) == 1 and main(["1", str(reports / "none")]) == 1
    said = capsys.readouterr().err
    assert "'many' is no number" in said and "has no tables" in said and said.count("\n") == 2


def test_a_whole_number_is_meant_exactly(reports):
    assert {origin.column for origin in ehanet.trace("20", reports)} == {"Images"}


@pytest.mark.parametrize("place", ["tables/comparison_phantom-polyp.csv", "runs/phantom-polyp/ehanet/seed0/record.json"])
def test_what_was_altered_since_is_named(reports, place, capsys):
    mean = row(reports, "ehanet")["dice"].mean
    path = reports / place
    before = path.read_text()
    path.write_text(before.replace("EHANet", "Other") if place.endswith("csv") else before.replace('"steps": 96', '"steps": 95'))
    try:
        assert main([f"{mean:.3f}", str(reports)]) == 1
        assert path.name in (said := capsys.readouterr().err) and "altered after it was written" in said
    finally:
        path.write_text(before)
