"""The studies of edges and of failures: what their tables say is what their inputs hold, and their figures carry records and marks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from reporting_inputs import make_dataset, make_reports

from ehanet.metrics import edge_f1
from ehanet.metrics.contours import errors_by_distance
from ehanet.metrics.distances import surface
from ehanet.predictions import Predictions, predictions_path, read_predictions, write_predictions
from ehanet.publishing import edge_notes
from ehanet.record_schema import record_id
from ehanet.records import read_record
from ehanet.reporting import edges_report, failures_report, iem_report
from ehanet.reporting.edges import FEWEST, _measure, curve_rows
from ehanet.reporting.iem import image_counts
from ehanet.reporting.results import NEVER_FOUND, find_reference, read_results, without_part
from ehanet.reporting.tables import read_table

METHODS = {"ehanet": 0.1, "ehanet-no-iem": 0.25, "ehanet-no-efa": 0.2, "unet-32": 0.3}


def make_study(root, name="phantom-polyp"):
    """Reports of four methods; EHANet's rows have an edge map, one has no IEM, one no EFA."""
    data = make_dataset(name)
    reports = make_reports(root, data, METHODS)
    for label in METHODS:
        path = reports / f"scores/{name}/{label}__seed0.json"
        record = json.loads(path.read_text())
        part = label.removeprefix("ehanet-no-")
        record["config"]["options"] = {part: False} if part != label else {}
        path.write_text(json.dumps(record | {"id": record_id(record)}))
    path = predictions_path(reports, name, "ehanet", 0)
    maps = read_predictions(path)
    edges = np.stack([surface(mask.astype(bool)) for mask in data.masks[data.splits["test"]]]) * 0.8 + 0.1
    write_predictions(path, Predictions(maps.ids, maps.probabilities, edges, maps.run))
    return data, reports


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    data, reports = make_study(tmp_path_factory.mktemp("study"))
    edges_report(data, reports)
    iem_report(data, reports)
    failures_report(data, reports)
    return data, reports


def test_edge_table_says_what_the_maps_hold(made):
    data, reports = made
    table = read_table(reports / "tables/edges_phantom-polyp.csv")
    rows = {row["label"]: row for row in table.rows}
    assert list(rows) == [*METHODS, NEVER_FOUND.label] and rows.pop(NEVER_FOUND.label)["mark"].startswith("not available")
    assert rows["ehanet"]["inside"].mean == 0 and 0 < rows["ehanet"]["own"].mean < 1 and "no better than" not in " ".join(table.notes)
    maps = read_predictions(predictions_path(reports, data.name, "ehanet", 0))
    expected = edge_f1(maps.edges, data.masks[data.splits["test"]])
    assert rows["ehanet"]["ods"].mean == pytest.approx(expected["ods"], abs=1e-5) and expected["ods"] == 1
    assert rows["unet-32"]["ods"] is None and rows["ehanet-no-iem"]["ois"] is None
    for label, row in rows.items():
        probabilities = read_predictions(predictions_path(reports, data.name, label, 0)).probabilities
        labels = data.masks[data.splits["test"]].astype(bool)
        wrong = ((probabilities > 0.5) != labels)[labels.any(axis=(1, 2))]
        assert row["near"].low <= row["near"].mean <= row["near"].high
        assert min(row["near"].mean, row["far"].mean) < 100 * wrong.mean() < max(row["near"].mean, row["far"].mean)
    assert rows["ehanet"]["near"].mean < rows["unet-32"]["near"].mean


def test_a_map_of_filled_objects_is_told_from_one_of_edges(tmp_path):
    data = make_dataset("phantom-polyp")
    reports = make_reports(tmp_path, data, {"ehanet": 0.02})
    path = predictions_path(reports, data.name, "ehanet", 0)
    maps, labels = read_predictions(path), data.masks[data.splits["test"]].astype(bool)
    write_predictions(path, Predictions(maps.ids, maps.probabilities, labels.astype(float), maps.run))
    table = edges_report(data, reports)
    row = table.rows[0]
    assert row["inside"].mean == 100 and row["ods"].mean < row["own"].mean
    notes = " ".join(table.notes)
    assert f"would reach {row['ods'].mean:.3f}" in notes and f"no better than the contour of the network's own mask: EHANet ({row['ods'].mean:.3f} against" in notes


def test_each_training_is_told_apart_where_one_alone_has_learned_edges(tmp_path):
    data = make_dataset("phantom-polyp")
    reports = make_reports(tmp_path, data, {"ehanet": 0.02}, seeds=(0, 1))
    labels = data.masks[data.splits["test"]].astype(bool)
    learned, filled = np.stack([surface(mask) for mask in labels]).astype(float), labels.astype(float)
    for seed, edges in enumerate((learned, filled)):
        path = predictions_path(reports, data.name, "ehanet", seed)
        maps = read_predictions(path)
        write_predictions(path, Predictions(maps.ids, maps.probabilities, edges, maps.run))
    edges_report(data, reports)
    row = read_table(reports / f"tables/edges_{data.name}.csv").rows[0]
    assert row["each"] == f"1.000 (0 %), {row['filled'].mean:.3f} (100 %)" and row["filled"].mean < 0.9
    assert row["ods"].mean == pytest.approx((1 + row["filled"].mean) / 2, abs=1e-6) and row["inside"].mean == 50, "the mean is neither"
    assert "Each training" in (reports / f"tables/edges_{data.name}.md").read_text()


def test_an_edge_map_of_nothing_earns_nothing_from_images_without_an_object(tmp_path):
    data = make_dataset("phantom-polyp")
    reports = make_reports(tmp_path, data, {"ehanet": 0.02})
    data.masks[data.splits["test"][1:]] = 0
    path = predictions_path(reports, data.name, "ehanet", 0)
    maps = read_predictions(path)
    write_predictions(path, Predictions(maps.ids, maps.probabilities, np.zeros_like(maps.probabilities), maps.run))
    table = edges_report(data, reports)
    row, probability, label = table.rows[0], read_predictions(path).probabilities[:1], data.masks[data.splits["test"][:1]]
    assert (row["ods"].mean, row["ois"].mean) == (0, 0)
    own = surface(probability[0] > 0.5)[None].astype(float)
    assert row["own"].mean == pytest.approx(edge_f1(own, label)["ods"]) and 0.5 < row["own"].mean <= 1
    assert f"{len(maps.ids) - 1} images without an object have no contour and count in none of these scores but Boundary F1" in " ".join(table.notes)


def test_a_card_says_where_the_edge_map_is_no_better_than_the_mask():
    data = make_dataset("phantom-polyp")
    labels = data.masks[data.splits["test"]].astype(bool)
    ids, contours = [data.ids[index] for index in data.splits["test"]], np.stack([surface(label) for label in labels]).astype(float)
    masks = np.roll(labels, 4, axis=2).astype(float)
    assert edge_notes(data, Predictions(ids, masks, contours, "run")) == [] == edge_notes(data, Predictions(ids, masks, None, "run"))
    own = edge_f1(np.stack([surface(mask > 0.5) for mask in masks]).astype(float), labels)["ods"]
    note, = edge_notes(data, Predictions(ids, masks, np.full_like(masks, 0.5), "run"))
    assert f"than the mask's own contour, {own:.3f}; its largest probability is 0.50." in note and note.startswith("Phantom polyps: the edge map")


def test_the_pair_differs_in_iem_alone(made):
    _, reports = made
    rows = [row for row in read_results(reports, "phantom-polyp") if row.frames]
    reference = find_reference(rows)
    assert without_part(reference, rows, "iem").label == "ehanet-no-iem"
    assert [row.label for row in curve_rows(rows, reference)] == ["ehanet", "ehanet-no-iem", "unet-32"]
    assert without_part(reference, [row for row in rows if row.label != "ehanet-no-iem"], "iem") is None


def test_iem_table_counts_images_and_pairs_them(made):
    _, reports = made
    table = read_table(reports / "tables/iem_phantom-polyp.csv")
    rows = {row["key"]: row for row in table.rows}
    frames = {row.label: row.frames[0] for row in read_results(reports, "phantom-polyp") if row.frames}
    for score, sign in (("boundary_f1", 1), ("hd95", -1)):
        gain = frames["ehanet"][score].to_numpy() - frames["ehanet-no-iem"][score].to_numpy()
        assert rows[score]["difference"].mean == pytest.approx(gain.mean(), rel=1e-4)
        assert rows[score]["better"] == (sign * gain > 1e-9).sum() and rows[score]["better"] + rows[score]["worse"] + rows[score]["equal"] == len(gain)
    assert "Boundary F1 (better with IEM)" in " ".join(table.notes)


def test_distances_of_few_images_are_left_out_of_the_curve(tmp_path):
    data = make_dataset("kvasir-seg")
    reports = make_reports(tmp_path, data, {"ehanet": 0.1})
    row = read_results(reports, data.name)[0]
    curve = _measure(reports, row, data, 12)["curve"]
    labels = data.masks[data.splits["test"]].astype(bool)
    images = (errors_by_distance(labels, labels, 12).pixels > 0).sum(axis=0)
    assert (images < FEWEST).any() and np.array_equal(np.isnan(curve[0]), images < FEWEST)


def test_the_curve_shows_the_other_track_and_one_row_a_method(tmp_path):
    data = make_dataset("kvasir-seg")
    reports = make_reports(tmp_path, data, {"ehanet": 0.1, "unet-32": 0.2, "lanet": 0.2, "lanet-long": 0.2})
    make_reports(tmp_path, data, {"ehanet-mobilenetv1": 0.1}, encoder="a.safetensors, fine-tuned")
    listing = [{"method": method, "label": label, "seeds": [0], "reason": ""} for method, label in (
        ("ehanet", "ehanet"), ("unet-32", "unet-32"), ("lanet", "lanet"), ("lanet", "lanet-long"), ("ehanet", "ehanet-mobilenetv1"))]
    (reports / "scores" / data.name / "methods.json").write_text(json.dumps(listing))
    rows = [row for row in read_results(reports, data.name) if row.frames]
    assert [row.label for row in curve_rows(rows, rows[0])] == ["ehanet", "ehanet-mobilenetv1", "unet-32", "lanet"]


def test_better_is_lower_for_a_distance():
    without, with_iem = np.array([5.0, 2.0, 1.0, np.nan]), np.array([4.0, 3.0, 1.0, 1.0])
    assert image_counts(without, with_iem, lower=True) == (1, 1, 1)
    assert image_counts(np.array([0.1, 0.5]), np.array([0.2, 0.6]), lower=False) == (2, 0, 0)


def test_without_the_pair_there_is_no_table(tmp_path):
    data = make_dataset()
    reports = make_reports(tmp_path, data, {"ehanet": 0.1, "unet-32": 0.3})
    for left in ("tables/iem_phantom-polyp.csv", "figures/iem_phantom-polyp.png"):  # of a profile that had the pair
        (reports / left).parent.mkdir()
        (reports / left).touch()
    assert iem_report(data, reports) is None and not list(reports.glob("*/iem_*"))


def test_figures_carry_record_and_mark(made):
    _, reports = made
    names = {path.stem for path in (reports / "figures").glob("*.png")}
    assert names == {f"{name}_phantom-polyp" for name in ("edges", "edge_distance", "iem", "failures", "failure_kinds")}
    for name in names:
        record = read_record(reports / f"figures/{name}.json")
        with Image.open(reports / f"figures/{name}.png") as image:
            assert image.info["Record"] == record["id"] and record["mark"] == "phantom data"
        assert (reports / f"figures/{name}.pdf").stat().st_size < 1_500_000


def test_the_worst_images_and_what_went_wrong(made):
    data, reports = made
    rows = read_table(reports / "tables/failures_phantom-polyp.csv").rows
    frame = next(row for row in read_results(reports, data.name) if row.label == "ehanet").frames[0]
    assert [row["image"] for row in rows] == frame.sort_values("dice", kind="stable")["image"].head(len(rows)).tolist()
    lost = frame.loc[frame["pred_empty"] & ~frame["gt_empty"], "image"].tolist()
    assert all(row["kind"] == "missed" and row["missed"].mean == 100 for row in rows if row["image"] in lost)
    for row in rows:
        assert row["missed"].mean + row["spurious"].mean + row["boundary"].mean == pytest.approx(100, abs=0.01)


def test_every_image_of_every_method_has_one_kind(made):
    data, reports = made
    *rows, absent = read_table(reports / "tables/failure_kinds_phantom-polyp.csv").rows
    assert [row["label"] for row in rows] == list(METHODS)
    assert absent["label"] == "lw-mhfi-net" and absent["mark"].startswith("not available: no public code") and absent["wrong"] is None
    for row in rows:
        assert row["images_missed"] + row["images_spurious"] + row["images_boundary"] + row["images_none"] == len(data.splits["test"])


@pytest.mark.parametrize("study", [edges_report, failures_report])
def test_maps_of_other_images_are_refused(made, study):
    _, reports = made
    with pytest.raises(ValueError, match="was made from other images"):
        study(make_dataset(count=24), reports)
