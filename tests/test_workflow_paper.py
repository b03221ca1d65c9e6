"""The front door of ``make paper`` and Snakemake on a finished profile in a copy of the repository: what they run, say and refuse."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from planned import ROOT, copy, finished  # noqa: F401 (fixtures)

from ehanet import fingerprint
from ehanet.profiles import load_profile
from workflow import kinds
from workflow.announce import _cache_bytes
from workflow.paper import Lock, main, weights_folder
from workflow.plan import read_plan, to_run, write_plan
from workflow.removed import forget_removed
from workflow.step import _forget_other_training
from workflow.step import main as run_planned


def snakemake(*options):
    """Snakemake's dry run of the written plan: the names of the steps that it would run."""
    command = [sys.executable, "-m", "snakemake", "-n", "--snakefile", "workflow/Snakefile", "--config", "plan=runs/two/plan.json", "--cores", "2",
               "--rerun-triggers", "params", "--nolock", "--quiet", "host", "progress", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert done.returncode == 0, done.stderr
    return {stamp.removesuffix(".json") for stamp in re.findall(r"output: runs/two/\.steps/([^,\s]+)", done.stdout + done.stderr)}


ON_A_CLUSTER = """from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings
with SnakemakeApi() as api:
    workflow = api.workflow(ResourceSettings(nodes=1), ConfigSettings(config={"plan": "runs/two/plan.json"}), snakefile=Path("workflow/Snakefile"))
    workflow.dag()
    print([rule.name for rule in workflow._workflow.rules])
"""


def test_the_rules_can_be_read_where_a_cluster_has_the_cores(copy):
    """Snakemake is then told no number of cores, and a rule that asks for it stops every profile that measures costs."""
    Path("config/two.yaml").write_text(Path("config/two.yaml").read_text() + "studies: [costs, edges]\n")
    write_plan("runs/two/plan.json", load_profile("two"), copy.plan())
    done = subprocess.run([sys.executable, "-c", ON_A_CLUSTER], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert done.returncode == 0 and "'costs', 'edges'" in done.stdout, done.stderr[-1500:]


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


def test_a_step_or_plan_that_is_not_there_is_one_line(copy, capsys):
    write_plan("runs/two/plan.json", load_profile("two"), copy.steps)
    assert run_planned("runs/two/plan.json", "compare/phantom-polip") == 1
    line = capsys.readouterr().err
    assert line.startswith("compare/phantom-polip: no step of runs/two/plan.json, which has ") and ", compare/phantom-polyp, " in line and line.count("\n") == 1
    assert run_planned("runs/two.json", "report") == 1
    assert "runs/two.json" in capsys.readouterr().err


def test_a_training_of_other_settings_is_forgotten_one_by_hand_is_kept(copy):
    step = copy.steps["train/phantom-polyp/ehanet/seed0"]
    folder = Path(step.parameters["run_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "last.pt").write_text("by hand")
    for _ in range(2):  # the second time with our mark
        _forget_other_training(step)
        assert (folder / "last.pt").is_file()
    _forget_other_training(dataclasses.replace(step, parts={**step.parts, "parameters": {"epochs": 2}}))
    assert not (folder / "last.pt").exists() and (folder / "made_from.txt").is_file()


def test_nothing_to_run_is_said_and_the_second_make_paper_stops(copy, capsys):
    assert main(["run", "--profile", "two"]) == 0
    assert "Nothing to run: all 13 steps" in capsys.readouterr().out
    with Lock("two"):
        assert main(["run", "--profile", "two"]) == 1
    assert "another make paper or make repeat of two is running here" in capsys.readouterr().err
    assert main(["plan", "--profile", "two", "--set", "epochs=2"]) == 0
    said = capsys.readouterr().out
    assert "13 of 13 steps run" in said and "trainings: 4." in said and "weights file nowhere.safetensors not found" in said
    assert not list(Path("runs/two-epochs-2").glob("plan.json"))


def test_what_cannot_be_trained_here_keeps_its_recorded_runs(copy):
    kept, removed = (Path("reports/two/runs/phantom-polyp", label, "seed0/record.json") for label in ("weighted", "of-no-profile"))
    notebook = Path("reports/two/notebooks/02_train__phantom-polyp__weighted__seed0.ipynb")
    for path in (kept, removed, notebook):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    forget_removed(load_profile("two"), copy.steps)
    assert kept.is_file() and notebook.is_file() and not removed.exists()


def test_data_sets_and_studies_of_no_profile_leave_its_report(copy):
    """phantom-polyp is the profile's, a study of its edges is not; polyp was, and a data set whose name ends like it is another."""
    def touch(*names):
        for path in (Path("reports/two", name) for name in names):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    gone = ("data/polyp.json", "scores/polyp/methods.json", "predictions/polyp/a.npz", "tables/comparison_polyp.csv", "figures/scores_polyp.png", "robustness/polyp.csv",
            "robustness/polyp.2.csv", "robustness/phantom-polyp.2.csv", "data/polyp.split.csv", "robustness/polyp__on__apple.json", "tables/edges_phantom-polyp.csv", "tables/edges_phantom-polyp.json", "figures/iem_phantom-polyp.pdf",
            "robustness/phantom-polyp.csv", "leakage/phantom-polyp.csv", "figures/grad_cam_phantom-polyp.png")
    stay = ("data/phantom-polyp.json", "scores/phantom-polyp/methods.json", "tables/comparison_phantom-polyp.csv", "tables/claims.csv", "external/scores_polyp.csv",
            "tables/score_choice_phantom-polyp.md", "repeated/one/scores/polyp/a.csv")
    touch(*gone, *stay)
    forget_removed(load_profile("two"), copy.steps)
    assert [name for name in (*gone, *stay) if Path("reports/two", name).exists()] == list(stay)
    touch("data/b.json", "data/b.split.csv", "tables/comparison_b.csv", "tables/comparison_a_b.csv", "data/a_b.json", "data/b.c.json")
    longer = dataclasses.replace(load_profile("two"), datasets=("phantom-polyp", "own/a_b", "own/b.c"))
    forget_removed(longer, copy.steps)
    assert not Path("reports/two/tables/comparison_b.csv").exists() and Path("reports/two/tables/comparison_a_b.csv").exists()
    assert [path.name for path in sorted(Path("reports/two/data").glob("*b*"))] == ["a_b.json", "b.c.json"]


def test_keep_is_one_or_nothing(copy, capsys):
    assert main(["plan", "--profile", "two", "--keep", "no"]) == 1
    assert capsys.readouterr().err == "error: KEEP: expected 1, or nothing, got 'no'\n"


def test_a_lock_that_waits_says_for_whom(copy, capsys):
    held = Lock("two").__enter__()
    threading.Timer(0.5, held.file.close).start()
    with Lock("two", wait=True):
        assert held.file.closed
    assert f"Waiting: another make paper or make repeat of two is running here (process {os.getpid()})." in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_profile_none_of_whose_rows_can_be_trained_stops(copy, capsys, command):
    """It would end with "Done" and a page without numbers, in place of the one that is there."""
    assert main([command, "--profile", "two", "--set", "encoder_weights=gone.safetensors"]) == 1
    assert capsys.readouterr().err == ("error: none of the 5 rows of two-encoder-weights-gone.safetensors can be trained: weights file gone.safetensors not found "
                                       "(give WEIGHTS=folder); SET='encoder_weights=null pretrained=true' takes timm's own\n")
    Path("begun.safetensors").touch()
    start = "encoder=mobilenetv1_100 initial_weights=begun.safetensors methods=[ehanet] encoder_weights="
    assert main([command, "--profile", "two", "--set", f"{start}gone.safetensors"]) == 1
    assert capsys.readouterr().err.endswith("; SET='encoder_weights=null encoder=mobilenetv1_100.keras' trains the same without it\n"), "a start holds every weight"


def test_a_home_folder_in_the_environment_is_found(monkeypatch):
    monkeypatch.setenv("EHANET_WEIGHTS", "~/weights")
    assert weights_folder("", "") == str(Path.home() / "weights")
    monkeypatch.delenv("EHANET_WEIGHTS")
    assert weights_folder("", "") is None


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
    assert "work in a clone on a larger disk" in said and "EHANET_CACHE" not in said, "the cache holds no reports"


def test_decoded_images_of_an_archive_are_found_in_the_cache(fresh_cache):
    (fresh_cache / "datasets/polyps-64px-0123").mkdir(parents=True)
    (fresh_cache / "datasets/polyps-64px-0123/manifest.json").touch()
    assert _cache_bytes(SimpleNamespace(size=64), "/d/polyps.zip") == 0 < _cache_bytes(SimpleNamespace(size=64), "/d/others.zip")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--profile", "tow"], "profile 'tow' not found; there are: two"),
    (["--profile", "two", "--set", "epoch=3"], "unknown key 'epoch'"),
    (["--profile", "two", "--jobs", "many"], "JOBS: expected a number"),
    (["--profile", "two", "--share", "0"], "SHARE: expected a number"),
    (["--profile", "two", "--weights", "nowhere"], "WEIGHTS: folder nowhere not found"),
    (["--profile", "two", "--source", "nowhere", "--set", "datasets=[kvasir-seg]"], "nowhere does not exist"),
    (["--profile", "two", "--set", "datasets=[../nothing]"], "neither a name"),
    (["--profile", "two", "--set", "datasets=[dsb2018,lgg]"], "lgg cannot be downloaded directly (lgg: log in at Kaggle"),
    (["--profile", "two", "--set", "studies={robustness: {datasets: [phantom-polyp], across: cvc-clinicdb}}"], "cvc-clinicdb cannot be downloaded directly (cvc-clinicdb: download it from polyp.grand-challenge.org"),
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
