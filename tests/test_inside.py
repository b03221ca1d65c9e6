"""What the study of networks looks at, and that its table says what the networks put out."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from reporting_inputs import make_dataset

from ehanet.checkpoints import save_checkpoint
from ehanet.config import RunConfig
from ehanet.explain import output_maps
from ehanet.inside import choose_rows, deepest_and_last, look_inside
from ehanet.metrics.regions import dice_per_image
from ehanet.models import build_model
from ehanet.records import read_record, write_record
from ehanet.reporting import inside_report
from ehanet.reporting.tables import read_table

MADE = ("schema", "id", "kind", "created", "code", "libraries", "machine")  # what write_record puts in itself
ROWS = [{"method": "unet-32", "label": "unet-32", "seed": 0}, {"method": "ehanet", "label": "ehanet", "seed": 0}, {"method": "pranet", "label": "pranet", "seed": 0}]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Two untrained networks with checkpoints, a third without: (root, data set, what was seen)."""
    root, data = tmp_path_factory.mktemp("inside"), make_dataset(count=16)
    for method, options in (("ehanet", {"encoder": "resnet18"}), ("unet-32", {})):
        torch.manual_seed(0)
        config = RunConfig(method=method, size=32, device="cuda:63", **options)  # trained where there is such a device
        folder = root / method / "seed0"
        save_checkpoint(folder / "best.pt", {"config": config.to_dict(), "model": build_model(method, **options).state_dict()})
        write_record(folder / "record.json", "run", config=config.to_dict(), seed=0, data=data.manifest, device={"type": "cpu", "name": "Test processor", "threads": 1},
                     precision="float32", seconds=1.0, steps=1, peak_memory_bytes=1, encoder="none", best={"epoch": 1, "val_dice": 0.5}, warnings=[])
    return root, data, look_inside(data, root, ROWS, images=6)


def test_what_is_looked_at(seen):
    root, data, found = seen
    assert found.label == "ehanet" and [cam.label for cam in found.cams] == ["ehanet", "ehanet", "unet-32", "unet-32"]
    assert list(found.absent) == ["pranet"] and found.inputs == [read_record(root / f"{label}/seed0/record.json")["id"] for label in ("ehanet", "unet-32")]
    assert [cam.output for cam in found.own] == ["s1", "s2", "s3", "s4", "final", "edge"] and [cam.stride for cam in found.own] == [16, 8, 4, 2, 2, 2]
    tested = data.splits["test"][:6]
    assert found.images == [data.ids[index] for index in tested] and found.image in found.images
    objects = data.masks[tested].any(axis=(1, 2))
    dice = found.dice["final"]
    assert dice[found.images.index(found.image)] == np.sort(dice[objects])[(objects.sum() - 1) // 2]


def test_the_table_says_what_the_outputs_find(seen):
    root, data, found = seen
    inside_report(found, data, root / "reports")
    rows = {row["part"]: row for row in read_table(root / "reports/tables/inside_phantom-polyp.csv").rows}
    assert rows["final output"]["dice"].mean == pytest.approx(found.dice["final"].mean(), abs=1e-5)
    assert rows["side output 2"]["step"].mean == pytest.approx((found.dice["s2"] - found.dice["s1"]).mean(), abs=1e-5)
    assert [rows[f"EFA on stage {stage}"]["channels"] for stage in range(1, 6)] == [32, 64, 96, 128, 160]
    assert rows["side output 1 (coarsest)"]["channels"] == 128 and rows["EFA on stage 1"]["gate"].low == pytest.approx(found.efa[0][0].min(), abs=1e-5)
    assert {path.stem for path in (root / "reports/figures").glob("*.pdf")} == {f"{kind}_phantom-polyp" for kind in ("grad_cam", "outputs", "gates")}


def test_the_scale_of_grad_cam_is_named(seen, monkeypatch):
    root, data, found = seen
    words = []
    monkeypatch.setattr("ehanet.reporting.inside.save_figure", lambda figure, *_: words.append([text.get_text() for axis in figure.axes for text in axis.texts]))
    inside_report(found, data, root / "again")
    assert {"evidence: 0", "99th percentile\nof each map"} <= set(words[0])


def test_dice_is_that_of_the_maps(seen):
    root, data, found = seen
    model = build_model("ehanet", encoder="resnet18")
    model.load_state_dict(torch.load(root / "ehanet/seed0/best.pt", weights_only=True)["model"])
    place = data.ids.index(found.images[0])
    maps = output_maps(model, data.images[place])
    for output in ("s1", "final"):
        assert found.dice[output][0] == pytest.approx(float(dice_per_image(maps[output][None], data.masks[place][None].astype(bool))[0]))


def test_without_a_checkpoint_the_table_says_so(seen, tmp_path):
    """And figures of an earlier look, of other runs, are shown no more."""
    _, data, found = seen
    inside_report(found, data, tmp_path)
    assert len(list((tmp_path / "figures").iterdir())) == 9
    assert look_inside(data, tmp_path, ROWS) is None
    table = inside_report(None, data, tmp_path)
    assert "not available: no checkpoint of it is on this machine" in table.rows[0]["mark"] and not list((tmp_path / "figures").iterdir())


def test_without_a_checkpoint_an_earlier_look_at_the_report_s_own_runs_stays(seen, tmp_path):
    root, data, found = seen
    inside_report(found, data, tmp_path)
    for label in ("ehanet", "unet-32"):
        shutil.copytree(root / label / "seed0", tmp_path / "runs" / data.name / label / "seed0", ignore=shutil.ignore_patterns("best.pt"))
    files = {path: path.read_bytes() for folder in ("tables", "figures") for path in (tmp_path / folder).iterdir()}
    table = inside_report(None, data, tmp_path)
    assert table.rows[0]["part"].startswith("side output") and {path: path.read_bytes() for path in files} == files
    other = replace(data, manifest={**data.manifest, "content": "d" * 64})
    assert "not available" in inside_report(None, other, tmp_path).rows[0]["mark"], "of other images it says nothing"


def test_figures_of_gates_go_where_a_network_has_none(seen, tmp_path):
    _, data, found = seen
    inside_report(found, data, tmp_path)
    inside_report(replace(found, efa=[], ahfa=[]), data, tmp_path)
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {f"{kind}_phantom-polyp" for kind in ("grad_cam", "outputs")}


def test_a_checkpoint_of_another_training_is_not_that_of_a_kept_row(seen, tmp_path):
    root, data, _ = seen
    rows, kept = [{**row, "kept": True} for row in ROWS[:2]], tmp_path / "runs" / data.name
    for label in ("ehanet", "unet-32"):
        shutil.copytree(root / label, kept / label, ignore=shutil.ignore_patterns("best.pt"))
    assert look_inside(data, root, rows, images=2, reports=tmp_path).absent == {}
    record = read_record(kept / "unet-32/seed0/record.json")
    write_record(kept / "unet-32/seed0/record.json", "run", **{key: value for key, value in record.items() if key not in MADE} | {"steps": 2})
    assert list(look_inside(data, root, rows, images=2, reports=tmp_path).absent) == ["unet-32"]


def test_each_network_once_ehanet_first():
    rows = [{"method": "unet", "label": "unet-wide"}, {"method": "ehanet", "label": "ehanet-x"}, {"method": "ehanet", "label": "ehanet"}, {"method": "unet", "label": "unet"}]
    assert [row["label"] for row in choose_rows(rows, 6)] == ["ehanet", "unet"]
    assert [row["label"] for row in choose_rows(rows[:2], 1)] == ["ehanet-x"]
    assert [row["label"] for row in choose_rows(rows, 6, trained=["ehanet-x"])] == ["ehanet-x", "unet"]


def test_layers_that_methods_are_compared_at():
    shapes = {"stem": (32, 2), "encoder.4": (160, 32), "efa.4": (160, 32), "decoder.0.reduce": (128, 32), "decoder.3": (32, 2), "iem.path1": (2, 2), "head.0": (64, 1), "head": (1, 1)}
    assert deepest_and_last(shapes) == ("efa.4", "decoder.3")
