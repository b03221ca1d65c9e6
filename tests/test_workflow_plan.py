"""What runs again, and why: a finished profile in a copy of the repository, then one change at a time."""

import shutil
from pathlib import Path

import pytest
from archives import cvc_clinicdb, make_folder
from planned import EVERYTHING, GLIOMA, POLYP, ROOT, copy, finished  # noqa: F401 (fixtures)

from ehanet.profiles import load_profile
from ehanet.robustness import write_phantom_folder
from workflow.plan import make_plan, published_sets


def test_only_the_profile_universal_as_written_replaces_the_shipped_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    targets = []
    for name, overrides in (("universal", ""), ("universal", "epochs=1"), ("other", "")):
        (tmp_path / f"{name}.yaml").write_text("datasets: [universal-phantoms]\nmethods: [ehanet]\nseeds: [0]\nsize: 64\nstudies: [publish]\n")
        step, = [step for step in make_plan(load_profile(name, overrides, folder=tmp_path), None).values() if step.kind == "publish"]
        targets.append(step.parameters.get("target"))
    assert targets == ["weights/ehanet-universal.safetensors", "reports/universal-epochs-1/ehanet-universal-epochs-1.safetensors", "reports/other/ehanet-other.safetensors"]


def test_two_data_sets_are_not_published_as_one_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "two.yaml").write_text("datasets: [phantom-polyp, phantom-nuclei]\nmethods: [ehanet]\nseeds: [0]\nstudies: [publish]\n")
    with pytest.raises(ValueError, match=r"^studies: publish: phantom-polyp, phantom-nuclei would write one checkpoint; name one data set, publish: \[phantom-polyp\]$"):
        make_plan(load_profile("two", folder=tmp_path), None)


def test_the_plan_has_every_step_once_and_a_finished_one_runs_nothing(copy):
    assert set(copy.steps) == EVERYTHING and list(copy.steps)[-1] == "report"
    assert copy.reasons() == {}
    outputs = [path for step in copy.steps.values() for path in (*step.outputs, step.stamp)]
    assert len(set(outputs)) == len(outputs)


@pytest.mark.parametrize("edits", [
    [("ehanet/training.py", "import math\n", "# what a comment says\nimport math  # or here\n"), ("ehanet/losses.py", '"""', '"""Other words. '),
     ("ehanet/reporting/compare.py", '"""', '"""Other words. '), ("notebooks/steps/02_train.ipynb", "# One training", "# A training"),
     ("notebooks/steps/04_compare.ipynb", "from IPython.display", "# shows the table\\nfrom IPython.display")],
    [("ehanet/models/lanet.py", "import ", "import abc\nimport "), ("ehanet/__init__.py", '__version__ = "', '__version__ = "9'),
     ("ehanet/fingerprint.py", "import ast", "import ast\n\nX = 1")],
], ids=["words", "unused modules"])
def test_words_and_unused_modules_run_nothing(copy, edits):
    for path, old, new in edits:
        copy.edit(path, old, new)
    assert copy.reasons() == {}


EVALUATED = {f"{kind}/phantom-{name}" for kind in ("evaluate", "compare", "pictures") for name in ("polyp", "glioma")}
CODE = [
    ("ehanet/reporting/compare.py", {"compare/phantom-polyp", "compare/phantom-glioma", "report"}, "code changed: reporting.compare"),
    ("ehanet/reporting/pictures.py", {"pictures/phantom-polyp", "pictures/phantom-glioma", "report"}, "code changed: reporting.pictures"),
    ("ehanet/reporting/datasheet.py", {"data/phantom-polyp", "data/phantom-glioma", "report"}, "code changed: reporting.datasheet"),
    ("ehanet/reporting/__main__.py", {"report"}, "code changed: reporting.__main__"),
    ("ehanet/inference.py", {*EVALUATED, "report"}, "code changed: inference"),
    ("ehanet/models/unet.py", {*EVALUATED, "report", "train/phantom-polyp/unet-32/seed0", "train/phantom-glioma/unet-32/seed0"},
     "code changed: models.unet"),
    ("ehanet/training.py", EVERYTHING - {"data/phantom-polyp", "data/phantom-glioma"}, "code changed: training"),
    ("ehanet/data/phantoms/glioma.py", EVERYTHING, "code changed: data.phantoms.glioma"),
]


@pytest.mark.parametrize(("path", "expected", "why"), CODE, ids=[path for path, _, _ in CODE])
def test_code_runs_what_uses_it_and_what_follows(copy, path, expected, why):
    with open(path, "a") as file:
        file.write("\nADDED = 1\n")
    reasons = copy.reasons()
    assert set(reasons) == expected
    assert why in reasons.values()


def test_a_boundary_score_never_trains(copy):
    with open("ehanet/metrics/boundaries.py", "a") as file:
        file.write("\nADDED = 1\n")
    reasons = copy.reasons()
    assert EVALUATED < set(reasons) and not any(id.startswith("train/") for id in reasons)


def test_a_missing_output_runs_its_step_and_what_follows(copy):
    Path("reports/two/scores/phantom-polyp/ehanet__seed0.csv").unlink()
    assert copy.reasons() == {
        "evaluate/phantom-polyp": "reports/two/scores/phantom-polyp/ehanet__seed0.csv is missing",
        "compare/phantom-polyp": "follows evaluate/phantom-polyp", "pictures/phantom-polyp": "follows evaluate/phantom-polyp",
        "report": "follows evaluate/phantom-polyp and 2 more"}


def test_interrupted_between_training_and_evaluation_trains_nothing(copy):
    for id, step in copy.steps.items():
        if id in EVALUATED or id == "report":
            Path(step.stamp).unlink()
    assert set(copy.reasons()) == {*EVALUATED, "report"}


def test_committed_reports_without_runs_are_made_anew(copy):
    shutil.rmtree("runs")
    reasons = copy.reasons()
    assert set(reasons) == EVERYTHING and set(reasons.values()) == {"no finished result yet"}


def test_a_damaged_stamp_is_no_finished_step(copy):
    Path(copy.steps["compare/phantom-polyp"].stamp).write_text("{")
    assert set(copy.reasons()) == {"compare/phantom-polyp", "report"}


def test_a_changed_setting_names_itself(copy):
    copy.edit("config/two.yaml", "epochs: 1", "epochs: 2")
    assert copy.reasons()["train/phantom-polyp/ehanet/seed0"] == "parameters changed: epochs"


def test_an_override_has_its_own_folders(copy):
    steps = copy.plan("epochs=2")
    assert all(path.startswith(("reports/two-epochs-2/", "runs/two-epochs-2/")) for step in steps.values() for path in (*step.outputs, step.stamp))


def test_a_training_depends_on_its_teachers_network_and_the_others_do_not(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "net.safetensors").write_bytes(b"weights")
    (tmp_path / "two.yaml").write_text("datasets: [phantom-polyp]\nseeds: [0]\nmethods: [unet-32, {name: unet-32, label: taught, teacher: net.safetensors}]\n")
    steps = make_plan(load_profile("two", weights=tmp_path, folder=tmp_path), None)
    alone, taught = (steps[f"train/phantom-polyp/{label}/seed0"].parts for label in ("unet-32", "taught"))
    assert set(taught["modules"]) - set(alone["modules"]) >= {"ehanet.models.ehanet"} and set(alone["modules"]) < set(taught["modules"])
    assert [file["sha256"] for file in taught["files"]] != [file["sha256"] for file in alone["files"]]


def test_robustness_depends_on_the_images_that_it_crosses_over_to(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    folder = write_phantom_folder("phantom-polyp", 32, tmp_path, 7)
    (tmp_path / "two.yaml").write_text(f"datasets: [phantom-polyp]\nseeds: [0]\nmethods: [unet-32]\nstudies: {{robustness: {{datasets: [phantom-polyp], across: {folder}}}}}\n")

    def files():
        return [file["sha256"] for file in make_plan(load_profile("two", folder=tmp_path), None)["robustness/phantom-polyp"].parts["files"]]

    before = files()
    picture = next(iter(sorted((folder / "images").iterdir())))
    picture.write_bytes(picture.read_bytes() + b"changed")
    assert len(before) == 1 and files() != before


def test_a_study_that_crosses_over_to_a_published_data_set_is_given_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    root = make_folder(tmp_path / "data" / "CVC-ClinicDB", cvc_clinicdb([1, 26, 51], ("PNG",), top="")).parent
    (tmp_path / "two.yaml").write_text("datasets: [phantom-polyp]\nseeds: [0]\nmethods: [unet-32]\nstudies: {robustness: {datasets: [phantom-polyp], across: cvc-clinicdb}}\n")
    profile = load_profile("two", folder=tmp_path)
    steps = make_plan(profile, str(root))
    assert steps["robustness/phantom-polyp"].parameters["source"] == str(root) and steps["evaluate/phantom-polyp"].parameters["source"] is None
    assert published_sets(profile) == ["cvc-clinicdb"]


def test_where_files_lie_decides_nothing_their_content_does(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(ROOT)
    config = tmp_path / "config"
    config.mkdir()
    hashes = []
    for place, shade in (("one", 10), ("two", 10), ("three", 20)):
        folder = tmp_path / place / "mine"
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
            for index in range(4):
                Image.new("L", (40, 40), shade).save(folder / name / f"{index}.png")
        (tmp_path / place / "net.safetensors").write_bytes(b"weights")
        (config / "two.yaml").write_text(f"datasets: [{folder}]\nseeds: [0]\nmethods: [{{name: ehanet, encoder_weights: net.safetensors}}]\n")
        steps = make_plan(load_profile("two", weights=tmp_path / place, folder=config), None)
        assert set(steps) == {"data/mine", "train/mine/ehanet/seed0", "evaluate/mine", "compare/mine", "pictures/mine", "report"}
        hashes.append([files["sha256"] for files in steps["train/mine/ehanet/seed0"].parts["files"]])
    assert hashes[0] == hashes[1] and hashes[0][0] != hashes[2][0] and hashes[0][1] == hashes[2][1]


def test_a_checkpoint_may_go_once_all_is_made_of_it_and_is_trained_again_where_one_is_needed(copy):
    for path in Path("runs/two").rglob("best.pt"):
        path.unlink()
    assert copy.reasons() == {}
    Path(copy.steps["compare/phantom-polyp"].stamp).unlink()
    assert set(copy.reasons()) == {"compare/phantom-polyp", "report"}, "made of the scores"
    Path(copy.steps["evaluate/phantom-polyp"].stamp).unlink()
    reasons = copy.reasons()
    assert set(reasons) == {*POLYP, "report"} - {"data/phantom-polyp"}
    assert reasons["train/phantom-polyp/ehanet/seed0"] == "runs/two/phantom-polyp/ehanet/seed0/best.pt is missing"


@pytest.mark.parametrize("path", ["scores/phantom-polyp/ehanet__seed0.json", "scores/phantom-polyp/score_choice.json", "scores/phantom-polyp/methods.json",
                                  "tables/comparison_phantom-polyp.json", "figures/scores_phantom-polyp.json"])
def test_a_record_that_is_missing_is_made_again(copy, path):
    Path("reports/two", path).unlink()
    step = "evaluate" if path.startswith("scores") else "compare"
    assert copy.reasons()[f"{step}/phantom-polyp"] == f"reports/two/{path} is missing"


def test_a_published_checkpoint_that_is_missing_is_made_again(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "other.yaml").write_text("datasets: [universal-phantoms]\nmethods: [ehanet]\nseeds: [0]\nsize: 64\nstudies: [publish]\n")
    assert "reports/other/ehanet-other.safetensors" in make_plan(load_profile("other", folder=tmp_path), None)["publish/universal-phantoms"].outputs


def test_kept_rows_are_scored_again_where_the_images_or_the_record_change(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    folder = write_phantom_folder("phantom-polyp", 32, tmp_path, 7)
    (tmp_path / "two.yaml").write_text(f"datasets: [{folder}]\nseeds: [0]\nmethods: [unet-32]\nsize: 32\n")
    kept = {"id": "0123456789abcdef"}
    monkeypatch.setattr("workflow.plan.kept_id", lambda *_: kept["id"])

    def parts() -> dict:
        steps = make_plan(load_profile("two", folder=tmp_path), None, keep=True)
        assert not [id for id in steps if id.startswith("train/")]
        return next(step for id, step in steps.items() if id.startswith("evaluate/")).parts

    first = parts()
    kept["id"] = "f" * 16
    assert parts() != first
    kept["id"] = "0123456789abcdef"
    assert parts() == first
    picture = next(iter(sorted((folder / "images").iterdir())))
    picture.write_bytes(picture.read_bytes() + b"changed")
    assert parts() != first
