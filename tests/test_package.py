"""What ``pip install .`` installs, and what the README points to."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
