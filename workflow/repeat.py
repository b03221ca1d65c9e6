"""The front door behind ``make repeat``: train a recorded run again, and lay what comes out beside the record.

    python -m workflow.repeat decoders/kvasir-seg/ehanet/seed0 --source ../shared/data
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from workflow.paper import Lock, weights_folder


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status; what goes wrong is said in one line."""
    parser = argparse.ArgumentParser(prog="python -m workflow.repeat", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="<profile>/<data set>/<label>/seed<k>, the run's folder in a report, or its record's id")
    parser.add_argument("--source", default="", help="folder of archives or unpacked folders of the real data sets")
    parser.add_argument("--weights", default="", help="folder of encoder weights; default: weights beside the source folder")
    options = parser.parse_args(arguments)
    try:
        if not options.run:
            raise ValueError("RUN: give the run to repeat, as in RUN=decoders/kvasir-seg/ehanet/seed0; the runs lie in reports/<profile>/runs")
        if folder := weights_folder(options.weights, options.source):
            os.environ["EHANET_WEIGHTS"] = str(Path(folder).resolve())
        return repeat(options.run, options.source or None)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. make repeat goes on at the next epoch.", file=sys.stderr)
        return 130


def repeat(run: str, source: str | None) -> int:
    """Say what will be trained, train it, say what came out."""
    from ehanet.records import read_record
    from ehanet.repeat import find_recorded, repeat_run, run_name
    from ehanet.reporting import repeated_report
    from ehanet.reporting.wording import machine

    folder = find_recorded(run)
    record, report = read_record(folder / "record.json"), folder.parents[3]
    print(f"{run_name(folder)}, record {record['id']}: {record['config']['epochs']} epochs, {record['steps']} steps, {record['seconds']:.0f} s on {machine(record)}.", flush=True)
    with Lock(f"repeated/{record['id']}"):
        again = repeat_run(folder, source)
    print(f"Repeated in {again['seconds']:.0f} s on {machine(again)}.")
    with Lock(report.name, wait=True):  # its tables and figures are those that make paper writes
        rows = repeated_report(report).rows
    for row in rows:
        if row["run"] == record["id"]:
            change = row["dice_change"]
            print(f"{row['dataset']}: test Dice {row['dice_before'].mean:.4f} recorded, {row['dice_after'].mean:.4f} repeated, {change.mean:+.4f} [{change.low:+.4f} to {change.high:+.4f}]; "
                  f"weights: {row['weights']}; other seeds of the row: {row['others']}.")
    print(f"Beside each other: {report}/tables/repeated.md; the profile's make report puts it on the page.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
