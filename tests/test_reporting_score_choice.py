"""The table and figure of what the choice of score does."""

import pandas as pd
import pytest
from PIL import Image
from reporting_inputs import make_dataset, make_reports

from ehanet.records import read_record
from ehanet.reporting import score_choice_report
from ehanet.reporting.tables import read_table


@pytest.fixture
def reports(tmp_path):
    return make_reports(tmp_path, make_dataset(), {"ehanet": 0.1, "unet-32": 0.3}, seeds=(0, 1))


def test_cells_are_means_over_seeds(reports):
    score_choice_report(reports, "phantom-polyp")
    table = read_table(reports / "tables/score_choice_phantom-polyp.csv")
    choices = pd.read_csv(reports / "scores/phantom-polyp/score_choice.csv")
    ours = choices[(choices.label == "unet-32") & (choices.evaluation == "ours")]
    row = next(row for row in table.rows if row["label"] == "unet-32")
    assert len(ours) == 2 and row["dice_ours"].mean == pytest.approx(ours.dice.mean(), rel=1e-5)
    released = choices[(choices.label == "unet-32") & (choices.evaluation == "released")]
    assert row["hausdorff_released"].mean == pytest.approx(released.hausdorff.mean(), rel=1e-5) != row["hausdorff_ours"].mean
    frames = [pd.read_csv(reports / f"scores/phantom-polyp/unet-32__seed{seed}.csv") for seed in (0, 1)]
    assert row["dice_ours"].mean == pytest.approx(sum(frame.dice.mean() for frame in frames) / 2, abs=1e-5), "ours is the table's Dice"
    assert table.mark == "phantom data"
    absent = (reports / "tables/score_choice_phantom-polyp.md").read_text().split("| LW-MHFI-Net | ")[1].splitlines()[0].strip("| ").split(" | ")
    assert absent[-1].startswith("not available") and set(absent[:-1]) == {"–"}


def test_the_figure_carries_its_record(reports):
    score_choice_report(reports, "phantom-polyp")
    path = reports / "figures/score_choice_phantom-polyp"
    with Image.open(path.with_suffix(".png")) as image:
        assert image.text["Record"] == read_record(path.with_suffix(".json"))["id"]
    first = path.with_suffix(".pdf").read_bytes()
    score_choice_report(reports, "phantom-polyp")
    assert path.with_suffix(".pdf").read_bytes() == first


def test_missing_scores_name_the_step(reports):
    (reports / "scores/phantom-polyp/score_choice.csv").unlink()
    with pytest.raises(FileNotFoundError, match="score_choice.csv not found; run the evaluation step of phantom-polyp"):
        score_choice_report(reports, "phantom-polyp")
