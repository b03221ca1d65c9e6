"""Execute the walkthrough notebooks in place: ``python -m workflow.walkthroughs [NOTEBOOK...]``; default: all of notebooks/.

A notebook is replaced only if every cell ran. Widgets are kept as the pictures they show: a stored widget is an error message without a kernel.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ehanet.files import write_atomically
from ehanet.steps import KERNEL

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> float:
    """Run every cell of a notebook in its folder, write it with its outputs, and return the seconds it took.

    Raises:
        RuntimeError: a cell failed; one line. The file is as it was.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    started = time.monotonic()
    try:
        NotebookClient(notebook, timeout=900, record_timing=False, resources={"metadata": {"path": str(path.parent)}}, **KERNEL).execute()
    except (CellExecutionError, DeadKernelError) as error:
        raise RuntimeError(f"{path.name}: {getattr(error, 'ename', 'the kernel died')} {getattr(error, 'evalue', '')}".rstrip()) from error
    seconds = time.monotonic() - started
    for cell in notebook.cells:
        cell.get("outputs", [])[:] = [kept for kept in map(without_widget, cell.get("outputs", [])) if kept]
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
    nbformat.validate(notebook)
    write_atomically(path, nbformat.writes(notebook) + "\n")
    return seconds


def without_widget(output: dict) -> dict | None:
    """An output without its live widget; None where nothing else is in it that a reader could see."""
    data = output.get("data")
    if data is None or WIDGET not in data:
        return output
    del data[WIDGET]
    return output if "image/png" in data else None


def main(names: list[str]) -> int:
    """The command line; returns the exit status."""
    failed = 0
    sys.modules.setdefault("rfc3987_syntax", None)  # see ehanet.steps
    for path in [Path(name).resolve() for name in names] or sorted(FOLDER.glob("*.ipynb")):
        try:
            print(f"{path.name}: {execute(path):.0f} s", flush=True)
        except (RuntimeError, OSError, ValueError) as error:
            failed += 1
            print(f"error: {' '.join(str(error).split())}; the notebook is as it was", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
