"""The patches of ``make mutants`` fit today's code: one that no longer applies would be a check that is gone."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATCHES = sorted((ROOT / "tests" / "mutants").glob("*.patch"))


def test_there_are_twenty():
    assert len(PATCHES) >= 20


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_a_patch_fits_the_code(patch):
    first, *lines = patch.read_text().splitlines()
    test, _, name = first.removeprefix("# test: ").partition("::")
    assert (ROOT / test).is_file() and (not name or f"def {name.split('[')[0]}(" in (ROOT / test).read_text())
    target, hunks = None, []
    for line in lines:
        if line.startswith("+++ b/"):
            target = (ROOT / line.removeprefix("+++ b/")).read_text()
        elif line.startswith("@@"):
            hunks.append([])
        elif target and hunks:
            hunks[-1].append(line)
    assert hunks, "no change in it"
    for hunk in hunks:
        before = "\n".join(line[1:] for line in hunk if not line.startswith("+"))
        assert re.sub(r"\s+$", "", before) in target, f"not in the file:\n{before}"
