"""Where a number of a report comes from: ``make trace N=0.894``, or ``ehanet.trace("0.894", "reports/laptop")``.

A number is looked for as it is printed: 0.894 finds every cell that rounds to it, the mean Dice of a comparison first, ends of intervals last; without PROFILE
in all reports. What made a cell is followed from record to record: the table, the scores image by image, the training; each with its data, commit and hash of code.
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

import numpy as np
import pandas as pd

from ehanet.metrics.scores import SCORES, read_scores
from ehanet.metrics.statistics import collect
from ehanet.records import read_beside, read_record

NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
ENDS = {"_low": "lower end of the 95 % interval of ", "_high": "upper end of the 95 % interval of ", "": ""}
SHOWN = 5  # cells written out in full


@dataclass(frozen=True)
class Origin:
    """One cell that holds the number, and the records behind it.

    Attributes:
        table: the CSV. row, column: as people read them. value: unrounded. key: the column's name in the CSV.
        records: (path, record) from the table down to the trainings; a record that is not there any more is None.
        computed: the same mean taken again from the images' scores, where the column is one of theirs.
    """

    table: Path
    row: str
    column: str
    value: float
    records: list[tuple[str, dict | None]] = field(default_factory=list)
    computed: float | None = None
    key: str = ""


def trace(number: str | float, reports: str | Path) -> list[Origin]:
    """Every cell of the tables in ``reports``/tables that is printed as ``number``, with what made it: mean Dice first, ends of intervals last.

    Args:
        reports: folder of a report, or of all reports.

    Raises:
        FileNotFoundError: no such report. ValueError: no number, or a table or record on the way is damaged or altered.
    """
    reports = Path(reports)
    places = [reports] if (reports / "tables").is_dir() else sorted(path.parent for path in reports.glob("*/tables"))
    if not places:
        known = ", ".join(sorted(path.parent.name for path in reports.parent.glob("*/tables"))) or "none"
        raise FileNotFoundError(f"{reports} has no tables; there are reports of: {known}")
    found = {place: cells for place in places if (cells := _find(number, place))}
    origins = [_origin(*cell, known) for place, cells in found.items() for known in [_records(place)] for cell in cells]
    return sorted(origins, key=lambda origin: (origin.column.startswith(tuple(filter(None, ENDS.values()))), not _is_mean_dice(origin.table, origin.key),
                                               not origin.table.name.startswith("comparison_")))


def _find(number: str | float, reports: Path) -> list[tuple[Path, dict, str, float]]:
    """(CSV, row, column, value) of every cell of a report that is printed as ``number``."""
    text = str(number).replace("−", "-").strip(" %")
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{number!r} is no number; give one as a table prints it, as in N=0.894")
    return [(path, *cell) for path in sorted((reports / "tables").glob("*.csv")) for cell in _cells(path) if _printed_as(cell[2], text)]


def _is_mean_dice(path: Path, column: str) -> bool:
    return path.name.startswith("comparison_") and column == "dice"


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
        mean = collect({"": [read_scores(place) for place in scores]}, name).values[0]  # over the images where every seed has the score, as the table's
        computed = float(np.nanmean(mean))
    return Origin(path, next(iter(row.values())), ENDS[end] + titles.get(key, key), value, chain, computed, name)


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
    parser.add_argument("reports", type=Path, help="folder of a profile's report, such as reports/laptop, or of all reports")
    options = parser.parse_args(arguments)
    try:
        origins = trace(options.number, options.reports)
        one = (options.reports / "tables").is_dir()
        others = {path.parent.name: _find(options.number, path.parent) for path in sorted(options.reports.parent.glob("*/tables")) if one and path.parent != options.reports}
        for origin in origins[:SHOWN]:
            print(describe(origin), "", sep="\n")
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    if more := origins[SHOWN:]:
        listed = [f"  {origin.table}, {origin.row}, {origin.column}" for origin in more[:2 * SHOWN]]
        print(f"and {len(more)} more cells:", *listed, *["  ..."] * (len(more) > len(listed)), sep="\n")
    elsewhere = [f"{name} (PROFILE={name})" for name, cells in others.items() if any(not origins or _is_mean_dice(path, column) for path, _, column, _ in cells)]
    if origins and elsewhere:
        print(f"Also a mean Dice of: {', '.join(elsewhere)}")
    if origins:
        return 0
    way = f"it does in {', '.join(elsewhere)}" if elsewhere else "give it as a table prints it, as in N=0.894"
    print(f"{options.number} stands in no table of {options.reports}; {way}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
