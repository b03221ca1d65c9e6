"""Scores of a report's kept runs: taken where they are of the same run and the same images, computed or left out elsewhere."""

import shutil

import pandas as pd
import pytest
import torch

from ehanet.checkpoints import save_checkpoint
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.kept_scores import kept_records, kept_scores
from ehanet.models import build_model
from ehanet.records import read_record, write_record
from ehanet.robustness import cross_scores, other_dataset, robustness_scores
from workflow.kinds import OUTPUTS

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
    for label in LABELS[:2]:
        assert found[found["label"] == label]["dice"].tolist() == before[before["label"] == label]["dice"].tolist()
    now = about(folder)
    assert not now["absent"] and len(now["inputs"]) == 3 and set(record["inputs"]) < set(now["inputs"])
    assert now["about"]["kept"] == [{"record": record["id"], "created": record["created"], "commit": record["code"]["commit"], "runs": sorted(record["inputs"])}]
    third = KEPT[2:] + KEPT[:1]
    shutil.copytree(folder / "runs/third", folder / "reports/runs/phantom-polyp/third")
    score(folder, data, [{**row, "kept": True} for row in third])
    kept = about(folder)["about"]["kept"]
    assert [entry["record"] for entry in kept] == [record["id"], now["id"]], "each score keeps the record that computed it"
    assert [len(entry["runs"]) for entry in kept] == [1, 1] and set(kept[1]["runs"]) == {read_record(folder / "runs/third/seed0/record.json")["id"]}


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
    assert ("about" in about(folder)) == (change == "of another training"), "the second run's scores are computed again, or kept where only the first one's do not belong"


def test_a_checkpoint_of_another_training_is_not_the_kept_ones(folder, data):
    for name in ("best.pt", "record.json"):
        shutil.copy(folder / "runs/third/seed0" / name, folder / "runs/first/seed0")
    (folder / "reports/robustness/phantom-polyp.csv").unlink()
    found = score(folder, data, KEPT)
    assert set(found["label"]) == {"second", "third"} and [row["label"] for row in about(folder)["absent"]] == ["first"]


def test_other_images_of_the_same_names_are_refused(folder, data):
    kept, ids = kept_records(folder / "reports", data.name, KEPT), pd.read_csv(folder / "reports/robustness/phantom-polyp.csv")["image"].unique().tolist()
    file = folder / "reports/robustness/phantom-polyp.csv"
    assert set(kept_scores(file, kept, ids, data.manifest).runs) == set(kept)
    for changed in ({"content": "0" * 64}, {"split": {**data.manifest["split"], "sha256": "0" * 64}}):
        assert kept_scores(file, kept, ids, {**data.manifest, **changed}).runs == {}


def test_snakemake_leaves_the_scores_for_the_step():
    assert not [name for name in OUTPUTS["robustness"] if name.startswith("robustness/")], "Snakemake removes what a step declares before the step runs"
