"""A method of one's own: its file is read, imported, wrapped, hashed and trained; what is wrong is said in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from ehanet import fingerprint
from ehanet.config import RunConfig
from ehanet.interact import load_examples
from ehanet.models import build_model
from ehanet.models.output import SegmentationOutput
from ehanet.models.registry import _METHODS
from ehanet.plugins import _LOADED, load_plugin, plugin_hashes, plugin_methods
from ehanet.profiles import load_profile
from ehanet.runs import load_run
from ehanet.training import fit
from workflow.plan import make_plan

ROOT = Path(__file__).parent.parent
OWN = """from torch import nn

from ehanet import register


@register("own-net")
class OwnNet(nn.Sequential):
    def __init__(self, width: int = 4):
        super().__init__(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))
"""
PROFILE = "title: t\ndatasets: [phantom-polyp, phantom-glioma]\nmethods: [unet-32]\nseeds: [0]\nsize: 64\nplugins: [{}]\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The file of a user; afterwards nothing of it is left in this process."""
    monkeypatch.setattr("ehanet.models.registry._METHODS", dict(_METHODS))
    monkeypatch.setattr("ehanet.plugins._LOADED", {})
    fingerprint.forget()
    path = tmp_path / "own_net.py"
    path.write_text(OWN)
    yield path
    fingerprint.forget()


def plan(path: Path, methods: str = "[unet-32]") -> dict:
    """The steps of a profile with this plugin."""
    fingerprint.forget()
    (path.parent / "two.yaml").write_text(PROFILE.format(path).replace("[unet-32]", methods))
    return make_plan(load_profile("two", folder=path.parent), None)


def test_a_class_that_returns_logits_is_a_method_like_any_other(own):
    load_plugin(str(own))
    model = build_model("own-net", pretrained=True, width=8)
    assert set(model.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"} and model[0].out_channels == 8
    out = model(torch.rand(2, 3, 40, 56))
    assert isinstance(out, SegmentationOutput) and out.logits.shape == (2, 1, 40, 56) and out.sides == [] and out.edge is None
    with pytest.raises(ValueError, match="model 'own-net' has no option 'depth'; its options: width"):
        build_model("own-net", depth=2)


@pytest.mark.parametrize(("last", "message"), [
    ("nn.Conv2d(width, 2, 1)", r"OwnNet: forward returned a tensor \(2, 2, 32, 32\); expected logits \(2, 1, 32, 32\)"),
    ("nn.Conv2d(width, 1, 1, stride=2)", r"returned a tensor \(2, 1, 16, 16\)"),
    ("nn.LSTM(32, 1)", None),
])
def test_another_output_is_refused_in_one_line(own, last, message):
    own.write_text(OWN.replace("nn.Conv2d(width, 1, 1)", last) if message else OWN + "\n    def forward(self, images):\n        return [images]\n")
    load_plugin(str(own))
    with pytest.raises(ValueError, match=message or "OwnNet: forward returned a list") as error:
        build_model("own-net")(torch.rand(2, 3, 32, 32))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "message"), [
    (None, "plugins: .*own_net.py not found; give the path of the Python file"),
    ("import torch\n", "own_net.py registers no method; write @register"),
    (OWN.replace("own-net", "unet"), "registers 'unet', a name that this package has already"),
    (OWN.replace('"own-net"', "NAME"), "write the name out"),
    (OWN + "def broken(:\n", "own_net.py, line 10: "),
])
def test_a_wrong_file_is_said_in_one_line(own, text, message):
    own.unlink() if text is None else own.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        plan(own)
    assert "\n" not in str(error.value)


def test_two_files_with_one_name(own):
    other = own.with_name("other.py")
    shutil.copy(own, other)
    with pytest.raises(ValueError, match="other.py registers 'own-net', a name that .*own_net.py has already"):
        plugin_methods([str(own), str(other)])


def test_a_file_that_fails_names_the_line(own):
    own.write_text(OWN.replace("from torch import nn", "from torch import nm"))
    with pytest.raises(ValueError, match="own_net.py, line 1: ImportError: cannot import name 'nm'") as error:
        load_plugin(str(own))
    assert "\n" not in str(error.value) and not _LOADED


def test_its_row_is_on_every_data_set_and_other_steps_stay_as_they_are(own):
    steps = plan(own)
    mine = {id for id, step in steps.items() if "own_net.py" in step.parts["modules"]}
    names = ("phantom-polyp", "phantom-glioma")
    assert mine == {f"{kind}/{name}{end}" for name in names for kind, end in (("train", "/own-net/seed0"), ("evaluate", ""))}
    assert all(steps[f"evaluate/{name}"].parameters["rows"][-1]["label"] == "own-net" for name in names)
    alone = plan(own, "[{name: own-net, label: wide, options: {width: 8}, datasets: [phantom-glioma]}]")
    assert [id for id in alone if id.startswith("train/")] == ["train/phantom-glioma/wide/seed0"]


def test_its_row_joins_the_methods_that_a_study_chooses(own):
    study = "studies: {robustness: {datasets: [phantom-polyp], methods: %s, across: phantom-polyp}}\n"
    for chosen, taken in (("[unet-32]", ["unet-32", "own-net"]), ("[own-net]", ["own-net"]), ("[]", [])):  # none chosen: every run, as before
        own.with_name("chosen.yaml").write_text(PROFILE.format(own) + study % chosen)
        fingerprint.forget()
        assert make_plan(load_profile("chosen", folder=own.parent), None)["robustness/phantom-polyp"].parameters["methods"] == taken
    own.with_name("chosen.yaml").write_text(PROFILE.format(own) + study % "unet-32")
    with pytest.raises(ValueError, match="methods: expected list, got 'unet-32'"):
        make_plan(load_profile("chosen", folder=own.parent), None)


def test_its_content_decides_not_its_place_nor_its_words(own, tmp_path):
    own.write_text(OWN.replace("from torch import nn", "from layers import nn"))
    own.with_name("layers.py").write_text("from torch import nn\n")
    before = plan(own)["train/phantom-polyp/own-net/seed0"].parts
    assert {"own_net.py", "layers.py", "ehanet.models.registry"} <= set(plugin_hashes(str(own)))
    shutil.copytree(own.parent, tmp_path / "moved")
    own.write_text("# a remark\n" + own.read_text())
    for path in (own, tmp_path / "moved" / "own_net.py"):
        assert plan(path)["train/phantom-polyp/own-net/seed0"].parts == before
    own.with_name("layers.py").write_text("from torch import nn\n\nDEPTH = 2\n")
    changed = plan(own)["train/phantom-polyp/own-net/seed0"].parts
    assert {name for name in before["modules"] if changed["modules"][name] != before["modules"][name]} == {"layers.py"}


def test_a_run_of_it_is_trained_and_opened_again(own, tmp_path, monkeypatch):
    config = RunConfig(method="own-net", plugin=str(own), size=64, epochs=1, batch_size=32)
    record = fit(config, tmp_path / "runs" / "mine" / "phantom-polyp" / "own-net" / "seed0", progress=False)
    assert record["config"]["plugin"] == str(own) and len(record["plugin_sha256"]) == 64 and record["encoder"] == "none"
    monkeypatch.setattr("ehanet.models.registry._METHODS", {})  # as in a new process
    monkeypatch.setattr("ehanet.plugins._LOADED", {})
    run = load_run("mine/phantom-polyp/own-net/seed0", runs=tmp_path / "runs")
    assert run.model(torch.rand(1, 3, 64, 64)).logits.shape == (1, 1, 64, 64)


@pytest.mark.slow
def test_make_paper_with_it_has_its_row_in_every_table(own, tmp_path):
    folder = tmp_path / "clone"
    for name in ("ehanet", "workflow", "notebooks/steps", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copy(own, folder / "own_net.py")
    command = [sys.executable, "-m", "workflow.paper", "run", "--profile", "smoke", "--jobs", "1",
               "--set", "plugins=[own_net.py] methods=[unet-32] epochs=1 studies=[costs]"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (reports,) = (folder / "reports").iterdir()
    tables = {path.stem: pd.read_csv(path) for path in (reports / "tables").glob("*_phantom-polyp.csv")}
    assert set(tables) == {f"{kind}_phantom-polyp" for kind in ("comparison", "differences", "score_choice", "cost")}
    for name, table in tables.items():
        assert table["label"].tolist() == ["unet-32", "own-net", "lw-mhfi-net"], name
    assert tables["cost_phantom-polyp"].set_index("label").loc["own-net", "parameters"] == 3 * 4 * 9 + 4 + 5
    assert "own-net" in (reports / "index.html").read_text()


def test_a_home_folder_of_nobody_is_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="^plugins: ~nobody-of-this-name/net.py not found"):
        load_plugin("~nobody-of-this-name/net.py")
    with pytest.raises(FileNotFoundError, match="^~nobody-of-this-name/photos: no such file or folder"):
        load_examples("~nobody-of-this-name/photos", 64)


HELPED = OWN.replace("from torch", "from {module} import {value}\nfrom torch").replace("own-net", "{name}").replace("int = 4):\n", "int = 4):\n        self.__dict__['value'] = {value}\n")


def test_a_package_beside_a_plugin_decides_its_result_too(own):
    helpers = own.parent / "helpers"
    helpers.mkdir()
    for name, text in (("__init__", ""), ("blocks", "WIDTH = 1\n")):
        (helpers / f"{name}.py").write_text(text)
    own.write_text(HELPED.format(name="own-net", module="helpers.blocks", value="WIDTH"))
    before = plugin_hashes(str(own))
    assert {"own_net.py", "helpers/__init__.py", "helpers/blocks.py"} <= set(before)
    (helpers / "blocks.py").write_text("WIDTH = 3\n")
    fingerprint.forget()
    after = plugin_hashes(str(own))
    assert {name for name in before if before[name] != after[name]} == {"helpers/blocks.py"}


def test_plugins_with_helpers_of_one_name_each_have_their_own(own):
    for name in ("a", "b"):
        folder = own.parent / name
        folder.mkdir()
        (folder / "blocks.py").write_text(f"NAME = {name!r}\n")
        (folder / f"net_{name}.py").write_text(HELPED.format(name=f"net-{name}", module="blocks", value="NAME"))
        load_plugin(str(folder / f"net_{name}.py"))
    assert [build_model(f"net-{name}").value for name in ("a", "b")] == ["a", "b"]
    assert "blocks" not in sys.modules and "ehanet.models.registry" in sys.modules
