"""The benchmarks: their baseline computes what the package computes, their table says what was measured. Nothing here is timed."""

import math
import os
import time
from contextlib import nullcontext
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import __main__ as bench
from benchmarks import limits, released, startup, timing, training
from ehanet.data import load_dataset
from ehanet.data.edges import edge_labels
from ehanet.losses import EHANetLoss, lovasz_softmax
from ehanet.models.output import SegmentationOutput

CPU = torch.device("cpu")


def test_the_baseline_has_the_loss_of_the_package():
    torch.manual_seed(0)
    logits = [torch.randn(2, 1, 16, 16) for _ in range(5)]
    edge_logits, mask = torch.randn(2, 2, 16, 16), torch.zeros(2, 1, 16, 16)
    mask[0, :, 3:9, 4:12] = 1
    out = SegmentationOutput(logits[4], logits[:4], edge_logits.softmax(dim=1), edge_logits)
    edge = edge_labels(mask)
    assert released.lovasz(out.edge, edge[:, 0]).item() == pytest.approx(lovasz_softmax(out.edge, edge).item(), abs=1e-6)
    assert released.loss(out, mask, edge).item() == pytest.approx(EHANetLoss()(out, mask, edge).total.item(), abs=1e-5)


class Never:
    """A generator that turns and flips nothing."""

    def random(self) -> float:
        return 1.0


def test_the_baseline_reads_the_files_that_the_package_reads(tmp_path):
    files = training.write_files(tmp_path / "data", training.COUNT["cpu"])
    dataset = load_dataset(tmp_path / "data", size=64)
    images, masks, edges = released.load(files[:3], 64, Never())
    assert len(dataset.ids) == training.COUNT["cpu"] and images.shape == (3, 3, 64, 64) and edges.unique().tolist() in ([0.0], [0.0, 1.0])
    ours = torch.from_numpy(np.array(dataset.masks[:3]))[:, None].float()
    assert ((masks > 0.5).float() - ours).abs().mean() < 0.01


def test_ratios_are_of_medians_and_a_target_beyond_the_machine_becomes_a_share_of_its_limit(monkeypatch):
    now = iter(np.cumsum([0.0, 9, 0, 9, 0, 6, 0, 2, 0, 8, 0, 2, 0, 12, 0, 3]))  # plain takes 6, 8 and 12 seconds, ours 2, 2 and 3, after a call each to warm up
    monkeypatch.setattr(timing, "clock", lambda device: next(now))
    row = timing.compare("x", lambda: None, lambda: None, CPU, repeats=3, target=6, limit_seconds=1)
    assert (row.plain, row.ours, row.ratio, row.limit) == (8, 2, 4, 8)
    assert row.target == pytest.approx(0.4 * 8) and 3 <= row.low <= row.high <= 4


def remember(number):
    os.environ["REMEMBERED"] = number
    return lambda: time.sleep(0.01)


def test_a_call_apart_is_timed_there_and_leaves_this_process_alone():
    with timing.Apart(CPU, remember, "3") as there:
        assert 0 < there.seconds() < 1
    assert "REMEMBERED" not in os.environ and there.process.exitcode == 0


def fall(number):
    raise RuntimeError(number)


def test_a_call_apart_that_dies_is_not_waited_for():
    with timing.Apart(CPU, fall, "3") as there, pytest.raises((EOFError, ConnectionError)):
        there.seconds()


def test_limit_counts_three_times_the_multiplications_for_a_step():
    peaks = {torch.float32: 4.05e9, torch.bfloat16: 1e9}
    assert timing.limit_seconds(peaks, 2) == pytest.approx(2) and timing.limit_seconds(peaks, 2, size=128, training=True) == pytest.approx(1.5)


@pytest.mark.parametrize("seconds, said", [(12.34, "12.3 s"), (1, "1.00 s"), (0.0456, "45.6 ms"), (0.00123, "1.23 ms"), (123.4, "123 s")])
def test_three_digits_with_a_unit(seconds, said):
    assert timing.words(seconds) == said


def test_a_group_measured_again_replaces_its_lines_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    machine = {"type": "cpu", "name": "Some (R) CPU", "threads": 1, "torch": "2", "python": "3", "system": "Linux", "peak_float32_gmac_s": 40.0, "peak_bfloat16_gmac_s": 1.0}
    row = {"what": "Lovasz-softmax", "plain": 0.2, "ours": 0.05, "ratio": 4.0, "low": 3.9, "high": 4.1, "target": 4.0, "limit": None, "note": ""}
    for group, change in (("losses", {}), ("memory", {"what": "peak", "target": None}), ("losses", {"ours": 0.1, "ratio": 2.0, "target": 4.0})):
        machine["peak_float32_gmac_s"] += 10
        page = bench.write(group, {"rows": [row | change], "machine": machine})
    frame = pd.read_csv(page.with_suffix(".csv"))
    assert page.name == "some-r-cpu-1-thread.md" and frame["group"].tolist() == ["memory", "losses"] and frame["ours"].tolist() == [0.05, 0.1]
    assert math.isnan(frame["target"][0])
    text = page.read_text()
    assert "matrix product at most 60 to 70 in float32, 1 in bfloat16" in text
    assert "| losses | Lovasz-softmax | 200 ms | 100 ms | 2.00 [3.90-4.10] | 4 MISSED |" in text and "peak |  |  | 4.00" in text


@pytest.mark.parametrize("group", ["training", "losses", pytest.param("inference", marks=pytest.mark.slow)])
def test_every_group_runs_from_end_to_end_at_a_small_size(group, monkeypatch):
    module = import_module(f"benchmarks.{group}")
    monkeypatch.setattr(timing.Apart, "__new__", lambda cls, device, prepare, *arguments: nullcontext(prepare(*arguments)))  # ten starts of torch take a minute
    for name, value in {"SIZE": 32, "ORIGINAL": 64, "COUNT": {"cpu": 20}, "STEPS": 1, "EPOCHS": 1}.items():
        monkeypatch.setattr(module, name, value, raising=False)
    rows = module.rows(CPU, {torch.float32: 1e10, torch.bfloat16: 1e9})
    assert len({row.what for row in rows}) == len(rows) >= 2
    assert all(row.plain > 0 and row.ours > 0 and row.low <= row.ratio <= row.high for row in rows)


def test_multiplications_of_a_step_are_those_of_its_convolutions():
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, padding=1, groups=8))
    with limits.Account(1.0, 1e30) as account:
        network(torch.ones(2, 4, 10, 10)).sum().backward()
    dense, depthwise = 2 * 100 * 8 * 4 * 9, 2 * 100 * 8 * 9
    expected = {"3 x 3, forward": dense, "3 x 3, backward": dense, "depthwise, forward": depthwise, "depthwise, backward": 2 * depthwise}  # an image needs no gradient
    counted = {name.removeprefix("convolutions "): values for name, values in account.lines.items() if name.startswith("convolutions")}
    assert {name: macs for name, (_, macs, _, _) in counted.items()} == {name: floor for name, (_, _, _, floor) in counted.items()} == expected
    assert counted["3 x 3, forward"][2] == 4 * (2 * 100 * (4 + 8) + 8 * 4 * 9 + 8)


def test_an_empty_step_runs(tmp_path):
    assert startup._notebook("answer = 42", tmp_path) > 0 and "answer = 42" in (tmp_path / "empty.out.ipynb").read_text()
