"""Break the code on purpose, one small patch at a time, and see a test turn red: ``make mutants``.

Each *.patch here names its test in the first line, ``# test: tests/test_losses.py::test_name``. A patch whose test stays
green is a hole in the tests; the exit status is then 1. Patches work on copies, never on the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COPIED = ("ehanet", "tests", "workflow", "benchmarks", "config", "notebooks", "pyproject.toml")
RED, GREEN = 1, 0  # pytest's exit statuses for failed and passed tests


def main(names: list[str]) -> int:
    """Run all patches, or those whose names contain one of ``names``; returns the number of survivors, at most 1."""
    patches = [path for path in sorted(HERE.glob("*.patch")) if not names or any(name in path.name for name in names)]
    if not patches:
        print(f"no patch matches {' '.join(names)}")
        return 1
    tests = sorted({test_of(patch) for patch in patches})
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        clean = copy(Path(folder) / "clean")
        status, seconds = run(clean, tests)
        if status != GREEN:
            print("the tests fail without any patch; mend them first")
            return 1
        print(f"{len(tests)} tests are green without a patch ({seconds:.0f} s). Each patch must turn one red:")
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            verdicts = list(pool.map(lambda patch: judge(patch, Path(folder)), patches))
    survivors = [patch.name for patch, verdict in zip(patches, verdicts) if verdict != "red"]
    print(f"{len(patches) - len(survivors)} of {len(patches)} patches turn their test red" + (f"; not: {', '.join(survivors)}" if survivors else ""))
    return int(bool(survivors))


def judge(patch: Path, folder: Path) -> str:
    """"red" where the patch applies and its test fails; otherwise what happened instead."""
    tree = copy(folder / patch.stem)
    applied = subprocess.run(["patch", "-p1", "--quiet", "--input", str(patch)], cwd=tree, capture_output=True, text=True)
    if applied.returncode:
        verdict, seconds = f"does not apply: {applied.stdout.strip() or applied.stderr.strip()}", 0.0
    else:
        status, seconds = run(tree, [test_of(patch)])
        verdict = {RED: "red", GREEN: "GREEN, nothing noticed"}.get(status, f"pytest ended with status {status}")
    shutil.rmtree(tree)
    print(f"  {patch.stem:45} {verdict} ({seconds:.0f} s)", flush=True)
    return verdict


def test_of(patch: Path) -> str:
    """The test that a patch names in its first line."""
    line = patch.read_text().splitlines()[0]
    if not line.startswith("# test: "):
        raise SystemExit(f"{patch.name}: the first line must be '# test: tests/...'")
    return line.removeprefix("# test: ").strip()


def copy(target: Path) -> Path:
    """A working copy of what the tests need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "mutants", ".ipynb_checkpoints"))
        elif source.is_file():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def run(tree: Path, tests: list[str]) -> tuple[int, float]:
    """pytest's exit status on ``tests`` in ``tree``, and the seconds it took."""
    started = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    return done.returncode, time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
