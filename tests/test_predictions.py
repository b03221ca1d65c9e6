"""Stored probability maps: small, exact about the decision, refused when damaged; runs that a report holds are kept."""

import hashlib
import json
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reporting_inputs import make_dataset, make_reports

from ehanet import predictions
from ehanet.data import load_dataset
from ehanet.evaluation import _replaced, evaluate_runs
from ehanet.predictions import Predictions, are_kept, predictions_path, read_predictions, write_predictions
from ehanet.profiles import load_profile
from ehanet.records import read_record, record_id
from workflow.announce import recorded_time
from workflow.paper import paper
from workflow.plan import make_plan


@given(arrays(np.float32, (1, 4, 5), elements=st.floats(0, 1, width=32) | st.sampled_from([0.5, np.nextafter(np.float32(0.5), np.float32(1))])))
def test_the_decision_survives_storage(tmp_path_factory, probabilities):
    path = tmp_path_factory.mktemp("maps") / "p.npz"
    write_predictions(path, Predictions(["a"], probabilities, 1 - probabilities, "run"))
    stored = read_predictions(path)
    assert ((stored.probabilities > 0.5) == (probabilities > 0.5)).all()
    assert np.abs(stored.probabilities - probabilities).max() <= 1 / 255 and np.abs(stored.edges - (1 - probabilities)).max() <= 1 / 255
    assert (stored.ids, stored.run, stored.probabilities.dtype) == (["a"], "run", np.float32)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", None])
def test_damaged_maps_are_named(tmp_path, content):
    path = tmp_path / "maps.npz"
    np.savez(path, ids=np.array(["a"])) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match="maps.npz is damaged"):
        read_predictions(path)


def test_large_maps_go_on_in_further_files(tmp_path, monkeypatch):
    random, path = np.random.default_rng(0), tmp_path / "a.b__seed0.npz"
    ids, maps, edges = [f"image {number}" for number in range(7)], random.random((7, 32, 32)), random.random((7, 32, 32))
    monkeypatch.setattr("ehanet.predictions.PART_BYTES", 5000)
    write_predictions(path, Predictions(ids, maps, edges, "run"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.b__seed0.2.npz", "a.b__seed0.3.npz", "a.b__seed0.4.npz", "a.b__seed0.npz"]
    assert max(file.stat().st_size for file in tmp_path.iterdir()) < 5000 + 3000  # an image more where they do not divide evenly
    stored = read_predictions(path)
    assert stored.ids == ids and stored.run == "run"
    assert np.abs(stored.probabilities - maps).max() <= 1 / 255 and np.abs(stored.edges - edges).max() <= 1 / 255

    write_predictions(tmp_path / "other.npz", Predictions(ids, maps, edges, "another"))
    (tmp_path / "other.3.npz").rename(tmp_path / "a.b__seed0.3.npz")
    with pytest.raises(ValueError, match=r"a\.b__seed0\.3\.npz does not go on from"):
        read_predictions(path)
    write_predictions(path, Predictions(ids, maps, edges, "run"))
    monkeypatch.setattr("ehanet.predictions.PART_BYTES", 10_000)
    write_predictions(tmp_path / "other.npz", Predictions(ids, maps, edges, "run"))  # of the same run, in other parts
    (tmp_path / "other.2.npz").rename(tmp_path / "a.b__seed0.2.npz")
    with pytest.raises(ValueError, match=r"a\.b__seed0\.2\.npz does not go on from"):
        read_predictions(path)
    monkeypatch.setattr("ehanet.predictions.PART_BYTES", 5000)
    write_predictions(path, Predictions(ids, maps, edges, "run"))
    assert are_kept(path, "run") and not are_kept(path, "another run") and not are_kept(tmp_path / "nothing.npz", "run")
    (tmp_path / "a.b__seed0.3.npz").unlink()
    assert not are_kept(path, "run")
    with pytest.raises(FileNotFoundError, match=r"a\.b__seed0\.3\.npz not found"):
        read_predictions(path)
    write_predictions(path, Predictions(ids[:2], maps[:2], None, "run"))
    assert not list(tmp_path.glob("a.b*.?.npz")) and read_predictions(path).ids == ids[:2]


@pytest.mark.parametrize("kill", range(6))  # of the whole, of parts 4, 3, 2 and 1 of the new maps; the last comes too late
def test_a_kill_between_parts_leaves_all_images(tmp_path, monkeypatch, kill):
    random, path = np.random.default_rng(1), tmp_path / "maps.npz"
    ids, real, calls = [f"image {number}" for number in range(7)], predictions._write_part, []
    monkeypatch.setattr(predictions, "PART_BYTES", 5000)
    write_predictions(path, Predictions(ids, random.random((7, 32, 32)), random.random((7, 32, 32)), "old"))

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) > kill:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(predictions, "_write_part", killed)
    with pytest.raises(KeyboardInterrupt) if kill < 5 else nullcontext():
        write_predictions(path, Predictions(ids, random.random((7, 32, 32)), random.random((7, 32, 32)), "new"))
    stored = read_predictions(path)
    assert stored.ids == ids and stored.run == ("old" if kill == 0 else "new")


ROWS = [{"method": "ehanet", "label": "ehanet", "seed": 0, "kept": True}]


def test_a_kept_run_is_scored_again_from_its_maps(tmp_path):
    data = make_dataset()
    reports = make_reports(tmp_path, data, {"ehanet": 0.1})
    path = reports / "scores" / data.name / "ehanet__seed0.csv"
    before, maps = pd.read_csv(path), predictions_path(reports, data.name, "ehanet", 0).read_bytes()
    evaluate_runs(data, tmp_path / "nowhere", reports, ROWS)
    pd.testing.assert_frame_equal(pd.read_csv(path)[["image", "dice", "hd95"]], before[["image", "dice", "hd95"]])
    assert read_predictions(predictions_path(reports, data.name, "ehanet", 0)).ids == before["image"].tolist() and maps
    assert json.loads((reports / "scores" / data.name / "methods.json").read_text())[0]["seeds"] == [0]


def test_maps_of_another_run_are_not_kept(tmp_path):
    data = make_dataset()
    reports = make_reports(tmp_path, data, {"ehanet": 0.1})
    path = predictions_path(reports, data.name, "ehanet", 0)
    stored = read_predictions(path)
    write_predictions(path, Predictions(stored.ids, stored.probabilities, None, "another"))
    before = (reports / "scores" / data.name / "ehanet__seed0.csv").read_bytes()
    with pytest.raises(ValueError, match="kept predictions of ehanet__seed0 are of another run"):
        evaluate_runs(data, tmp_path / "nowhere", reports, ROWS)
    assert (reports / "scores" / data.name / "ehanet__seed0.csv").read_bytes() == before
    assert not [left for left in reports.rglob(".*")]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the code and no reports, entered."""
    root = Path(__file__).parent.parent
    for name in ("ehanet", "notebooks", "workflow"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_keep_trains_only_what_the_report_lacks(checkout):
    data = make_dataset()
    make_reports(checkout, data, {"ehanet": 0.1})
    (checkout / "reports").rename(checkout / "own")
    (checkout / "reports").mkdir()
    (checkout / "own").rename(checkout / "reports" / "own")
    config = json.loads(next((checkout / "reports/own/runs").rglob("record.json")).read_text())["config"]
    settings = {key: value for key, value in config.items() if key not in ("method", "label", "dataset", "seed")}
    profile = {"title": "t", "datasets": [data.name], "methods": ["ehanet", "unet-32"], "seeds": [0], **settings}
    (checkout / "own.yaml").write_text(json.dumps(profile))

    def trained(keep: bool) -> set[str]:
        return {step for step in make_plan(load_profile("own", folder=checkout), None, keep) if step.startswith("train/")}

    both = {f"train/{data.name}/{label}/seed0" for label in ("ehanet", "unet-32")}
    assert trained(False) == both and trained(True) == {f"train/{data.name}/unet-32/seed0"}
    trainings = [step.parameters["config"] for name, step in make_plan(load_profile("own", folder=checkout), None).items() if name in both]
    told = "Of 2 trainings, by the records of reports/own, 1 took 62 s in all on Test processor, 2 threads, float32, torch "
    assert recorded_time("reports/own", trainings).startswith(told) and "took 2.1 h in all" in recorded_time("reports/own", trainings[:1] * 124)
    (checkout / "own.yaml").write_text(json.dumps({**profile, "epochs": 99}))
    assert trained(True) == both
    assert recorded_time("reports/own", [{**config, "epochs": 99} for config in trainings]) == ""


@pytest.mark.parametrize(("about", "volumes"), [({"grouped_by": "patients"}, True), ({"grouped_by": "videos"}, False), ({"part_hashes": {}}, False)])
def test_slices_of_a_patient_form_a_volume_and_frames_of_a_video_or_images_of_a_union_do_not(tmp_path, about, volumes):
    alone = make_dataset()
    data = replace(alone, groups=[f"group {index // 4}" for index in range(len(alone.ids))], manifest={**alone.manifest, **about})
    reports = make_reports(tmp_path, data, {"ehanet": 0.1})
    evaluate_runs(data, tmp_path, reports, [{"method": "ehanet", "label": "ehanet", "seed": 0, "kept": True}])
    assert (reports / "scores" / data.name / "volumes.csv").is_file() == volumes


def test_a_kept_run_needs_no_weights_file(checkout, capsys):
    data = load_dataset("phantom-polyp", size=32)
    make_reports(checkout / "reports", data, {"ehanet": 0.1}, encoder_weights="gone.safetensors")
    (checkout / "reports/reports").rename(checkout / "reports/own")
    config = json.loads(next((checkout / "reports/own/runs").rglob("record.json")).read_text())["config"]
    settings = {key: value for key, value in config.items() if key not in ("method", "label", "dataset", "seed", "encoder_weights")}
    methods = ["unet-32", {"name": "ehanet", "encoder_weights": "gone.safetensors"}, "unet"]
    (checkout / "own.yaml").write_text(json.dumps({"datasets": [data.name], "methods": methods, "seeds": [0], **settings}))
    profile = load_profile("own", folder=checkout)
    assert [row.label for row in profile.absent] == ["ehanet"] and profile.with_kept(lambda run: False) == profile
    whole = profile.with_kept(lambda run: run.label == "ehanet")
    assert [run.label for run in whole.runs] == ["unet-32", "ehanet", "unet"] and not whole.absent
    assert paper(profile, None, 1, only_plan=True) == 0
    assert "gone.safetensors not found" in capsys.readouterr().out
    assert paper(profile, None, 1, only_plan=True, keep=True) == 0
    told = capsys.readouterr().out
    assert "gone.safetensors" not in told and "train/phantom-polyp/unet/seed0" in told and "train/phantom-polyp/ehanet" not in told
    (checkout / "more.yaml").write_text(json.dumps({"datasets": [data.name], "methods": methods, "seeds": [0, 1, 2], **settings}))
    (checkout / "reports/own").rename(checkout / "reports/more")
    more = load_profile("more", folder=checkout).with_kept(lambda run: run.label == "ehanet" and run.seed == 0)
    assert [run.seed for run in more.runs if run.label == "ehanet"] == [0] and [[run.seed for run in row.runs] for row in more.absent] == [[1, 2]]
    assert more.absent[0].reason.endswith("gone.safetensors not found (give WEIGHTS=folder); not trained: seeds 1, 2")
    evaluated, = [step for step in make_plan(more, None, keep=True).values() if step.kind == "evaluate"]
    assert not evaluated.parameters["absent"], "a row that has numbers is not shown a second time without"


def test_a_kill_while_a_folder_is_replaced_loses_neither_the_old_nor_the_new(tmp_path, monkeypatch):
    target = tmp_path / "clinic"
    with _replaced(target) as folder:
        (folder / "old").write_text("old")
    calls = []

    def killed(source, destination):
        calls.append(destination)
        if len(calls) == 2:
            raise KeyboardInterrupt
        os.rename(source, destination)

    monkeypatch.setattr("ehanet.evaluation.os.replace", killed)
    with pytest.raises(KeyboardInterrupt), _replaced(target) as folder:
        (folder / "new").write_text("new")
    monkeypatch.undo()
    assert not target.exists()
    with pytest.raises(ZeroDivisionError), _replaced(target) as folder:
        assert [path.name for path in target.iterdir()] == ["old"]  # back where the next one looks for kept maps
        1 / 0
    with _replaced(target) as folder:
        (folder / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"] and [path.name for path in tmp_path.iterdir()] == ["clinic"]


def test_folders_of_like_names_are_replaced_side_by_side(tmp_path):
    """Evaluations of two data sets run at once; each clears what a killed one of its own left, and nothing else."""
    (tmp_path / ".clinic-0left0_1").mkdir()
    with _replaced(tmp_path / "clinic-b") as longer:
        (longer / "a.csv").write_text("1")
        with _replaced(tmp_path / "clinic") as shorter:
            (shorter / "a.csv").write_text("2")
        (longer / "b.csv").write_text("1")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.csv")) == ["clinic-b/a.csv", "clinic-b/b.csv", "clinic/a.csv"]
    assert not list(tmp_path.glob(".*"))


def test_new_runs_beside_kept_ones_begin_with_the_same_file(checkout, capsys, monkeypatch):
    monkeypatch.setattr("workflow.preflight.check", lambda trainings: None)  # which would load the file
    data = load_dataset("phantom-polyp", size=32)
    (checkout / "start.safetensors").write_bytes(b"now")
    make_reports(checkout / "reports", data, {"ehanet": 0.1}, initial_weights="start.safetensors")
    (checkout / "reports/reports").rename(checkout / "reports/own")
    path = next((checkout / "reports/own/runs").rglob("record.json"))
    record, maps = read_record(path), predictions_path(checkout / "reports/own", data.name, "ehanet", 0)
    settings = {key: value for key, value in record["config"].items() if key not in ("method", "label", "dataset", "seed")}

    def plan(*seeds: int) -> int:
        (checkout / "own.yaml").write_text(json.dumps({"datasets": [data.name], "methods": ["ehanet"], "seeds": seeds, **settings}))
        return paper(load_profile("own", folder=checkout), None, 1, only_plan=True, keep=True)

    for content, refused in ((b"then", True), (b"now", False)):
        sha256 = hashlib.sha256(content).hexdigest()
        changed = {key: value for key, value in record.items() if key != "id"} | {"initial_weights_sha256": sha256}
        path.write_text(json.dumps(changed | {"id": record_id(changed)}))
        assert plan(0) == 0
        assert "train/phantom-polyp/ehanet/seed0" in capsys.readouterr().out  # the maps are of another training
        write_predictions(maps, replace(read_predictions(maps), run=record_id(changed)))
        assert plan(0) == 0  # nothing new is trained
        assert "train/" not in capsys.readouterr().out
        if refused:
            with pytest.raises(ValueError, match=f"^start.safetensors: the kept runs had another file of this name .SHA-256 {sha256[:8]} in reports/own/runs/phantom-polyp/ehanet/seed0"):
                plan(0, 1)
        else:
            assert plan(0, 1) == 0
        assert "train/phantom-polyp/ehanet/seed1" in capsys.readouterr().out


def test_maps_of_a_row_that_cannot_be_trained_here_stay_to_be_kept_another_time(tmp_path):
    data = make_dataset()
    reports = make_reports(tmp_path, data, {"ehanet": 0.1, "unet-32": 0.3})
    path = predictions_path(reports, data.name, "unet-32", 0)
    before = path.read_bytes()
    evaluate_runs(data, tmp_path / "nowhere", reports, ROWS, [{"method": "unet-32", "label": "unet-32", "reason": "not available: its weights file"}])
    assert path.read_bytes() == before and are_kept(path, read_record(reports / f"runs/{data.name}/unet-32/seed0/record.json")["id"])
    assert [row["seeds"] for row in json.loads((reports / "scores" / data.name / "methods.json").read_text())] == [[0], []]
    evaluate_runs(data, tmp_path / "nowhere", reports, ROWS)
    assert not path.exists(), "of a row that the profile has no more"
