"""The smoke profile through the front door, in a copy of the repository: all of it, again, and after small changes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ehanet.records import read_record

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy in which ``make paper PROFILE=smoke`` has run once; with what it printed."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("ehanet", "workflow", "notebooks", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    return folder, paper(folder)


def paper(folder, *options, command="run", **environment):
    """``make paper`` as the Makefile calls it."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-m", "workflow.paper", command, "--profile", "smoke", "--jobs", "1", *options], cwd=folder, env=environment,
                          capture_output=True, text=True)


def test_every_artefact_is_there(clone):
    folder, done = clone
    assert done.returncode == 0, done.stderr
    reports = folder / "reports" / "smoke"
    assert done.stdout.rstrip().endswith("The report: reports/smoke/index.html")
    assert (reports / "index.html").stat().st_size > 1000
    for pattern, count in (("data/*.json", 1), ("runs/*/*/seed0/record.json", 2), ("scores/*/*__seed*.csv", 2), ("tables/comparison_*.csv", 1),
                           ("tables/comparison_*.tex", 1), ("figures/side_by_side_*.png", 1), ("figures/scores_*.pdf", 1),
                           ("notebooks/*.ipynb", 6), ("notebooks/*.html", 6)):
        assert len(list(reports.glob(pattern))) == count, pattern
    records = [read_record(path) for path in reports.rglob("*.json") if path.name != "methods.json"]
    assert {record["kind"] for record in records} == {"data", "run", "scores", "table", "figure"}
    ids = {record["id"] for record in records}
    assert all(ids.issuperset(record.get("inputs", [])) for record in records), "every record that another was made from is in the report"
    assert "phantom data" in (reports / "tables" / "comparison_phantom-polyp.csv").read_text()
    record = json.loads((reports / "runs" / "phantom-polyp" / "ehanet" / "seed0" / "record.json").read_text())
    assert record["config"]["size"] == 64 and record["seconds"] > 0


def test_the_second_time_nothing_runs_and_nothing_slow_is_loaded(clone):
    """What keeps it within the five seconds that ``benchmarks`` measures."""
    folder, _ = clone
    before = {path: path.stat().st_mtime_ns for path in (folder / "reports").rglob("*")}
    done = paper(folder, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0 and "Nothing to run" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"workflow.plan", "numpy"} <= loaded and loaded.isdisjoint(("torch", "timm", "scipy.stats", "scipy.signal", "matplotlib", "papermill", "snakemake"))
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "reports").rglob("*")}


def test_comments_run_nothing_and_a_figure_s_code_only_its_steps(clone):
    folder, _ = clone
    for name in ("training.py", "reporting/pictures.py"):
        path = folder / "ehanet" / name
        path.write_text("# a remark\n" + path.read_text())
    assert "Nothing to run" in paper(folder, command="plan").stdout
    with open(folder / "ehanet" / "reporting" / "pictures.py", "a") as file:
        file.write("\nADDED = 1\n")
    said = paper(folder, command="plan").stdout
    assert "2 of 7 steps run" in said and "trainings: 0." in said and "pictures/phantom-polyp: code changed: reporting.pictures" in said
    before = (folder / "runs" / "smoke" / "phantom-polyp" / "ehanet" / "seed0" / "best.pt").stat().st_mtime_ns
    done = paper(folder)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split()[1] for line in done.stdout.splitlines() if line.startswith("done ")) == ["pictures/phantom-polyp", "report"]
    assert (folder / "runs" / "smoke" / "phantom-polyp" / "ehanet" / "seed0" / "best.pt").stat().st_mtime_ns == before


def test_the_report_comes_from_the_csv_files_alone(clone):
    folder, _ = clone
    picture = folder / "reports" / "smoke" / "figures" / "side_by_side_phantom-polyp.png"
    before = picture.read_bytes()
    (folder / "runs").rename(folder / "runs-aside")
    table = folder / "reports" / "smoke" / "tables" / "comparison_phantom-polyp.csv"
    expected = table.read_text()
    table.unlink()
    done = paper(folder, command="report")
    shutil.rmtree(folder / "runs")
    (folder / "runs-aside").rename(folder / "runs")
    assert done.returncode == 0, done.stderr
    assert table.read_text() == expected and picture.read_bytes() == before
