"""The tables of the ablation and of the protocol audit, from a small reports folder with known switches."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ehanet.record_schema import record_id
from ehanet.metrics.statistics import paired_differences
from ehanet.reporting import ablation_report, ablation_rows, protocol_report
from reporting_inputs import make_dataset, make_reports

ABLATIONS = {
    "ehanet": {}, "ehanet-no-efa": {"options": {"efa": False}}, "ehanet-no-iem": {"options": {"iem": False}}, "ehanet-plain": {"options": {"efa": False, "iem": False, "ahfa": False}},
    "ehanet-bce": {"loss_options": {"edge_loss": "bce"}}, "ehanet-no-side-losses": {"loss_options": {"deep_supervision": False}}, "ehanet-edge-5": {"edge_width": 5},
    "ehanet-long": {"epochs": 99}, "ehanet-released": {"protocol": "released"}, "ehanet-edges-resized": {"protocol": "edges-resized"}, "unet": {},
}
COSTS = {label: {"parameters": 1_000_000 - 500 * ("efa" in label) - 2000 * ("iem" in label), "gmac": 4.0 - ("iem" in label)} for label in ABLATIONS}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    data = make_dataset(count=16)
    folder = make_reports(tmp_path_factory.mktemp("ablations"), data, {label: 0.05 + 0.04 * place for place, label in enumerate(ABLATIONS)}, seeds=(0, 1))
    for path in (folder / "scores" / data.name).glob("*__seed*.json"):
        record = json.loads(path.read_text())
        record["config"] |= ABLATIONS[record["config"]["label"]]
        path.write_text(json.dumps({**record, "id": record_id(record)}))
    return folder


def test_rows_differ_in_switches_of_the_ablation_alone(reports):
    assert [row.label for row in ablation_rows(reports, "phantom-polyp")] == [
        "ehanet", "ehanet-no-efa", "ehanet-no-iem", "ehanet-plain", "ehanet-bce", "ehanet-no-side-losses", "ehanet-edge-5"]


def test_ablation_tables(reports):
    parts, choices = ablation_report(reports, "phantom-polyp", COSTS).values()
    switches = {row["label"]: row["efa"] + row["iem"] + row["ahfa"] for row in parts.rows}
    assert switches == {"ehanet-plain": "–––", "ehanet-no-efa": "–✓✓", "ehanet-no-iem": "✓–✓", "ehanet": "✓✓✓"} and list(switches)[-1] == "ehanet"
    assert [row["change"] for row in choices.rows] == ["nothing", "edge loss: bce", "deep supervision: off", "edge label's square, px: 5"]
    notes = " ".join(parts.notes)
    assert "EFA 500 parameters and 0.000 GMAC; IEM 2,000 parameters and 1.000 GMAC." in notes
    assert "Not trained in this profile: AHFA, IEM, EFA, EFA + IEM." in notes
    # differences and means are those of the per-image files
    frames = {label: pd.concat([pd.read_csv(reports / f"scores/phantom-polyp/{label}__seed{seed}.csv") for seed in (0, 1)]) for label in ("ehanet", "ehanet-no-iem")}
    row = next(row for row in parts.rows if row["label"] == "ehanet-no-iem")
    assert row["dice"].mean == pytest.approx(frames["ehanet-no-iem"]["dice"].mean(), abs=1e-6)
    assert row["difference"].mean == pytest.approx(frames["ehanet-no-iem"]["dice"].mean() - frames["ehanet"]["dice"].mean(), abs=1e-6)
    assert row["difference"].low < row["difference"].mean < row["difference"].high
    assert (reports / "figures/ablations_phantom-polyp.pdf").is_file() and "\\surd" in (reports / "tables/ablation_parts_phantom-polyp.tex").read_text()


def test_what_is_bold_is_said(tmp_path):
    data = make_dataset()
    for folder, error in (("far", 0.4), ("near", 0.02)):
        reports = make_reports(tmp_path / folder, data, {"ehanet": 0.02, "ehanet-no-iem": error}, seeds=(0, 1))
        for path in (reports / "scores" / data.name).glob("ehanet-no-iem__seed*.json"):
            record = json.loads(path.read_text())
            record["config"]["options"] = {"iem": False}
            path.write_text(json.dumps({**record, "id": record_id(record)}))
        table = next(iter(ablation_report(reports, data.name, {}).values()))
        assert any(row["dice"].bold for row in table.rows) == ("Bold" in " ".join(table.notes)) == (folder == "far")


def test_without_ehanet_there_is_no_ablation(tmp_path):
    make_reports(tmp_path, make_dataset(), {"unet": 0.1})
    with pytest.raises(ValueError, match="no scored run of ehanet"):
        ablation_rows(tmp_path / "reports", "phantom-polyp")


def test_protocol_table(reports):
    table = protocol_report(reports, "phantom-polyp")
    assert [row["label"] for row in table.rows] == ["ehanet", "ehanet-edges-resized", "ehanet-released", "ehanet", "ehanet", "ehanet", "ehanet", "ehanet-released"]
    assert "Not trained in this profile: edge label of the mask before augmentation; checkpoint of the lowest validation loss." in " ".join(table.notes)
    choices = pd.read_csv(reports / "scores/phantom-polyp/score_choice.csv").groupby(["label", "evaluation"])["dice"].mean()
    threshold = next(row for row in table.rows if "0.62" in row["released"])
    assert threshold["dice_difference"].mean == pytest.approx(choices["ehanet", "threshold 0.62"] - choices["ehanet", "ours"])
    assert np.isnan(threshold["dice_difference"].low) and table.rows[0]["dice_difference"] is None
    assert table.rows[-1]["dice"].mean == pytest.approx(choices["ehanet-released", "released"])


def test_a_profile_without_the_corrected_protocol_says_so(tmp_path):
    make_reports(tmp_path, make_dataset(), {"ehanet": 0.1}, protocol="released")
    with pytest.raises(ValueError, match="no run like ehanet has the protocol 'corrected'"):
        protocol_report(tmp_path / "reports", "phantom-polyp")


def test_paired_differences_by_hand():
    frame = pd.DataFrame({"image": list("abcd"), "group": list("abcd"), "dice": [0.5, 0.6, 0.7, 0.8]})
    found = paired_differences({"one": frame, "same": frame.assign(dice=frame["dice"] + 0.1), "mixed": frame.assign(dice=[0.5, 0.6, 0.7, 0.4])}, "dice", "one")
    assert found.loc["same"].tolist() == pytest.approx([0.1, 0.1, 0.1])  # the same in every image: no spread, whatever the images' own
    assert found.loc["mixed", "difference"] == pytest.approx(-0.1) and found.loc["mixed", "high"] == 0


def test_ehanet_alone_leaves_a_table_of_one_row(tmp_path):
    make_reports(tmp_path, make_dataset(count=16), {"ehanet": 0.1})
    parts, choices = ablation_report(tmp_path / "reports", "phantom-polyp", COSTS).values()
    assert len(parts.rows) == len(choices.rows) == 1 and "config/ablations.yaml trains them" in " ".join(choices.notes)
