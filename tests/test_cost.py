"""Costs: counts by hand on a small network, and a table that keeps the row of the method nobody could find."""

import pytest
import torch
from torch import nn

from ehanet.config import RunConfig
from ehanet.cost import count_gmac, measure_costs, used_parameters
from ehanet.models.output import SegmentationOutput
from ehanet.reporting import cost_table
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


def test_costs_of_two_methods(tmp_path):
    torch.manual_seed(0)
    rows = measure_costs([RunConfig(method="ehanet"), RunConfig(method="unet-32", label="half")], 32)
    assert [row["label"] for row in rows] == ["ehanet", "half"]
    assert rows[0]["parameters"] == 5_875_073 and rows[0]["gmac"] == pytest.approx(4.05, abs=0.01)
    assert all(row["rate_1"] > 0 and row["rate_best"] >= row["rate_1"] and row["memory_mb"] > 0 for row in rows)
    cost_table(rows, tmp_path)
    table = read_table(tmp_path / "tables" / "cost.csv")
    assert [row["label"] for row in table.rows] == ["ehanet", "half", "lw-mhfi-net"]
    assert table.rows[0]["millions"] == "5.88" and table.rows[-1]["mark"] == "not available: no public code or description found"
