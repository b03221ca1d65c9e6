"""Run one step notebook: check its parameters, execute it by papermill, and put it in place only if it succeeded.

    python -m ehanet.steps 02_train out.ipynb config='{method: unet-32, epochs: 3}' run_dir=runs/mine

A failed notebook is kept beside the target as <name>.failed.ipynb, with its traceback.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import sys
import time
from pathlib import Path

from ehanet.config import RunConfig
from ehanet.overrides import read_yaml

FOLDER = Path(__file__).resolve().parent.parent / "notebooks" / "steps"
KERNEL = {  # for papermill and nbclient alike; no remarks about transport and debuggers
    "kernel_name": "python3",
    "extra_arguments": ["--log-level=CRITICAL"],
    "shutdown_kernel": "immediate",  # a kernel that is asked to end closes its sockets while it still answers, and at times prints a traceback of that
}


class StepError(RuntimeError):
    """A notebook failed; the message is one line with the reason and where the traceback is."""


def known_parameters(notebook: str | Path) -> dict[str, tuple[str, object]]:
    """Name -> (type as written, default) of the cell tagged "parameters".

    Raises:
        ValueError: no such cell, or a line of it that is not ``name: type = value``.
    """
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    cell = next((cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])), None)
    if cell is None:
        raise ValueError(f"{notebook}: no cell is tagged 'parameters'")
    found = {}
    for node in ast.parse("".join(cell["source"])).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise ValueError(f"{notebook}: {ast.unparse(node)!r} in the parameters cell is not of the form name: type = value")
        found[node.target.id] = (ast.unparse(node.annotation), ast.literal_eval(node.value))
    return found


def check_parameters(notebook: str | Path, parameters: dict) -> None:
    """Raise a ``ValueError`` that names the known parameters where one is unknown or of a wrong type."""
    known = known_parameters(notebook)
    listed = ", ".join(f"{name}: {kind}" for name, (kind, _) in known.items())
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(f"{Path(notebook).stem}: unknown parameter {name!r}; known: {listed}")
        if not _fits(value, known[name][0]):
            raise ValueError(f"{Path(notebook).stem}: {name}: expected {known[name][0]}, got {value!r} ({type(value).__name__}); known: {listed}")
    if "config" in parameters:
        RunConfig.from_dict(parameters["config"])


def _fits(value, annotation: str) -> bool:
    kinds = {"str": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict, "None": type(None)}
    return any(isinstance(value, kinds[kind]) and (not isinstance(value, bool) or kind == "bool")
               for kind in (part.split("[")[0].strip() for part in annotation.split("|")))


def run_step(notebook: str | Path, parameters: dict, output: str | Path) -> float:
    """Execute ``notebook`` with ``parameters`` into ``output`` and return the seconds it took.

    Raises:
        ValueError: a parameter is unknown or of a wrong type; nothing was started.
        StepError: the notebook failed; ``output`` is untouched, <name>.failed.ipynb has the traceback.
    """
    notebook, output = Path(notebook), Path(output)
    check_parameters(notebook, parameters)
    sys.modules.setdefault("rfc3987_syntax", None)  # a URI grammar that jsonschema compiles for a second; no notebook needs it
    import papermill  # costs a second too: only once the parameters are known to be right
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    output.parent.mkdir(parents=True, exist_ok=True)
    temporary, failed = output.with_name(f".{output.stem}.tmp.ipynb"), output.with_name(f"{output.stem}.failed.ipynb")
    failed.unlink(missing_ok=True)
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it cannot read "str | None"; the check above can
    started = time.monotonic()
    try:
        papermill.execute_notebook(str(notebook), str(temporary), parameters=parameters, progress_bar=False, **KERNEL)
        os.replace(temporary, output)
    except (PapermillExecutionError, DeadKernelError) as error:
        if temporary.is_file():
            os.replace(temporary, failed)
        raise StepError(f"{_reason(error)} (the notebook with its traceback: {failed})") from error
    except (RuntimeError, NoSuchKernel) as error:  # jupyter_client's, of a kernel that did not start
        raise StepError(f"{notebook.name}: its process did not start ({' '.join(str(error).split())}); run again, on a machine that is less busy or with its environment made anew") from error
    finally:
        temporary.unlink(missing_ok=True)
    return time.monotonic() - started


def _reason(error: Exception) -> str:
    if hasattr(error, "evalue"):
        return " ".join(f"{error.ename}: {error.evalue}".split())
    return "the notebook's process died, perhaps for want of memory; a smaller batch_size needs less"


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    if len(arguments) < 2:
        print(__doc__.strip())
        return 2
    notebook = FOLDER / f"{arguments[0]}.ipynb"
    try:
        if not FOLDER.is_dir():
            raise ValueError(f"{FOLDER} is not there: the step notebooks come with a clone of the repository, not with the installed package")
        if not notebook.is_file():
            raise ValueError(f"no step {arguments[0]!r}; there are: {', '.join(sorted(path.stem for path in FOLDER.glob('*.ipynb')))}")
        parameters = {}
        for name, sign, value in (word.partition("=") for word in arguments[2:]):
            if not sign:
                raise ValueError(f"{name!r} is not of the form name=value")
            if name in parameters:
                raise ValueError(f"{name} is given twice")
            parameters[name] = read_yaml(value, name)
        seconds = run_step(notebook, parameters, arguments[1])
    except (ValueError, OSError, StepError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"{arguments[1]}: {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
