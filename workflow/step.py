"""Run one step of a plan and leave its stamp: ``python -m workflow.step runs/quick/plan.json train/phantom-polyp/ehanet/seed0``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from ehanet.files import write_atomically
from ehanet.fingerprint import digest
from ehanet.reporting import repeated_report
from ehanet.steps import StepError, run_step
from workflow.gpus import one_gpu
from workflow.plan import Step, code_hashes, read_plan
from workflow.processes import end_with_parent


def main(plan: str, step_id: str) -> int:
    """Run the step; returns the exit status, with one line about how it went."""
    end_with_parent()  # a training that nobody waits for would disturb the next one
    try:
        steps = read_plan(plan)
        if step_id not in steps:
            raise StepError(f"no step of {plan}, which has {', '.join(steps)}")
        seconds = run(steps[step_id])
    except (StepError, ValueError, OSError) as error:
        print(f"{step_id}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return 1
    print(f"done  {step_id}  {seconds:.0f} s", flush=True)
    return 0


def run(step: Step) -> float:
    """Run a step, check that all its outputs are there, write the stamp; returns the seconds it took.

    Raises:
        StepError: the notebook failed, an output is missing, or the code is not what the plan was made with.
    """
    if code_hashes(step.kind, **step.code) != (step.parts["notebook"], step.parts["modules"]):
        raise StepError("its code has changed since make paper began; run make paper again")
    Path(step.stamp).unlink(missing_ok=True)
    if step.kind == "train":
        _forget_other_training(step)
    started = time.monotonic()
    if step.notebook:
        with one_gpu() if step.kind == "train" else nullcontext():
            run_step(step.notebook, step.parameters, step.executed)
    else:
        make_page(**step.parameters)
    missing = [path for path in step.outputs if not Path(path).is_file()]
    if missing:
        raise StepError(f"it ended without {', '.join(missing)}")
    if step.kind == "train":
        Path(step.parameters["run_dir"], "last.pt").unlink(missing_ok=True)  # several times as large as best.pt, and only of use to an unfinished run
    seconds = time.monotonic() - started
    write_atomically(Path(step.stamp), json.dumps({"parts": step.parts, "seconds": round(seconds, 1)}, indent=1) + "\n")
    return seconds


def _forget_other_training(step: Step) -> None:
    """Remove a run folder that other code, data or settings made: going on from its checkpoint would mix the two.

    A folder without our mark was trained by hand; ``fit`` takes it if its configuration is this one, and refuses it otherwise.
    """
    folder = Path(step.parameters["run_dir"])
    aside = folder.with_name(f".{folder.name}-before")
    shutil.rmtree(aside, ignore_errors=True)  # what a kill has left of it
    mark, key = folder / "made_from.txt", digest(step.parts)
    if mark.is_file() and mark.read_text().strip() != key:
        folder.rename(aside)  # a kill while removing must not leave a finished run without its mark
        shutil.rmtree(aside)
    write_atomically(mark, key + "\n")


def make_page(reports: str, title: str) -> None:
    """HTML of every executed notebook, and the page that shows it all, the trainings that were repeated included."""
    for page in Path(reports, "notebooks").glob("*.html"):
        if not page.with_suffix(".ipynb").is_file():
            page.unlink()
    if Path(reports, "repeated").is_dir():
        repeated_report(reports)
    notebooks = sorted(path for path in Path(reports, "notebooks").glob("*.ipynb") if not path.stem.endswith(".failed"))
    commands = [["-m", "workflow.html", *map(str, notebooks)], ["-m", "ehanet.reporting", reports, "--title", title]]
    for command in commands if notebooks else commands[1:]:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        if done.returncode:
            raise StepError(f"{command[1]} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
