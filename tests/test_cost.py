"""Costs: counts by hand on a small network, and a table in which every method has its row, whatever happened to it."""

import dataclasses

import pytest
import torch
from reporting_inputs import make_dataset, make_reports, measured_cost
from torch import nn

from ehanet.config import RunConfig
from ehanet.cost import _rate, _rates, count_costs, count_gmac, measure_costs, used_parameters
from ehanet.models.encoders import build_encoder
from ehanet.models.output import SegmentationOutput
from ehanet.reporting import cost_report
from ehanet.reporting.costs import _two_digits
from ehanet.reporting.tables import read_table


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Conv2d(3, 1, 3, padding=1)
        self.unused = nn.Linear(10, 10)

    def forward(self, images):
        return SegmentationOutput(self.used(images), [])


def test_counts_by_hand():
    assert used_parameters(Tiny()) == 3 * 9 + 1
    assert count_gmac(Tiny(), 100) == pytest.approx(27 * 100 * 100 / 1e9)


def test_larger_batches_are_tried_while_they_help(monkeypatch):
    for speeds, tried in (({1: 100.0, 4: 120.0, 16: 121.0, 64: 900.0}, [1, 4, 16]), ({1: 10.0, 4: 15.0, 16: 99.0}, [1, 4])):  # 16 images at 15 a second
        monkeypatch.setattr("ehanet.cost._rate", lambda model, batch, *_: speeds[batch])
        assert list(_rates(Tiny(), 32, torch.device("cpu"), torch.float32, False)) == tried


def test_a_weights_file_decides_the_layout_that_is_counted(tmp_path, monkeypatch):
    """Keras' MobileNetV1 lacks the last block: 1,054,720 weights that a network of timm's layout would count too many."""
    keras, timm = (RunConfig(encoder=name) for name in ("mobilenetv1_100.keras", "mobilenetv1_100"))
    torch.save(build_encoder("mobilenetv1_100.keras").net.state_dict(), tmp_path / "keras.pt")
    monkeypatch.setenv("EHANET_WEIGHTS", str(tmp_path))
    given = RunConfig(label="given", encoder="mobilenetv1_100", encoder_weights="keras.pt")
    found = count_costs([dataclasses.replace(keras, label="keras"), dataclasses.replace(timm, label="timm"), given,
                         RunConfig(label="lost", encoder="mobilenetv1_100", encoder_weights="lost.pt")])
    assert found["given"] == found["keras"] and found["given"]["parameters"] == 3_451_361 < found["timm"]["parameters"]
    assert "lost" not in found, "without its file nobody knows which layout it has"


def test_a_weights_file_for_a_methods_own_encoder_is_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("EHANET_WEIGHTS", str(tmp_path))
    own = RunConfig()
    assert count_costs([own, RunConfig(label="from-file", encoder_weights="mobilevit_s.safetensors")])["from-file"] == count_costs([own])["ehanet"]


def test_rates_are_printed_as_far_as_they_repeat():
    assert [_two_digits(rate) for rate in (27.04, 5.86, 431.2, 0.123, 9.96, 8.04)] == ["27", "5.9", "430", "0.12", "10.0", "8.0"]


def test_predictions_over_flips_cost_four(monkeypatch):
    """On a network whose every call takes as long."""
    calls = []
    tiny = Tiny()
    tiny.register_forward_hook(lambda *_: calls.append(1))
    for flips, each in ((False, 1), (True, 4)):
        calls.clear()
        monkeypatch.setattr("ehanet.cost.SECONDS", 1e-9)  # one repetition
        assert _rate(tiny, 1, 32, torch.device("cpu"), torch.float32, flips) > 0
        assert len(calls) == 2 * each, "the warm-up and one repetition"


KILLS = """import os
from ehanet import register


@register("deadly")
def deadly():
    os._exit(1)  # as the system does where memory runs out
"""


def test_every_method_has_its_row(tmp_path):
    (tmp_path / "deadly.py").write_text(KILLS)
    measured = measure_costs([RunConfig(method="ehanet"), RunConfig(method="deadly", plugin=str(tmp_path / "deadly.py"))], 32)
    assert measured[0]["parameters"] == 5_875_073 and measured[0]["gmac"] == pytest.approx(4.05, abs=0.01)
    assert measured[0]["rate_1"] > 0 and measured[0]["rate_best"] >= measured[0]["rate_1"] and measured[0]["memory_mb"] > 0
    assert measured[1]["reason"].startswith("not measured: BrokenProcessPool")

    reports = make_reports(tmp_path, make_dataset(), {"ehanet": 0.1, "deadly": 0.2, "lanet": 0.3}, absent=[("pranet", "not available: no weights")])
    cost_report(reports, "phantom-polyp", measured)
    table = read_table(reports / "tables" / "cost_phantom-polyp.csv")
    assert {row["label"]: row["mark"] for row in table.rows} == {
        "ehanet": "phantom data", "deadly": measured[1]["reason"], "lanet": "not measured", "pranet": "not available: no weights",
        "lw-mhfi-net": "not available: no public code or description found"}
    assert len(table.rows[0]["rate_1"].replace(".", "").strip("0")) <= 2 and "two digits" in " ".join(table.notes)
    assert "frozen or not" in table.notes[0], "the network's count, whatever a run freezes or leaves unsupervised"
    assert table.rows[0]["millions"] == "5.88" and measured[0]["device"] in table.caption and table.rows[0]["device"] == measured[0]["device"]
    assert (reports / "figures" / "cost_phantom-polyp.pdf").is_file()


def test_a_measurement_stays_whole_where_a_weights_file_is_gone(tmp_path):
    reports = make_reports(tmp_path, make_dataset(), {"ehanet": 0.1, "lanet": 0.3})
    before = [measured_cost("ehanet", 4.0), measured_cost("lanet", 2.0)]
    cost_report(reports, "phantom-polyp", before)
    lost = {"label": "ehanet", "method": "ehanet", "reason": "not measured: FileNotFoundError: weights file net.safetensors not found"}
    for now, gmac in (([lost, measured_cost("lanet", 9.0)], ["4.00", "2.00"]), ([measured_cost("ehanet", 9.0), lost | {"label": "lanet", "reason": "not measured: BrokenProcessPool"}], ["9.00"])):
        cost_report(reports, "phantom-polyp", now)
        assert [row["gmac"] for row in read_table(reports / "tables" / "cost_phantom-polyp.csv").rows if row.get("gmac")] == gmac
    cost_report(reports, "phantom-polyp", [lost, measured_cost("lanet", 9.0)])
    assert [row["gmac"] for row in read_table(reports / "tables" / "cost_phantom-polyp.csv").rows if row.get("gmac")] == ["9.00"], "the table before had no EHANet"
