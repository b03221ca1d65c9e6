"""Where a number of a report comes from: ``make trace N=0.894 PROFILE=laptop``, or ``ehanet.trace("0.894", "reports/laptop")``.

A number is looked for as it is printed: 0.894 finds every cell that rounds to it. What made a cell is followed from record
to record: the table, the scores image by image, the training; each with its data, commit and hash of code.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ehanet.metrics.scores import SCORES, read_scores
from ehanet.records import read_beside, read_record

NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
ENDS = {"_low": "lower end of the 95 % interval of ", "_high": "upper end of the 95 % interval of ", "": ""}
SHOWN = 5  # cells written out in full


@dataclass(frozen=True)
class Origin:
    """One cell that holds the number, and the records behind it.

    Attributes:
        table: the CSV. row, column: as people read them. value: unrounded.
        records: (path, record) from the table down to the trainings; a record that is not there any more is None.
        computed: the same mean taken again from the images' scores, where the column is one of theirs.
    """

    table: Path
    row: str
    column: str
    value: float
    records: list[tuple[str, dict | None]] = field(default_factory=list)
    computed: float | None = None


def trace(number: str | float, reports: str | Path) -> list[Origin]:
    """Every cell of the tables in ``reports``/tables that is printed as ``number``, with what made it.

    Raises:
        FileNotFoundError: no such report. ValueError: no number, or a table or record on the way is damaged or altered.
    """
    text, reports = str(number).replace("−", "-").strip(" %"), Path(reports)
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{number!r} is no number; give one as a table prints it, as in N=0.894")
    if not (reports / "tables").is_dir():
        known = ", ".join(sorted(path.parent.name for path in reports.parent.glob("*/tables"))) or "none"
        raise FileNotFoundError(f"{reports} has no tables; there are reports of: {known}")
    known = _records(reports)
    return [_origin(path, row, name, value, known) for path in sorted((reports / "tables").glob("*.csv"))
            for row, name, value in _cells(path) if _printed_as(value, text)]


def describe(origin: Origin) -> str:
    """The origin of a number in a few lines: table, scores, trainings, data."""
    again = "" if origin.computed is None else f" (the mean of the images' scores, taken again: {origin.computed:.6g})"
    lines = [f'{origin.table}, row "{origin.row}", column "{origin.column}": {origin.value:g}{again}']
    manifests = {}
    for place, record in origin.records:
        lines.append(f"  {record['kind']:7} {_facts(record)}" if record else f"  {place}: in neither the report nor runs; the records above say what is known")
        if record and record["kind"] == "scores":
            lines.append(f"          {_images(Path(place).with_suffix('.csv'))}")
        if record and record["kind"] in ("scores", "run"):
            manifests[record["data"]["content"]] = record["data"]
            lines += [f"          note: {warning}" for warning in record["warnings"] if record["kind"] == "run"]
    return "\n".join(lines + [f"  data    {_manifest(manifest)}" for manifest in manifests.values()])


def _cells(path: Path) -> Iterator[tuple[dict, str, float]]:
    """(row, column, number) of each cell of a CSV that is a number."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if isinstance(text, str) and NUMBER.fullmatch(bare := text.strip(" %<").replace("−", "-")):
                    yield row, name, float(bare)


def _printed_as(value: float, text: str) -> bool:
    """Whether ``value`` rounds to ``text`` at its number of decimals; a whole number is meant exactly."""
    if "." not in text or "e" in text.lower():
        return value == float(text)
    return f"{value:.{len(text.split('.')[1])}f}" == f"{float(text):.{len(text.split('.')[1])}f}"


def _records(reports: Path) -> dict[str, Path]:
    """Record id -> file, of the report and of the runs of its profile."""
    found = {}
    for path in [*Path("runs", reports.name).glob("*/*/seed*/record.json"), *reports.rglob("*.json")]:
        try:
            found[json.loads(path.read_text())["id"]] = path
        except (ValueError, KeyError, TypeError):
            continue  # no record
    return found


def _origin(path: Path, row: dict, name: str, value: float, known: dict[str, Path]) -> Origin:
    record = read_beside(path) if path.with_suffix(".json").is_file() else None
    end = next(end for end in ENDS if name.endswith(end))
    key = name.removesuffix(end)
    titles = {column[0]: column[1] for column in (record or {}).get("table", {}).get("columns", [])}
    chain = [(str(path), record)]
    own = row.get("label") if not path.name.startswith(("differences_", "ladder_")) else None  # a difference depends on every row
    chain += _followed((row.get("made_from") or "").split() or (record or {}).get("inputs", []), known, own)
    scores = [Path(place).with_suffix(".csv") for place, found in chain[1:] if found and found["kind"] == "scores"]
    computed = None
    if path.name.startswith("comparison_") and name in SCORES and scores:
        computed = float(pd.concat([read_scores(place) for place in scores])[name].mean())
    return Origin(path, next(iter(row.values())), ENDS[end] + titles.get(key, key), value, chain, computed)


def _followed(ids: list[str], known: dict[str, Path], label: str | None) -> list[tuple[str, dict | None]]:
    """The records of these ids and of all that they were made from; with ``label`` only those of its runs, where it has some."""
    found = [(str(known.get(id, f"record {id}")), read_record(known[id]) if id in known else None) for id in ids]
    own = [item for item in found if label and item[1] and item[1].get("config", {}).get("label") == label]
    chain = []
    for place, record in own or found:
        if record and record["kind"] == "scores":
            read_beside(Path(place).with_suffix(".csv"))
        chain += [(place, record), *_followed((record or {}).get("inputs", []), known, None)]
    return chain


def _facts(record: dict) -> str:
    """One line: which record, of what, with which code, when."""
    code = record["code"]
    commit = "outside git" if code["commit"] is None else f"commit {code['commit'][:12]}" + (" with changes" if code["dirty"] else "")
    facts = [f"record {record['id']} of {record['created'][:10]}", commit, *(f"{name} {value[:12]}" for name, value in code["modules"].items())]
    if record["kind"] == "scores" and "config" in record:
        config = record["config"]
        facts.append(f"{record.get('run', record['config'].get('label'))}: {config['method']}, {config['epochs']} epochs, encoder {record['encoder']}")
    elif record["kind"] == "run":
        facts.append(f"seed {record['seed']}, {record['steps']} steps in {record['seconds']:.0f} s on {record['device']['name']}, {record['precision']}")
    return ", ".join(facts)


def _images(path: Path) -> str:
    frame = pd.read_csv(path, dtype={"image": str}).sort_values("dice")
    low, high = (f"{frame['dice'].iloc[end]:.3f} ({frame['image'].iloc[end]})" for end in (0, -1))
    return f"{len(frame)} rows, {frame['image'].nunique()} images, in {path}; Dice from {low} to {high}"


def _manifest(manifest: dict) -> str:
    files = ", ".join(f"{source['file']} (SHA-256 {source['sha256'][:12]})" for source in manifest["sources"]) or "code"
    counts = "/".join(str(count) for count in manifest["split"].get("counts", {}).values())
    return (f"{manifest['name']}: {manifest['count']} images at {manifest['size']} px from {files}, content {manifest['content'][:12]}, "
            f"split {counts} by {manifest['split']['source']} ({manifest['split']['sha256'][:12]})")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 where the number is not found."""
    parser = argparse.ArgumentParser(prog="python -m ehanet.reporting.trace", description=__doc__.splitlines()[0])
    parser.add_argument("number", help="as a table prints it")
    parser.add_argument("reports", type=Path, help="folder of a profile's report, such as reports/laptop")
    options = parser.parse_args(arguments)
    try:
        origins = trace(options.number, options.reports)
        if not origins:
            others = [path.parent.name for path in sorted(options.reports.parent.glob("*/tables")) if path.parent != options.reports
                      and trace(options.number, path.parent)]
            way = "; it does in " + ", ".join(f"{name} (PROFILE={name})" for name in others) if others else "; give it as a table prints it, as in N=0.894"
            print(f"{options.number} stands in no table of {options.reports}{way}", file=sys.stderr)
            return 1
        for origin in origins[:SHOWN]:
            print(describe(origin), "", sep="\n")
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    if origins[SHOWN:]:
        print(f"and {len(origins) - SHOWN} more cells: " + "; ".join(f"{o.table.name}, {o.row}, {o.column}" for o in origins[SHOWN:2 * SHOWN])
              + (" ..." if origins[2 * SHOWN:] else "") + ". More digits find fewer.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
