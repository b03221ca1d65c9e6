"""Content fingerprints: what changes them, what does not, and what a step depends on."""

import json
import textwrap
from pathlib import Path

import pytest

from ehanet import fingerprint
from ehanet.fingerprint import digest, method_modules, module_hashes, modules_sha256, notebook_hashes

STEPS = Path(__file__).parent.parent / "notebooks" / "steps"

FILES = {
    "__init__.py": '_HOMES = {"predict": "ehanet.inference"}\n',
    "losses.py": '"""Losses."""\nimport math\n\n\ndef half(x):\n    """Half of x."""\n    return x / 2  # exact\n',
    "training.py": "from ehanet.losses import half\nfrom ehanet.metrics import dice\nfrom ehanet.models import build\n",
    "inference.py": "def predict():\n    from ehanet import losses\n    return losses\n",
    "metrics/__init__.py": '_HOMES = {"hd95": "ehanet.metrics.boundaries", "dice": "ehanet.metrics.regions"}\n',
    "metrics/regions.py": "def dice():\n    return 1\n",
    "metrics/boundaries.py": "from . import regions\n\n\ndef hd95():\n    return regions\n",
    "models/__init__.py": "from ehanet.models import small, large\nfrom ehanet.models.registry import build\n",
    "models/registry.py": "def register(name):\n    return lambda f: f\n\n\ndef build():\n    return 0\n",
    "models/small.py": 'from ehanet.models.registry import register\n\n\n@register("small")\ndef small():\n    return 1\n',
    "models/large.py": 'from ehanet.models.registry import register\n\nfor n in "ab":\n    register(f"large-{n}")(print)\n',
    "report/__init__.py": "",
    "report/page.py": 'import ehanet\nfrom importlib import import_module\nimport_module("ehanet.metrics.regions")\nehanet.predict\n',
    "report/words.csv": "a,b\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of ours; ``write(name, text)`` changes a file of it."""

    def write(name, text):
        path = tmp_path / "ehanet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        fingerprint.forget()

    for name, text in FILES.items():
        write(name, text)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    yield write
    fingerprint.forget()


@pytest.mark.parametrize("text", [
    '"""Other words."""\nimport math\n\n\ndef half(x):\n    """Half of x."""\n    return x / 2  # exact\n',
    'import math\ndef half(x):\n    return x/2\n',
    '# a comment\nimport math\n\n\ndef half(x):\n    """Many\n\n    lines."""\n\n    return (x /\n            2)\n',
], ids=["docstring", "bare", "comments-and-layout"])
def test_words_and_layout_change_nothing(package, text):
    before = modules_sha256(["ehanet.losses"])
    package("losses.py", text)
    assert modules_sha256(["ehanet.losses"]) == before


@pytest.mark.parametrize("text", [
    FILES["losses.py"].replace("/ 2", "/ 3"),
    FILES["losses.py"].replace("def half(x)", "def half(x, y=0)"),
    FILES["losses.py"] + "\nhalf.words = 'a string that is no docstring'\n",
], ids=["number", "argument", "statement"])
def test_code_changes_the_hash_of_all_that_import_it(package, text):
    before = {name: modules_sha256([f"ehanet.{name}"]) for name in ("losses", "training", "inference", "metrics.regions")}
    package("losses.py", text)
    changed = {name for name, value in before.items() if modules_sha256([f"ehanet.{name}"]) != value}
    assert changed == {"losses", "training", "inference"}


@pytest.mark.parametrize(("module", "methods", "expected"), [
    ("training", ["small"], "losses metrics.regions models.registry models.small training"),
    ("training", ["large-a"], "losses metrics.regions models.large models.registry training"),
    ("training", None, "losses metrics.regions models.large models.registry models.small training"),
    ("inference", None, "inference losses"),
    ("metrics.boundaries", None, "metrics.boundaries metrics.regions"),
    ("report.page", None, "ehanet/report/words.csv inference losses metrics.regions report.page"),
])
def test_what_a_module_depends_on(package, module, methods, expected):
    found = module_hashes([f"ehanet.{module}"], methods)
    assert " ".join(name.removeprefix("ehanet.") for name in sorted(found, key=lambda n: n.removeprefix("ehanet."))) == expected


def test_a_table_in_a_package_counts(package):
    before = modules_sha256(["ehanet.report.page"])
    package("report/words.csv", "a,c\n")
    assert modules_sha256(["ehanet.report.page"]) != before


def test_the_commit_that_an_archive_names_is_no_code(package):
    package("commit.txt", "$Format:%H$\n")
    before = modules_sha256(["ehanet.training"])
    package("commit.txt", "0123456789\n")
    assert modules_sha256(["ehanet.training"]) == before


def test_packages_can_be_left_out(package):
    assert "ehanet.metrics.regions" not in module_hashes(["ehanet.training"], without=["ehanet.metrics"])


def test_method_names_that_are_computed_become_patterns(package):
    assert method_modules() == {"ehanet.models.large": ["large-*"], "ehanet.models.small": ["small"]}


def test_unreadable_code_is_one_line_with_its_place(package):
    package("losses.py", "def half(x:\n")
    with pytest.raises(ValueError, match=r"losses\.py, line 1") as error:
        modules_sha256(["ehanet.losses"])
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="ehanet.nothing is imported but not in the package"):
        modules_sha256(["ehanet.nothing"])


def write_notebook(path: Path, *cells: tuple[str, str]) -> Path:
    fingerprint.forget()
    path.write_text(json.dumps({"cells": [{"cell_type": kind, "source": textwrap.dedent(text)} for kind, text in cells]}))
    return path


def test_notebook_text_and_comments_change_nothing_its_code_does(package, tmp_path):
    code = "from ehanet.metrics import dice\nx = dice()"
    path = tmp_path / "step.ipynb"
    first = notebook_hashes(write_notebook(path, ("markdown", "# Title"), ("code", code)))
    same = notebook_hashes(write_notebook(path, ("markdown", "# Another"), ("code", "# why\n" + code + "  # so")))
    other = notebook_hashes(write_notebook(path, ("markdown", "# Title"), ("code", code + " + 1")))
    assert first == same and first[0] != other[0]
    assert list(first[1]) == ["ehanet.metrics.regions"]
    path.write_text("{")
    fingerprint.forget()
    with pytest.raises(ValueError, match="step.ipynb cannot be read"):
        notebook_hashes(path)


def test_digest_knows_no_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"b": [2, 1], "a": 1})


@pytest.mark.parametrize(("notebook", "methods", "never"), [
    ("02_train", ["ehanet"], ["reporting", "inference", "evaluation", "models.unet", "models.controls", "metrics.boundaries", "metrics.scores"]),
    ("03_evaluate", ["ehanet"], ["reporting", "training"]),
    ("01_data", [], ["models", "training", "losses", "reporting.compare", "reporting.pictures"]),
    ("04_compare", [], ["models", "training", "data", "reporting.pictures", "reporting.page"]),
    ("05_pictures", [], ["models", "training", "reporting.compare", "reporting.page"]),
])
def test_no_step_of_ours_depends_on_a_later_one(notebook, methods, never):
    _, modules = notebook_hashes(STEPS / f"{notebook}.ipynb", methods)
    assert len(modules) > 3
    wrong = [name for name in modules for room in never if f"{name}.".startswith(f"ehanet.{room}.")]
    assert not wrong, f"{notebook} depends on {', '.join(wrong)}"


def test_editing_one_network_leaves_the_runs_of_others_alone():
    ehanet, unet = (set(notebook_hashes(STEPS / "02_train.ipynb", [name])[1]) for name in ("ehanet", "unet-32"))
    assert "ehanet.models.ehanet" in ehanet - unet and "ehanet.models.unet" in unet - ehanet
    assert {"ehanet.training", "ehanet.losses", "ehanet.metrics.regions"} <= ehanet & unet
