"""pyproject.toml, requirements.lock and environment.yml describe one environment."""

import importlib.util
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
PLATFORMS = [{"sys_platform": system, "platform_system": name, "platform_machine": machine, "os_name": "posix",
              "python_version": python, "python_full_version": f"{python}.9", "implementation_name": "cpython",
              "platform_python_implementation": "CPython", "extra": ""}
             for system, name, machine in [("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64")]
             for python in ("3.11", "3.12", "3.13")]


def locked(platform: dict) -> dict[str, str]:
    """Name -> version of what the lock installs on a platform."""
    chosen = {}
    for line in LOCK:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(platform):
            name = canonicalize_name(requirement.name)
            assert name not in chosen, f"{name} is locked twice for {platform['sys_platform']} {platform['python_version']}"
            chosen[name] = str(requirement.specifier).removeprefix("==")
    return chosen


def test_every_line_of_the_lock_is_an_exact_version():
    assert len(LOCK) > 100
    for line in LOCK:
        assert re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*( ; .+)?", line), line


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: f"{p['sys_platform']}-{p['platform_machine']}-{p['python_version']}")
def test_lock_satisfies_the_project_on_every_platform(platform):
    versions = locked(platform)
    asked = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    for text in asked:
        requirement = Requirement(text)
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in the lock"
        assert requirement.specifier.contains(version), f"{requirement}: locked {version}"


def test_torch_and_torchvision_are_the_matching_pair():
    versions = locked(PLATFORMS[0])
    assert re.fullmatch(r"[0-9.]+", versions["torch"]), "a local version such as +cpu comes from another index"
    wanted = next(Requirement(text) for text in metadata.requires("torchvision") if Requirement(text).name == "torch")
    assert metadata.version("torchvision") == versions["torchvision"]
    assert wanted.specifier.contains(versions["torch"]), f"torchvision {versions['torchvision']} wants {wanted}"


def test_installed_versions_are_the_locked_ones():
    """Also a check that the fast tests ran in the environment that the lock describes."""
    here = {**PLATFORMS[0], **default_environment(), "extra": ""}
    wrong = []
    for name, version in locked(here).items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = "missing"
        if installed != version:
            wrong.append(f"{name}: {installed} installed, {version} locked")
    assert not wrong, "; ".join(wrong)


def test_conda_describes_the_same_environment():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["name"] == PROJECT["name"]
    plain = [entry for entry in conda["dependencies"] if isinstance(entry, str)]
    python = next(entry for entry in plain if entry.startswith("python"))
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert {re.match(r"[a-z]+", entry).group() for entry in plain} == {"python", "pip"}, "versions belong in the lock"
    assert [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)] == [["-r requirements.lock"]]


def tracked() -> list[str]:
    """The files under git, none outside a clone."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


def test_no_tracked_file_is_large_but_the_checkpoint():
    large = {name: (ROOT / name).stat().st_size for name in tracked() if (ROOT / name).stat().st_size > 1_500_000}
    assert set(large) <= {"weights/ehanet-universal.safetensors"} and max(large.values(), default=0) <= 12_000_000, large


def test_no_file_names_an_index():
    names = ["pyproject.toml", "requirements.lock", "environment.yml", "Makefile", "workflow/install.sh", ".ci/run"]
    for name in names:
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|file://|index-url|trusted-host", text), name
    for name in tracked():
        if not name.endswith((".png", ".pdf", ".npz", ".safetensors")) and name != "tests/test_environment.py":
            text = (ROOT / name).read_bytes().lower()  # of some hundred megabytes together: a search for words, not for a pattern, takes seconds
            assert not [word for word in (b"pypi.", b"pythonhosted", b"index-url", b"trusted-host") if word in text], name


def test_libraries_are_compiled_once_and_not_by_every_process():
    for name in ("torch", "timm", "matplotlib"):
        source = importlib.util.find_spec(name).origin
        assert Path(importlib.util.cache_from_source(source)).is_file(), f"{name} has no bytecode; python -m compileall -q .venv/lib"
