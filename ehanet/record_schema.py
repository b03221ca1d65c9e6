"""What a record may hold, schema 1: each key, its form, the kinds of record that must have it, and what it means.

:func:`check_record` compares a record with this list; every record is compared when it is written and when it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import NamedTuple

SCHEMA = 1
KINDS = ("data", "run", "scores", "table", "figure", "model")


class Key(NamedTuple):
    """Form of a value (a name of ``FORMS``), the kinds that must have the key, and its meaning."""

    form: str
    needed: tuple[str, ...]
    meaning: str


FORMS = {
    "text": lambda value: isinstance(value, str),
    "text or null": lambda value: value is None or isinstance(value, str),
    "bool or null": lambda value: value is None or isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "time": lambda value: isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", value) is not None,
    "id": lambda value: isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16}", value) is not None,
    "ids": lambda value: isinstance(value, list) and all(map(FORMS["id"], value)),
    "sha256": lambda value: isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None,
    "hashes": lambda value: value is None or FORMS["sha256"](value) or isinstance(value, list) and all(map(FORMS["sha256"], value)),
    "texts": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "images": lambda value: FORMS["integer"](value) or FORMS["texts"](value),
    "rows": lambda value: isinstance(value, list) and all(isinstance(item, dict) for item in value),
    "mapping": lambda value: isinstance(value, dict),
    "mapping or null": lambda value: value is None or isinstance(value, dict),
    "names": lambda value: isinstance(value, dict) and all(isinstance(item, str) for item in value.values()),
}

# A dotted key lies in the mapping before the dot, and is compared where that is there. <what>_sha256 may be added to any record.
SCHEMA_KEYS = {
    "schema": Key("integer", KINDS, "version of this list"),
    "id": Key("id", KINDS, "first 16 hex digits of the SHA-256 of all the rest"),
    "kind": Key("text", KINDS, f"one of {', '.join(KINDS)}"),
    "created": Key("time", KINDS, "when it was written, UTC"),
    "started": Key("time", (), "when the training, or its last part after an interruption, began, UTC"),
    "code": Key("mapping", KINDS, "which code made the artefact"),
    "code.version": Key("text", KINDS, "of the package"),
    "code.commit": Key("text or null", KINDS, "of the checkout, null outside one"),
    "code.dirty": Key("bool or null", KINDS, "whether the package differed from that commit"),
    "code.modules": Key("names", KINDS, "module -> SHA-256 of its code and of all it imports, without comments and docstrings"),
    "libraries": Key("names", KINDS, "name -> version"),
    "machine": Key("mapping", KINDS, "system, Python and number of processors"),
    "config": Key("mapping", ("run",), "the run's configuration, see ehanet.config.RunConfig"),
    "seed": Key("integer", ("run",), "of the run"),
    "data": Key("mapping", ("data", "run", "scores"), "the data set's manifest"),
    "data.name": Key("text", ("data", "run", "scores"), "of the data set"),
    "data.content": Key("sha256", ("data", "run", "scores"), "of the decoded images, masks and ids"),
    "data.split": Key("mapping", ("data", "run", "scores"), "source, seed and counts of the split"),
    "data.split.sha256": Key("sha256", ("data", "run", "scores"), "of the split: which image lies in which part"),
    "device": Key("mapping", ("run",), "type, name and threads of what computed, of scores: of what trained"),
    "precision": Key("text", ("run",), "of the training's forward pass: float32 or bfloat16"),
    "seconds": Key("number", ("run",), "of training, interruptions left out"),
    "steps": Key("integer", ("run",), "optimizer steps"),
    "peak_memory_bytes": Key("integer", ("run",), "of the GPU, else of the process"),
    "encoder": Key("text", ("run",), 'how the encoder began and whether it was trained; "none" where there is none'),
    "best": Key("mapping", ("run",), "epoch and validation scores of the checkpoint that was kept"),
    "run": Key("text", (), "<profile>/<data set>/<label>/seed<k>"),
    "trained_at": Key("text or null", (), "commit of the checkout when the run was trained"),
    "note": Key("text or null", (), "where the method deviates from its paper"),
    "inputs": Key("ids", ("scores",), "ids of the records that it was made from"),
    "warnings": Key("texts", ("run",), "what to know before using the numbers: unofficial data, random encoder"),
    "table": Key("mapping", ("table",), "caption, mark, notes and columns"),
    "mark": Key("text or null", (), '"reproduced here", "phantom data" or "published"'),
    "images": Key("images", (), "ids of the images that a figure shows, or how many were scored"),
    "trained_on": Key("mapping", (), "manifest of the data set that the scored runs learned from, where it is another"),
    "absent": Key("rows", (), "methods without numbers, and why"),
    "about": Key("mapping", (), "what only this artefact has: settings of a study, of an export"),
}


def record_id(record: dict) -> str:
    """The id that belongs to a record's content."""
    content = {key: value for key, value in record.items() if key != "id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_record(record: dict) -> None:
    """Compare a record with the list above.

    Raises:
        ValueError: an unknown or missing key, a value of another form, an unknown kind, or an id that is not the content's.
    """
    kind = record.get("kind")
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is none of {', '.join(KINDS)}")
    for name in record:
        if name not in SCHEMA_KEYS and not name.endswith("_sha256"):
            raise ValueError(f"unknown key {name!r}; put it into 'about', or describe it in ehanet/record_schema.py")
        if name.endswith("_sha256") and not FORMS["hashes"](record[name]):
            raise ValueError(f"{name}: expected hashes, got {record[name]!r}")
    for name, key in SCHEMA_KEYS.items():
        found, value = _find(record, name)
        if not found and kind in key.needed:
            raise ValueError(f"{name} is missing in a record of kind {kind!r}")
        if found and not FORMS[key.form](value):
            raise ValueError(f"{name}: expected {key.form}, got {str(value)[:80]!r}")
    if record["id"] != record_id(record):
        raise ValueError(f"its id is {record['id']}, that of its content {record_id(record)}: it was altered after it was written")


def _find(record: dict, name: str) -> tuple[bool, object]:
    """Whether a dotted key is there, and its value."""
    value: object = record
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value
