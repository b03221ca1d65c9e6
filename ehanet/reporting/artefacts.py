"""Write tables and figures with the record that says what made them; the same inputs give the same bytes.

A record carries the time it was written, and each figure its record's id, so a rebuild would change every file. A record
is therefore kept as it is when nothing in it that decides the artefact has changed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ehanet.files import write_json
from ehanet.records import read_record, write_record

SUFFIXES = ("csv", "md", "tex", "png", "pdf", "json")  # of a table and its record, of a figure and its record
UNDECIDED = ("id", "created", "machine")  # what may differ while the artefact stays the same


def make_record(path: str | Path, kind: str, modules: list[str], **fields) -> dict:
    """The record for an artefact at ``path`` without suffix: the one that lies there if it still holds, else a new one, not yet written."""
    target = Path(path).with_name(Path(path).name + ".json")
    with tempfile.TemporaryDirectory() as folder:
        new = write_record(Path(folder) / "record.json", kind, modules=modules, **fields)
    new = json.loads(json.dumps(new))
    try:
        old = read_record(target)
    except (OSError, ValueError):
        return new
    return old if _deciding(old) == _deciding(new) else new


def discard(*stems: Path) -> None:
    """Remove tables or figures that are made no more; ``stems``: their paths without suffix. Pages and figures of others would go on showing them."""
    for stem in stems:
        for suffix in SUFFIXES:
            stem.with_name(f"{stem.name}.{suffix}").unlink(missing_ok=True)


def _deciding(record: dict) -> dict:
    kept = {key: value for key, value in record.items() if key not in UNDECIDED}
    return {**kept, "code": kept.get("code", {}).get("modules")}


def put_record(path: str | Path, record: dict) -> None:
    """Write the record beside its artefact: the last file, so an artefact with a record is complete."""
    write_json(Path(path).with_name(Path(path).name + ".json"), record)
