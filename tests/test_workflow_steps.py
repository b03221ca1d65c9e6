"""Step notebooks: parameters are checked before they start, a failed one leaves no result, a good one does."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ehanet.steps import StepError, check_parameters, known_parameters, main, run_step
from workflow.kinds import KINDS, STUDIES

STEPS = sorted((Path(__file__).parent.parent / "notebooks" / "steps").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def imports_of(path: Path) -> str:
    trees = [ast.parse("".join(cell["source"])) for cell in code_cells(path)]
    return "\n".join(ast.unparse(node) for tree in trees for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))


def test_all_steps_are_there():
    assert {path.stem for path in STEPS} == {*KINDS.values(), *STUDIES.values()} - {None}


@by_name
def test_steps_are_clean_and_thin(path):
    for cell in code_cells(path):
        assert cell["outputs"] == [] and cell["execution_count"] is None, "clear the outputs before committing a step"
        assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.parse("".join(cell["source"])).body)
    assert known_parameters(path), "the parameters cell has typed defaults"
    check_parameters(path, {name: default for name, (_, default) in known_parameters(path).items()})


@by_name
def test_only_steps_that_train_or_predict_import_torch(path):
    if any(f"ehanet.{room}" in imports_of(path) for room in ("training", "evaluation", "cost", "inside", "robustness", "publishing")):
        return
    # the package resolves names lazily, so the imports alone would hide what a call brings in: load their modules
    code = f"{imports_of(path)}\nimport sys\nassert not (heavy := {{'torch', 'timm', 'torchvision'}} & set(sys.modules)), heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("parameters", "message"), [
    ({"sise": 64}, "01_data: unknown parameter 'sise'; known: dataset: str, size: int, source: str | None, reports: str"),
    ({"size": "64"}, "size: expected int, got '64' (str)"),
    ({"size": True}, "size: expected int, got True (bool)"),
    ({"source": 3}, "source: expected str | None, got 3 (int)"),
])
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError) as error:
        check_parameters(STEPS[0], parameters)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_training_s_settings_are_checked_too():
    with pytest.raises(ValueError, match="unknown setting 'epoch'; known: method, dataset"):
        check_parameters(STEPS[1], {"config": {"epoch": 3}})
    with pytest.raises(ValueError, match="epochs: expected int"):
        check_parameters(STEPS[1], {"config": {"epochs": "3"}})


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [{"cell_type": "code", "id": f"cell-{index}", "metadata": {"tags": ["parameters"]} if index == 0 else {}, "execution_count": None,
              "outputs": [], "source": source} for index, source in enumerate(sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.parametrize("line", ["x = 1", "x: int", "x: int = 1 + y", "print(1)"])
def test_a_parameter_needs_a_name_a_type_and_a_value(tmp_path, line):
    with pytest.raises(ValueError):
        known_parameters(write_notebook(tmp_path / "step.ipynb", line))


def test_a_step_that_works_and_one_that_fails(tmp_path, capfd):
    last_words = "import atexit, os\natexit.register(os.write, 2, b'closing')"  # stands for what libraries say when a kernel is asked to end
    notebook = write_notebook(tmp_path / "step.ipynb", "x: float = 1.0\ny: list = []", last_words, "import sys\nprint('so far', file=sys.stderr)\nprint(2 / x, y)")
    output = tmp_path / "out" / "step.ipynb"
    run_step(notebook, {"x": 4, "y": [{"a": None}]}, output)
    assert "0.5 [{'a': None}]" in json.dumps(json.loads(output.read_text())["cells"][-1]["outputs"])
    before = output.read_bytes()
    with pytest.raises(StepError, match="ZeroDivisionError: division by zero") as error:
        run_step(notebook, {"x": 0}, output)
    assert "\n" not in str(error.value) and output.read_bytes() == before
    assert sorted(path.name for path in output.parent.iterdir()) == ["step.failed.ipynb", "step.ipynb"]
    failed = (output.parent / "step.failed.ipynb").read_text()
    assert "so far" in failed and "ZeroDivisionError" in failed, "what was printed before the failure is kept"
    run_step(notebook, {"x": 1}, output)
    assert [path.name for path in output.parent.iterdir()] == ["step.ipynb"]
    assert capfd.readouterr() == ("", ""), "no chatter of kernels and libraries"


def test_the_command_line_says_what_is_wrong(capsys):
    assert main(["06_nothing", "out.ipynb"]) == 1
    assert "there are: 01_data, 02_train" in capsys.readouterr().err
    for words, said in ((["size=big"], "size: expected int, got 'big'"), (["size"], "'size' is not of the form name=value"), (["size=8", "size=9"], "size is given twice"),
                        (["size=[1"], "size: no valid YAML"), (["config={a: 1, a: 2}"], "'a' is given twice")):
        assert main(["01_data", "out.ipynb", *words]) == 1
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and said in told


def test_a_kernel_that_does_not_start_is_one_line(tmp_path, monkeypatch, capsys):
    def dead(*_, **__):
        raise RuntimeError("Kernel died before replying\nto kernel_info")

    monkeypatch.setattr("papermill.execute_notebook", dead)
    assert main(["01_data", str(tmp_path / "out.ipynb")]) == 1
    assert capsys.readouterr().err.startswith("error: 01_data.ipynb: its process did not start (Kernel died before replying to kernel_info); run again")
    assert not list(tmp_path.iterdir())


def test_an_installed_package_says_where_the_notebooks_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ehanet.steps.FOLDER", tmp_path / "notebooks")
    assert main(["01_data", "out.ipynb"]) == 1
    assert "the step notebooks come with a clone of the repository" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_step_starts_as_fast_as_torch_and_timm_do():
    """At most 1.3 times an empty notebook that imports torch and timm, in processor time; the kernel is the same for both."""
    def seconds(code: str) -> float:
        code = f"import ipykernel.kernelapp, IPython.display\n{code}\nimport resource; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
        runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(4)]
        return min(float(run.stdout.split()[-1]) for run in runs)

    empty = seconds("import torch, timm")
    for path in STEPS[1:3]:
        assert seconds(imports_of(path)) <= 1.3 * empty
