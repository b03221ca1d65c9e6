"""What runs again, and why: a finished profile in a copy of the repository, then one change at a time."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ehanet import fingerprint
from ehanet.profiles import load_profile
from workflow import kinds
from workflow.paper import _Lock, main
from workflow.plan import make_plan, read_plan, to_run, write_plan
from workflow.step import _forget_other_training
from workflow.step import main as run_planned

ROOT = Path(__file__).parent.parent
PROFILE = """title: Two data sets
datasets: [phantom-polyp, phantom-glioma]
methods: [ehanet, unet-32, {name: ehanet, label: weighted, encoder_weights: nowhere.safetensors, datasets: [phantom-polyp]}]
seeds: [0]
size: 64
epochs: 1
"""
ALL = ["data/{d}", "train/{d}/ehanet/seed0", "train/{d}/unet-32/seed0", "evaluate/{d}", "compare/{d}", "pictures/{d}"]
POLYP, GLIOMA = ([step.format(d=f"phantom-{name}") for step in ALL] for name in ("polyp", "glioma"))
EVERYTHING = {*POLYP, *GLIOMA, "report"}


def test_only_the_profile_universal_as_written_replaces_the_shipped_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    targets = []
    for name, overrides in (("universal", ""), ("universal", "epochs=1"), ("other", "")):
        (tmp_path / f"{name}.yaml").write_text("datasets: [universal-phantoms]\nmethods: [ehanet]\nseeds: [0]\nsize: 64\nstudies: [publish]\n")
        step, = [step for step in make_plan(load_profile(name, overrides, folder=tmp_path), None).values() if step.kind == "publish"]
        targets.append(step.parameters.get("target"))
    assert targets == [None, "reports/universal-epochs-1/ehanet-universal-epochs-1.safetensors", "reports/other/ehanet-other.safetensors"]


class Copy:
    """A copy of the repository in which every step of the profile has finished."""

    def __init__(self):
        self.steps = self.plan()
        for step in self.steps.values():
            for path in (*step.outputs, step.stamp):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_text("result")
            Path(step.stamp).write_text(json.dumps({"parts": step.parts}))

    def plan(self, overrides=""):
        fingerprint.forget()
        return make_plan(load_profile("two", overrides), None)

    def reasons(self):
        return to_run(self.plan())

    def edit(self, path, old, new):
        text = Path(path).read_text()
        assert old in text, f"{path} has no {old!r}"
        Path(path).write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The copy as it is when all has run; every test puts back what it changes."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("ehanet", "workflow", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    (folder / "config").mkdir()
    (folder / "config" / "two.yaml").write_text(PROFILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(fingerprint, "ROOT", folder)
        yield folder, Copy()
    fingerprint.forget()


@pytest.fixture
def copy(finished, monkeypatch):
    folder, copy = finished
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.chdir(folder)
    monkeypatch.setattr(fingerprint, "ROOT", folder)
    yield copy
    for path in folder.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    for path, content in before.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    fingerprint.forget()


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


def snakemake(*options):
    """Snakemake's dry run of the written plan: the names of the steps that it would run."""
    command = [sys.executable, "-m", "snakemake", "-n", "--snakefile", "workflow/Snakefile", "--config", "plan=runs/two/plan.json", "--cores", "2",
               "--rerun-triggers", "params", "--nolock", "--quiet", "host", "progress", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert done.returncode == 0, done.stderr
    return {stamp.removesuffix(".json") for stamp in re.findall(r"output: runs/two/\.steps/([^,\s]+)", done.stdout + done.stderr)}


def test_snakemake_runs_the_very_same_steps(copy):
    profile = load_profile("two")
    write_plan("runs/two/plan.json", profile, copy.steps)
    assert read_plan("runs/two/plan.json") == copy.steps
    assert snakemake() == set()
    with open("ehanet/models/unet.py", "a") as file:
        file.write("\nADDED = 1\n")
    steps = copy.plan()
    reasons = to_run(steps)
    for id in reasons:
        Path(steps[id].stamp).unlink()
    write_plan("runs/two/plan.json", profile, steps)
    assert snakemake() == set(reasons)


@pytest.mark.parametrize("years", [-20, 20])
def test_a_clock_that_changes_runs_nothing(copy, years):
    write_plan("runs/two/plan.json", load_profile("two"), copy.steps)
    for place, path in enumerate(sorted(path for name in ("reports", "runs", "ehanet", "notebooks") for path in Path(name).rglob("*") if path.is_file())):
        moment = path.stat().st_mtime + years * 3e7 * (place % 3)
        os.utime(path, (moment, moment))
    assert copy.reasons() == {} and snakemake() == set()


def test_code_that_changed_after_planning_stops_the_step(copy, capsys):
    write_plan("runs/two/plan.json", load_profile("two"), copy.steps)
    stamp = Path(copy.steps["compare/phantom-polyp"].stamp)
    with open("ehanet/reporting/compare.py", "a") as file:
        file.write("\nADDED = 1\n")
    fingerprint.forget()
    assert run_planned("runs/two/plan.json", "compare/phantom-polyp") == 1
    assert "its code has changed since make paper began" in capsys.readouterr().err
    assert json.loads(stamp.read_text())["parts"] == copy.steps["compare/phantom-polyp"].parts


def test_a_training_of_other_settings_is_forgotten_one_by_hand_is_kept(copy):
    step = copy.steps["train/phantom-polyp/ehanet/seed0"]
    folder = Path(step.parameters["run_dir"])
    folder.mkdir(parents=True)
    (folder / "last.pt").write_text("by hand")
    for _ in range(2):  # the second time with our mark
        _forget_other_training(step)
        assert (folder / "last.pt").is_file()
    _forget_other_training(dataclasses.replace(step, parts={**step.parts, "parameters": {"epochs": 2}}))
    assert not (folder / "last.pt").exists() and (folder / "made_from.txt").is_file()


def test_nothing_to_run_is_said_and_the_second_make_paper_stops(copy, capsys):
    assert main(["run", "--profile", "two"]) == 0
    assert "Nothing to run: all 13 steps" in capsys.readouterr().out
    with _Lock("two"):
        assert main(["run", "--profile", "two"]) == 1
    assert "another make paper of two is running here" in capsys.readouterr().err
    assert main(["plan", "--profile", "two", "--set", "epochs=2"]) == 0
    said = capsys.readouterr().out
    assert "13 of 13 steps run, 4 of them trainings" in said and "weights file nowhere.safetensors not found" in said
    assert not list(Path("runs/two-epochs-2").glob("plan.json"))


STEP = """import json, sys
from pathlib import Path

plan, id = sys.argv[1:]
step = json.loads(Path(plan).read_text())["steps"][id]
if id == "train/phantom-polyp/ehanet/seed0":
    sys.exit(f"{id}: a loss that is nan")
for path in (*step["outputs"], step["stamp"]):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("result")
Path(step["stamp"]).write_text(json.dumps({"parts": step["parts"]}))
"""


def test_a_step_that_fails_stops_only_what_follows_from_it(copy, capfd, monkeypatch):
    Path("workflow/step.py").write_text(STEP)  # steps that take no time
    monkeypatch.setattr("workflow.paper.ROOT", Path.cwd())
    for step in copy.steps.values():
        Path(step.stamp).unlink()
    assert main(["run", "--profile", "two", "--jobs", "1"]) == 1
    said = capfd.readouterr().err
    assert "train/phantom-polyp/ehanet/seed0: a loss that is nan" in said
    assert said.splitlines()[-1] == ("Stopped: 8 of 13 steps are done; train/phantom-polyp/ehanet/seed0 failed; the line that names a step says why. "
                                     "make paper goes on from there.")
    assert set(copy.reasons()) == {"train/phantom-polyp/ehanet/seed0", "evaluate/phantom-polyp", "compare/phantom-polyp", "pictures/phantom-polyp", "report"}


def test_too_small_a_disk_stops_before_anything_runs(copy, capsys, monkeypatch):
    Path(copy.steps["train/phantom-polyp/ehanet/seed0"].stamp).unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 10**6))
    monkeypatch.setattr("workflow.paper._snakemake", lambda *arguments: pytest.fail("Snakemake was started"))
    assert main(["run", "--profile", "two"]) == 1
    said = capsys.readouterr().err
    assert "not enough disk" in said and said.count("\n") == 1


@pytest.mark.parametrize(("arguments", "message"), [
    (["--profile", "tow"], "profile 'tow' not found; there are: two"),
    (["--profile", "two", "--set", "epoch=3"], "unknown key 'epoch'"),
    (["--profile", "two", "--jobs", "many"], "JOBS: expected a number"),
    (["--profile", "two", "--share", "0"], "SHARE: expected a number"),
    (["--profile", "two", "--weights", "nowhere"], "WEIGHTS: folder nowhere not found"),
    (["--profile", "two", "--source", "nowhere", "--set", "datasets=[kvasir-seg]"], "nowhere does not exist"),
    (["--profile", "two", "--set", "datasets=[../nothing]"], "neither a name"),
    (["--profile", "two", "--set", "datasets=[dsb2018,lgg]"], "lgg cannot be downloaded directly (lgg: log in at Kaggle"),
])
def test_bad_input_is_said_in_one_line(copy, capsys, arguments, message):
    assert main(["run", *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1


def test_a_source_that_nothing_is_read_from_is_said(copy, capsys):
    assert main(["run", "--profile", "two", "--source", "."]) == 0
    assert "SOURCE is not used: two has no published data set" in capsys.readouterr().out


def test_every_kind_of_step_has_a_rule_and_outputs():
    rules = set(re.findall(r"^rule (\w+):", (ROOT / "workflow" / "Snakefile").read_text(), re.M))
    assert rules == {"all", *kinds.KINDS} and set(kinds.OUTPUTS) == set(kinds.STAMPS) == {*kinds.KINDS, *kinds.STUDIES}
