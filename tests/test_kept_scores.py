"""Scores of a report's kept runs: taken where they are of the same run and the same images, computed or left out elsewhere."""

import json
import shutil

import pandas as pd
import pytest
import torch

from ehanet.checkpoints import save_checkpoint
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.kept_scores import kept_records, kept_scores
from ehanet.models import build_model
from ehanet.profiles import load_profile
from ehanet.record_schema import record_id
from ehanet.records import read_record, write_record
from ehanet.reporting.results import read_corrupted
from ehanet.reporting.robustness import absent_rows, origin_notes
from ehanet.robustness import cross_scores, other_dataset, robustness_scores
from workflow.kinds import OUTPUTS
from workflow.plan import make_plan

LABELS = ("first", "second", "third")
ROWS = [{"method": "unet-32", "label": label, "seed": 0} for label in LABELS]
KEPT = [{**row, "kept": True} for row in ROWS[:2]] + ROWS[2:]


@pytest.fixture(scope="module")
def data():
    return load_dataset("phantom-polyp", size=32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """Untrained networks as finished runs, scored; the report holds the records of the first two."""
    root = tmp_path_factory.mktemp("kept")
    for place, row in enumerate(ROWS):
        torch.manual_seed(place)
        folder, config = root / "runs" / row["label"] / "seed0", RunConfig(method="unet-32", label=row["label"], size=32, device="cpu").to_dict()
        save_checkpoint(folder / "best.pt", {"model": build_model("unet-32").state_dict(), "config": config})
        write_record(folder / "record.json", "run", config=config, seed=0, encoder="none", warnings=[], device={}, precision="float32", seconds=1.0 + place, steps=1,
                     peak_memory_bytes=1, best={}, data=data.manifest)
        if "kept" in KEPT[place]:
            home = root / "reports" / "runs" / data.name / row["label"] / "seed0"
            home.mkdir(parents=True)
            shutil.copy(folder / "record.json", home)
    score(root, data, ROWS[:2])
    cross_scores(data, other_dataset(data.name, 32), root / "runs", root / "reports", ROWS[:2], images=4)
    return root


@pytest.fixture
def folder(trained, tmp_path):
    """A copy without the checkpoint of the first run."""
    root = shutil.copytree(trained, tmp_path / "copy")
    (root / "runs" / "first" / "seed0" / "best.pt").unlink()
    return root


def score(root, data, rows, images=2):
    return robustness_scores(data, root / "runs", root / "reports", rows, images=images, corruptions=["contrast"])


def about(root, stem="phantom-polyp"):
    return read_record(root / "reports" / "robustness" / f"{stem}.json")


def test_kept_scores_stay_and_new_runs_join_them_in_order(folder, data):
    before, record = pd.read_csv(folder / "reports/robustness/phantom-polyp.csv"), about(folder)
    found = score(folder, data, KEPT[::-1])
    assert found["label"].drop_duplicates().tolist() == list(LABELS[::-1]) and found.groupby("label").size().tolist() == [12, 12, 12]
    for label, margin in (("first", 0), ("second", 1e-6)):  # as the file has them; computed again
        assert found[found["label"] == label]["dice"].tolist() == pytest.approx(before[before["label"] == label]["dice"].tolist(), abs=margin)
    now = about(folder)
    assert not now["absent"] and len(now["inputs"]) == 3 and set(record["inputs"]) < set(now["inputs"])
    assert now["about"]["kept"] == [{"record": record["id"], "created": record["created"], "commit": record["code"]["commit"], "runs": record["inputs"][:1]}], "the second is computed again"
    (folder / "runs/second/seed0/best.pt").unlink()
    score(folder, data, KEPT)
    kept = about(folder)["about"]["kept"]
    assert [(entry["record"], entry["runs"]) for entry in kept] == [(record["id"], record["inputs"][:1]), (now["id"], record["inputs"][1:])], "each score keeps the record that computed it"


def test_those_of_another_data_set_stay_too(folder, data):
    other = other_dataset(data.name, 32)
    stem = f"phantom-polyp__on__{other.name}"
    before = pd.read_csv(folder / "reports" / "robustness" / f"{stem}.csv")
    found = cross_scores(data, other, folder / "runs", folder / "reports", KEPT, images=4)
    assert found["label"].drop_duplicates().tolist() == list(LABELS)
    assert found["boundary_f1"].tolist()[:8] == pytest.approx(before["boundary_f1"].tolist(), abs=0) and not about(folder, stem)["absent"]
    assert about(folder, stem)["about"]["alike"] == [] and len(about(folder, stem)["about"]["kept"]) == 1
    cross_scores(data, other, folder / "runs", folder / "reports", KEPT, images=5)
    assert [row["label"] for row in about(folder, stem)["absent"]] == ["first"], "of other images"


@pytest.mark.parametrize("change", ["fewer images", "another corruption", "altered", "not kept", "of another training"])
def test_what_does_not_belong_is_not_taken(folder, data, change):
    rows, file = KEPT[:2], folder / "reports/robustness/phantom-polyp.csv"
    if change == "altered":
        file.write_text(file.read_text().replace("contrast,1", "contrast,2", 1))
    if change == "not kept":
        rows = ROWS[:2]
    if change == "of another training":
        shutil.copy(folder / "runs/third/seed0/record.json", folder / "reports/runs/phantom-polyp/first/seed0/record.json")
    corruptions = ["noise"] if change == "another corruption" else ["contrast"]
    found = robustness_scores(data, folder / "runs", folder / "reports", rows, images=1 if change == "fewer images" else 2, corruptions=corruptions)
    assert set(found["label"]) == {"second"} and [row["label"] for row in about(folder)["absent"]] == ["first"]
    assert "about" not in about(folder), "the second run's scores are computed again"


def test_a_checkpoint_of_another_training_is_not_the_kept_ones(folder, data):
    for name in ("best.pt", "record.json"):
        shutil.copy(folder / "runs/third/seed0" / name, folder / "runs/first/seed0")
    (folder / "reports/robustness/phantom-polyp.csv").unlink()
    found = score(folder, data, KEPT)
    assert set(found["label"]) == {"second", "third"} and [row["label"] for row in about(folder)["absent"]] == ["first"]


def test_a_checkpoint_without_its_record_is_not_taken(folder, data):
    """A training that was interrupted has written best.pt and no record yet."""
    (folder / "runs/second/seed0/record.json").unlink()
    assert set(score(folder, data, KEPT)["label"]) == set(LABELS) and len(about(folder)["about"]["kept"][0]["runs"]) == 2


def test_other_images_of_the_same_names_are_refused_and_groups_are_those_of_today(folder, data):
    file, kept = folder / "reports/robustness/phantom-polyp.csv", kept_records(folder / "reports", data.name, KEPT)
    groups = {image: f"group of {image}" for image in pd.read_csv(file)["image"]}
    found = kept_scores(file, kept, groups, data.manifest)
    assert set(found.runs) == set(kept) and set(found.scores["group"]) == set(groups.values())
    for changed in ({"content": "0" * 64}, {"split": {**data.manifest["split"], "sha256": "0" * 64}}):
        assert kept_scores(file, kept, groups, {**data.manifest, **changed}).runs == {}


def test_tables_say_which_trainings_are_missing_and_which_scores_were_kept(folder, data):
    rows = [{"method": "unet-32", "label": "first", "seed": seed, "kept": seed == 0} for seed in (0, 1, 2)] + KEPT[1:2]
    score(folder, data, rows)
    body = [{"label": "first", "title": "First"}, {"label": "second", "title": "Second"}]
    commit = about(folder)["about"]["kept"][0]["commit"][:7]
    assert origin_notes(about(folder), body) == ["Not tried, for want of a checkpoint: First, seeds 1, 2.", f"Of 2 runs the scores of some were computed earlier and kept: 1 at commit {commit}."]
    assert absent_rows(about(folder), [], body) == [] and [row["label"] for row in absent_rows(about(folder), [])] == ["first"]


def test_undefined_scores_stay_numbers(folder, data):
    """Recall is undefined where the label is empty and the prediction is not; a label may look like a number."""
    file = next((folder / "reports/robustness").glob("*__on__*.csv"))
    frame = pd.read_csv(file, dtype={"image": str}).assign(label="32")
    frame.loc[0, "recall"] = float("nan")
    frame.to_csv(file, index=False)
    file.with_suffix(".json").write_text(json.dumps((now := {key: value for key, value in read_record(file.with_suffix(".json")).items() if key not in ("id", "csv_sha256")}) | {"id": record_id(now)}))
    found, _ = read_corrupted(file)
    assert found["recall"].dtype == float and found["recall"].isna().sum() == 1 and set(found["label"]) == {"32"}


@pytest.mark.parametrize(("study", "kept"), [("robustness", "robustness/{dataset}.csv"), ("inside", "tables/inside_{dataset}.csv")])
def test_snakemake_leaves_what_a_step_may_keep_and_the_plan_misses_it(study, kept):
    assert kept not in OUTPUTS[study], "Snakemake removes what a step declares before the step runs"
    assert f"reports/quick/{kept.format(dataset='phantom-polyp')}" in make_plan(load_profile("quick"), None)[f"{study}/phantom-polyp"].outputs


def test_what_is_too_large_for_a_file_goes_on_in_another(folder, data, monkeypatch):
    whole = score(folder, data, KEPT)
    monkeypatch.setattr("ehanet.robustness.PART_BYTES", 800)
    split = score(folder, data, KEPT)
    files = sorted(path.name for path in (folder / "reports/robustness").glob("phantom-polyp.*csv"))
    assert files == ["phantom-polyp.2.csv", "phantom-polyp.3.csv", "phantom-polyp.csv"] and split["label"].tolist() == whole["label"].tolist()
    read, record = read_corrupted(folder / "reports/robustness/phantom-polyp.csv")
    assert read["dice"].to_numpy() == pytest.approx(split["dice"].to_numpy(), abs=1e-6) and len(record["csv_sha256"]) == 3
    (folder / "reports/robustness/phantom-polyp.2.csv").write_text("altered")
    with pytest.raises(ValueError, match="was altered after it was written"):
        read_corrupted(folder / "reports/robustness/phantom-polyp.csv")
    monkeypatch.undo()
    score(folder, data, KEPT)
    assert [path.name for path in (folder / "reports/robustness").glob("phantom-polyp.*csv")] == ["phantom-polyp.csv"]
