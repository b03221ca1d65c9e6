"""The ladder: what each step changed and gained, by hand, and that the test split chooses nothing."""

import json

import pandas as pd
import pytest
from reporting_inputs import make_dataset, make_reports

from ehanet.config import RunConfig
from ehanet.record_schema import record_id
from ehanet.records import read_record
from ehanet.reporting import comparison, ladder_report
from ehanet.reporting.glance import card
from ehanet.reporting.ladder import Rung, changes, climb, judge
from ehanet.reporting.results import Result
from ehanet.reporting.tables import read_table

STEPS = {  # label -> (size of its mistakes on the test split, settings, validation Dice of two seeds)
    "ehanet-start": (0.3, {}, (0.80, 0.82)),
    "ehanet-colour": (0.05, {"augmentation": "standard"}, (0.78, 0.80)),  # far better on the test split, worse on validation
    "ehanet-average": (0.3, {"ema": 0.99}, (0.82, 0.84)),
    "ehanet-longer": (0.4, {"ema": 0.99, "epochs": 24, "initial_weights": "weights/a.safetensors"}, (0.85, 0.83)),
}


@pytest.fixture
def reports(tmp_path):
    found = make_reports(tmp_path, make_dataset("kvasir-seg"), {label: error for label, (error, *_) in STEPS.items()}, seeds=(0, 1))
    for label, (_, settings, validation) in STEPS.items():
        for seed, dice in enumerate(validation):
            for path in (found / f"runs/kvasir-seg/{label}/seed{seed}/record.json", found / f"scores/kvasir-seg/{label}__seed{seed}.json"):
                content = json.loads(path.read_text())
                content["config"] |= settings
                content["best"] = {"epoch": 9, "val_dice": dice}
                path.write_text(json.dumps(content | {"id": record_id(content)}))
    return found


def test_steps_are_kept_by_validation_alone(reports):
    table = ladder_report(reports, "kvasir-seg")
    assert [(row["label"], row["kept"]) for row in table.rows] == [
        ("ehanet-start", "yes"), ("ehanet-colour", "no"), ("ehanet-average", "yes"), ("ehanet-longer", "undecided")]
    assert [row["validation"].mean for row in table.rows] == pytest.approx([0.81, 0.79, 0.83, 0.84])
    assert [row["gain"].mean for row in table.rows[1:]] == pytest.approx([-0.02, 0.02, 0.01])
    assert table.rows[0]["sd_seeds"].mean == pytest.approx(0.01 * 2**0.5)
    assert table.rows[0]["changed"] == "where it starts" and table.rows[1]["changed"] == "augmentation standard (flips)"
    assert table.rows[2]["changed"] == "moving average of weights 0.99 (0)", "against the last step that was kept"
    assert table.rows[3]["changed"] == "epochs 24 (12); starts from a.safetensors (nothing)"
    assert "The recipe that is left: EHANet, average." in table.notes and not any("One seed" in note for note in table.notes)
    assert "Several settings changed at once, whose gain is that of all together: EHANet, longer." in table.notes
    assert "passes with a probability of 0.25. The test split" in table.notes[0]  # t > 1 with one degree of freedom
    assert "trains longer as well" in table.notes[-1]


def test_steps_that_change_several_settings_are_named(reports):
    for seed in (0, 1):
        for path in (reports / f"runs/kvasir-seg/ehanet-average/seed{seed}/record.json", reports / f"scores/kvasir-seg/ehanet-average__seed{seed}.json"):
            content = json.loads(path.read_text())
            content["config"]["augmentation"] = "standard"
            path.write_text(json.dumps(content | {"id": record_id(content)}))
    table = ladder_report(reports, "kvasir-seg")
    assert table.rows[2]["changed"] == "augmentation standard (flips); moving average of weights 0.99 (0)"
    assert "Several settings changed at once, whose gain is that of all together: EHANet, average; EHANet, longer." in table.notes


def test_a_step_that_could_not_be_trained_keeps_its_place(reports):
    listing = reports / "scores/kvasir-seg/methods.json"
    listing.write_text(json.dumps([*json.loads(listing.read_text()), {"method": "ehanet", "label": "ehanet-last", "seeds": [], "reason": "not available: weights file x not found"}]))
    table = ladder_report(reports, "kvasir-seg")
    assert [row["step"] for row in table.rows][-1] == "EHANet, last" and table.rows[-1]["mark"] == "not available: weights file x not found"
    assert "weights file x not found" in (reports / "tables/ladder_kvasir-seg.md").read_text()


def test_the_files_agree_with_the_scores(reports):
    table = ladder_report(reports, "kvasir-seg")
    again = read_table(reports / "tables/ladder_kvasir-seg.csv")
    for row, read in zip(table.rows, again.rows):
        frames = [pd.read_csv(reports / f"scores/kvasir-seg/{row['label']}__seed{seed}.csv") for seed in (0, 1)]
        assert read["test"].mean == pytest.approx(sum(frame["dice"].mean() for frame in frames) / 2, abs=1e-5)
        assert read["test"].low < read["test"].mean < read["test"].high
    assert (reports / "figures/ladder_kvasir-seg.png").stat().st_size > 10_000
    assert len(read_record(reports / "figures/ladder_kvasir-seg.json")["inputs"]) == 8


def test_the_card_shows_the_recipe_that_is_left(reports):
    """Not the first step, though it is the unchanged EHANet, nor the best one on the test split."""
    ladder_report(reports, "kvasir-seg")
    shown = card(reports, "kvasir-seg", comparison(reports, "kvasir-seg")["comparison_kvasir-seg"])
    first = read_table(reports / "tables/ladder_kvasir-seg.csv").rows[0]["test"]
    assert shown["reference"] == "EHANet, average"
    assert shown["lines"][0] == f"What validation left of 4 steps, begun with {first.mean:.3f} ({first.low:.3f}–{first.high:.3f})."
    assert len(shown["lines"]) == 2 and shown["lines"][1].startswith("Boundary F1 "), "no ranks among its own steps"


def test_a_run_without_its_validation_dice_is_named(reports):
    path = reports / "runs/kvasir-seg/ehanet-colour/seed1/record.json"
    content = json.loads(path.read_text())
    content["best"] = {"epoch": 9}
    path.write_text(json.dumps(content | {"id": record_id(content)}))
    with pytest.raises(ValueError, match="ehanet-colour/seed1/record.json does not say the run's validation Dice"):
        ladder_report(reports, "kvasir-seg")


@pytest.mark.parametrize(("validation", "before", "verdict"), [
    ((0.81, 0.82, 0.83), (0.80, 0.81, 0.82), "yes"),
    ((0.810, 0.812, 0.809), (0.80, 0.80, 0.80), "yes"),
    ((0.81, 0.79, 0.802), (0.80, 0.80, 0.80), "undecided"),  # gains 0.01, -0.01, 0.002: mean 0.0007, standard error 0.006
    ((0.79, 0.80, 0.80), (0.80, 0.80, 0.80), "no"),
    ((0.9,), (0.8,), "undecided"),
    ((0.9, 0.9), (0.8,), "undecided"),
])
def test_a_gain_within_the_spread_of_seeds_keeps_nothing(validation, before, verdict):
    assert judge(list(validation), list(before)) == verdict


def test_changes_are_told_with_defaults_for_older_records():
    assert changes({"method": "ehanet", "test_flips": True, "options": {"iem": False}}, {"method": "ehanet"}) == ["flips at the test yes (no)", "options iem no (nothing)"]
    assert changes({"method": "ehanet", "seed": 3, "label": "x"}, {"method": "ehanet"}) == []


@pytest.mark.parametrize(("seeds", "validation", "verdict", "gain"), [
    ([2, 1, 0], [0.901, 0.852, 0.801], "yes", 0.004 / 3),  # seed by seed, whatever their order
    ([3, 4, 5], [0.801, 0.851, 0.901], "undecided", 0.001),  # nothing is paired
    ([1, 2, 3], [0.851, 0.902, 0.1], "yes", 0.0015),  # the two that both have
])
def test_steps_are_compared_seed_by_seed(seeds, validation, verdict, gain):
    def rung(label, seeds, validation, **settings):
        return Rung(Result("ehanet", label, seeds, [1], [{"config": RunConfig(method="ehanet", label=label, **settings).to_dict()}]), validation)

    found = climb([rung("a", [0, 1, 2], [0.80, 0.85, 0.90]), rung("b", seeds, validation, epochs=60)])[1]
    assert found.verdict == verdict and found.gain == pytest.approx(gain)
