"""What ``pip install .`` installs, and what the README points to."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def test_the_wheel_holds_every_module_and_every_file_that_they_read(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ehanet", source / "ehanet", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    held = set(zipfile.ZipFile(tmp_path / done.stdout.splitlines()[-1]).namelist())
    wanted = {str(path.relative_to(source)) for path in (source / "ehanet").rglob("*") if path.is_file()}
    assert wanted <= held, sorted(wanted - held)
    assert "ehanet/models/model_card.md" in held and not [name for name in held if not name.startswith(("ehanet/", "ehanet-"))]


def required(texts: list[str], found: set[str]) -> set[str]:
    """``found`` with the distributions that requirements ask for, and what those ask for in turn."""
    for requirement in map(Requirement, texts):
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras))):
            try:
                further = metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # optional on this system
                continue
            found.add(name)
            required(further, found)
    return found


ALONE = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in refused else super().find_spec(name, path, target)

refused = set(sys.argv[2].split())
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from ehanet import *
from ehanet.__main__ import main
from ehanet.config import RunConfig
from ehanet.training import fit

folder = Path(sys.argv[1])
fit(RunConfig(encoder="mobilenetv1_100", size=32, epochs=1, epoch_images=16, batch_size=8, device="cpu"), folder / "run", progress=False)
assert main(["score", "phantom-polyp", "--checkpoint", str(folder / "run")]) == 0
"""


def test_network_training_and_scores_need_none_of_the_notebooks_libraries(tmp_path):
    """What ``pip install .`` brings is enough; every other library of this environment is kept from being imported."""
    core = required(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"], {"ehanet", "setuptools", "pip"})
    refused = [name for name, owners in metadata.packages_distributions().items() if core.isdisjoint(map(canonicalize_name, owners))]
    assert {"papermill", "ipywidgets", "snakemake", "onnx", "seaborn", "sklearn"} <= set(refused) and not {"torch", "pandas", "yaml"} & set(refused)
    done = subprocess.run([sys.executable, "-c", ALONE, str(tmp_path), " ".join(refused)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_nothing_that_windows_lacks_is_imported_with_the_package():
    """Only the workflow, which make runs, may need a Unix; an import within a function is for one system alone."""
    lacking = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
    for path in (ROOT / "ehanet").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) else []
            assert lacking.isdisjoint(names), path


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/scale.md", "reports/README.md", "benchmarks/README.md"])
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    assert links
    for path, heading in links:
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if heading:
            assert heading in {_anchor(line) for line in target.read_text(encoding="utf-8").splitlines() if line.startswith("#")}, f"{path}{heading}"


def _anchor(heading: str) -> str:
    """What a Markdown page is linked by, as repository hosts make it: small letters, spaces as hyphens, no other signs."""
    return "#" + re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")
