"""``make bench``: every benchmark, each group in a process of its own, into benchmarks/results/<machine>.{csv,md}.

    python -m benchmarks                all groups
    python -m benchmarks losses memory  some of them; the lines of the others stay as they were
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

GROUPS = ("inference", "training", "memory", "losses", "startup")
FOLDER = Path(__file__).resolve().parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main() -> int:
    """Run the groups that were asked for and write the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios of the plain released way to ours, on this machine.")
    parser.add_argument("groups", nargs="*", metavar="group", help=f"some of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [group for group in arguments.groups if group not in GROUPS]
    if unknown:
        parser.error(f"unknown group {unknown[0]!r}; known: {', '.join(GROUPS)}")
    if arguments.inside:
        print(json.dumps(measure(arguments.groups[0])))
        return 0
    for group in arguments.groups or GROUPS:
        print(f"{group} ...", flush=True)
        done = subprocess.run([sys.executable, "-m", "benchmarks", "--inside", group], cwd=FOLDER.parent, env=os.environ | dict.fromkeys(THREADS, "1"),
                              stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{group} failed; its lines stay as they were", file=sys.stderr)
            return 1
        path = write(group, json.loads(done.stdout.splitlines()[-1]))
    print(path.read_text())
    print(path)
    return 0


def measure(group: str) -> dict:
    """The lines of one group and the machine, in this process."""
    import torch

    from benchmarks.timing import peak
    from ehanet.devices import compute_dtype, describe_device, find_device

    device = find_device()
    peaks, what = peak(device), describe_device(device)
    if device.type == "cpu" and compute_dtype("auto", device) == torch.bfloat16:
        what["name"] += ", bfloat16"  # processors of one name differ in it, and so do their figures
    rows = import_module(f"benchmarks.{group}").rows(device, peaks)
    return {"rows": [asdict(row) for row in rows],
            "machine": {**what, "torch": torch.__version__, "python": platform.python_version(), "system": platform.system(),
                        **{f"peak_{str(dtype).removeprefix('torch.')}_gmac_s": round(value / 1e9, 1) for dtype, value in peaks.items()}}}


def write(group: str, found: dict) -> Path:
    """Put a group's lines into this machine's table; returns the Markdown file."""
    import pandas as pd

    from ehanet.files import write_atomically

    machine = found["machine"]
    stem = re.sub(r"[^a-z0-9]+", "-", f"{machine['name']} {machine['threads']} thread".lower()).strip("-")
    path = FOLDER / "results" / f"{stem}.csv"
    path.parent.mkdir(exist_ok=True)
    frame = pd.DataFrame(found["rows"]).assign(group=group, **machine)
    if path.is_file():
        old = pd.read_csv(path)
        frame = pd.concat([old[old["group"] != group], frame])
    frame = frame.sort_values("group", key=lambda column: column.map(GROUPS.index), kind="stable")
    write_atomically(path, frame.to_csv(index=False, float_format="%.5g"))
    page = path.with_suffix(".md")
    write_atomically(page, table(frame))
    return page


def table(frame) -> str:
    """Markdown of a machine's lines."""
    from benchmarks.timing import words

    first = frame.iloc[-1]
    peaks = ", ".join(f"{_range(frame[f'peak_{name}_gmac_s'])} in {name}" for name in ("float32", "bfloat16"))
    lines = [f"# {first['name']}, {first['threads']} thread{'s' * int(first['threads'] > 1)}", "",
             f"torch {first['torch']}, Python {first['python']}, {first['system']}; matrix product at most {peaks} (giga multiply-accumulates a second).", "",
             "Ratio: seconds of the plain released way over ours, measured in turn, with the middle half of the repetitions. Limit: the ratio at which every "
             "multiplication ran at the machine's peak. On a CPU seconds are of the processor, but for the group startup. Target: the issue's, or 40 % of the limit.", "",
             "| group | what | plain | ours | ratio | target | limit | note |", "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for row in frame.itertuples():
        times = ["", ""] if row.group == "memory" else [words(row.plain), words(row.ours)]
        target = "" if row.target != row.target or row.target is None else f"{row.target:.2g} {'met' if row.ratio >= row.target else 'MISSED'}"
        limit = "" if row.limit != row.limit or row.limit is None else f"{row.limit:.2g}"
        lines.append(f"| {row.group} | {row.what} | {times[0]} | {times[1]} | {row.ratio:.2f} [{row.low:.2f}-{row.high:.2f}] | {target} | {limit} | "
                     f"{row.note if row.note == row.note else ''} |")
    return "\n".join(lines) + "\n"


def _range(values) -> str:
    """A machine's peak as the groups found it, each when it was measured: virtual machines of one name differ from day to day."""
    low, high = (f"{value:.0f}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    sys.exit(main())
