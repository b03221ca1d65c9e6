"""The walkthrough notebooks as they are stored: executed in order, whole, short, and free of this machine."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest

from workflow import walkthroughs
from workflow.walkthroughs import WIDGET, execute, without_widget

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
LONGEST_FUNCTION = 12


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tree_of(cell):
    """The cell's syntax without IPython's magics."""
    return ast.parse("\n".join(re.sub(r"^(\s*)%.*", r"\1pass", line) for line in cell.source.splitlines()))


def test_there_are_walkthroughs():
    assert [path.stem[0] for path in NOTEBOOKS][:7] == list("1234567")


def test_every_code_cell_was_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run `make walkthroughs`"


def test_no_output_is_stripped_and_none_is_an_error(notebook):
    stored = json.dumps([cell.outputs for cell in code_cells(notebook)])
    assert "not measured" not in stored, "a table was stored where a network could not be measured"
    for number, cell in enumerate(code_cells(notebook), start=1):
        last = tree_of(cell).body[-1]
        shows = isinstance(last, ast.Expr) or "print(" in cell.source
        assert cell.outputs or not shows, f"code cell {number} shows something, but holds no output: run `make walkthroughs`"
        assert all(output.output_type != "error" for output in cell.outputs), f"code cell {number} failed"


def test_the_first_code_cell_installs_the_package_where_it_is_missing(notebook):
    assert 'find_spec("ehanet") is None:\n    %pip install --quiet ..' in code_cells(notebook)[0].source


def test_widgets_are_stored_as_pictures(notebook):
    assert "widgets" not in notebook.metadata
    for cell in code_cells(notebook):
        assert all(WIDGET not in output.get("data", {}) for output in cell.outputs)


def test_notebooks_hold_no_logic(notebook):
    for cell in code_cells(notebook):
        for node in ast.walk(tree_of(cell)):
            assert not isinstance(node, ast.ClassDef), f"class {node.name}"
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_no_path_of_a_machine_is_stored(notebook):
    text = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert not re.search(r"/(work|root|home|tmp|Users)/\w", re.sub(r'"image/png": "[^"]*"', "", text))


def test_links_lead_to_notebooks_and_files(notebook):
    for cell in notebook.cells:
        for target in re.findall(r"\]\(([^)#]+)\)", cell.source if cell.cell_type == "markdown" else ""):
            assert "://" in target or (NOTEBOOKS[0].parent / target).exists(), target


def small(tmp_path, *sources):
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]), path)
    return path


def test_a_failing_walkthrough_is_left_as_it_was(tmp_path, capsys):
    path = small(tmp_path, "1 + 1", "raise ValueError('a typo')")
    before = path.read_bytes()
    assert walkthroughs.main([str(path)]) == 1
    assert path.read_bytes() == before
    assert capsys.readouterr().err == "error: small.ipynb: ValueError a typo; the notebook is as it was\n"


def test_a_walkthrough_is_executed_in_place_and_its_widgets_become_pictures(tmp_path):
    path = small(tmp_path, "from IPython.display import display\nimport ipywidgets\nslider = ipywidgets.IntSlider(3)\ndisplay(slider)", "slider.value + 1")
    execute(path)
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2]
    assert cells[0].outputs == [] and cells[1].outputs[0].data["text/plain"] == "4"
    output = {"data": {WIDGET: {}, "image/png": "x", "text/plain": "Panel"}}
    assert without_widget(output) == {"data": {"image/png": "x", "text/plain": "Panel"}}
