"""What made this file: one JSON record beside every artefact.

Schema 1, all keys of a record:
    schema, id (16 hex digits of the content), kind (data, run, scores, table, figure), created (UTC),
    code {version, commit, dirty, modules {name: sha256}}, libraries {name: version}, machine {system, python, processors},
    and, where they apply: config, seed, data {name, content, split sha256, ...}, device, precision, seconds, steps,
    peak_memory_bytes, encoder, encoder_weights_sha256, plugin_sha256, note, best, inputs (ids of the records it was made from), warnings.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import ehanet
from ehanet.files import write_json
from ehanet.fingerprint import modules_sha256

SCHEMA = 1
LIBRARIES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "scipy", "pandas", "matplotlib", "pillow")


def write_record(path: str | Path, kind: str, modules: list[str] = (), **fields) -> dict:
    """Write the record of an artefact atomically and return it.

    Args:
        kind: "data", "run", "scores", "table" or "figure".
        modules: the package modules that made the artefact; they and all they import are hashed by content.
        fields: what applies of config, seed, data, device, seconds, inputs, warnings (see the module's docstring).
    """
    path = Path(path)
    record = {
        "schema": SCHEMA,
        "kind": kind,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "code": {"version": ehanet.__version__, **_commit(), "modules": {name: modules_sha256([name]) for name in modules}},
        "libraries": _libraries(),
        "machine": {"system": platform.platform(), "python": platform.python_version(), "processors": os.cpu_count()},
        **fields,
    }
    if isinstance(record.get("started"), float):
        record["started"] = datetime.fromtimestamp(record["started"], timezone.utc).isoformat(timespec="seconds")
    record["id"] = hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:16]
    write_json(path, record)
    return record


def read_record(path: str | Path) -> dict:
    """Read a record; a damaged file or one of another schema is a ``ValueError`` naming it."""
    path = Path(path)
    try:
        record = json.loads(path.read_text())
        schema, _ = record["schema"], record["id"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"record {path} is damaged ({type(error).__name__}); remove it and run the step again") from error
    if schema != SCHEMA:
        raise ValueError(f"record {path} has schema {schema}, this version reads {SCHEMA}; run the step again")
    return record


def _commit() -> dict:
    """The checkout's commit and whether the package differed from it; None outside a git checkout."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", Path(__file__).parent, *arguments], capture_output=True, text=True, check=True).stdout

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(git("status", "--porcelain", "--", ".").strip())}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _libraries() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
