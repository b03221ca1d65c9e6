"""A copy of the repository in which every step of a small profile has finished: what plans and the front door are tested on."""

import json
import shutil
from pathlib import Path

import pytest

from ehanet import fingerprint
from ehanet.profiles import load_profile
from workflow.plan import make_plan, to_run

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


class Copy:
    """A copy of the repository in which every step of the profile has finished."""

    def __init__(self):
        self.steps = self.plan()
        for step in self.steps.values():
            checkpoint = [f"{step.parameters['run_dir']}/best.pt"] if step.kind == "train" else []
            for path in (*step.outputs, step.stamp, *checkpoint):
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
