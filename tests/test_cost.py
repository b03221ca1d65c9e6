"""Costs: counts by hand on a small network, and a table in which every method has its row, whatever happened to it."""

import pytest
import torch
from reporting_inputs import make_dataset, make_reports
from torch import nn

from ehanet.config import RunConfig
from ehanet.cost import _rates, count_gmac, measure_costs, used_parameters
from ehanet.models.output import SegmentationOutput
from ehanet.reporting import cost_report
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
        assert list(_rates(Tiny(), 32, torch.device("cpu"), torch.float32)) == tried


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
    assert table.rows[0]["millions"] == "5.88" and measured[0]["device"] in table.caption and table.rows[0]["device"] == measured[0]["device"]
    assert (reports / "figures" / "cost_phantom-polyp.pdf").is_file()
