"""What ``pip install .`` installs, and what the README points to."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

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


def test_every_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 10 and not [link for link in links if not (ROOT / link).exists()]
