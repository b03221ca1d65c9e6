"""What made this file: one JSON record beside every artefact. Its keys are those of ``ehanet.record_schema``."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import ehanet
from ehanet.files import file_sha256, part_path, write_atomically, write_json
from ehanet.fingerprint import modules_sha256
from ehanet.record_schema import SCHEMA, check_record, record_id

LIBRARIES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "scipy", "pandas", "matplotlib", "pillow")


def write_record(path: str | Path, kind: str, modules: list[str] = (), **fields) -> dict:
    """Write the record of an artefact atomically and return it.

    Args:
        kind: one of ``ehanet.record_schema.KINDS``.
        modules: the package modules that made the artefact; they and all they import are hashed by content.
        fields: what applies of config, seed, data, device, seconds, inputs, warnings and the other keys of the schema.

    Raises:
        ValueError: a key that the schema does not have, or one that it wants and that is missing.
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
    record["id"] = record_id(record)
    check_record(json.loads(json.dumps(record)))  # as it will be read
    write_json(path, record)
    return record


def read_record(path: str | Path) -> dict:
    """Read a record; a damaged or altered file, or one of another schema, is a ``ValueError`` naming it."""
    path = Path(path)
    try:
        record = json.loads(path.read_text())
        schema, _ = record["schema"], record["id"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"record {path} is damaged ({type(error).__name__}); remove it and run the step again") from error
    if schema != SCHEMA:
        raise ValueError(f"record {path} has schema {schema}, this version reads {SCHEMA}; run the step again")
    try:
        check_record(record)
    except ValueError as error:
        raise ValueError(f"record {path} is damaged ({error}); remove it and run the step again") from None
    return record


def id_of(path: Path) -> str | None:
    """The id that a record names, to look for one among many; None where it cannot be read: opening that one says so."""
    try:
        return json.loads(path.read_text())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_record(run_dir: str | Path, folder: str | Path) -> None:
    """Copy a run's history and its record into a report; the record last, since scores count beside the record that they were made from."""
    for name in ("history.csv", "record.json"):
        write_atomically(Path(folder, name), Path(run_dir, name).read_bytes())


def table_parts(table: str | Path, record: dict) -> list[Path]:
    """The files of a CSV table: itself, or its parts where ``csv_sha256`` in its record is a list."""
    written = record.get("csv_sha256")
    return [part_path(table, number) for number in range(1, 1 + (len(written) if isinstance(written, list) else 1))]


def read_beside(table: str | Path) -> dict:
    """The record beside a CSV file, or beside its parts (``csv_sha256`` is then a list).

    Raises:
        FileNotFoundError: the record, or a part, is not there.
        ValueError: the record is damaged, or a file is not the one it was written for.
    """
    table = Path(table)
    if not table.with_suffix(".json").is_file():
        raise FileNotFoundError(f"{table} has no record beside it ({table.with_suffix('.json').name}); run its step again")
    record = read_record(table.with_suffix(".json"))
    written = record.get("csv_sha256")
    if written and [file_sha256(part) for part in table_parts(table, record)] != (written if isinstance(written, list) else [written]):
        raise ValueError(f"{table} was altered after it was written (its record {record['id']} has another hash); remove it and run its step again")
    return record


def _commit() -> dict:
    """The checkout's commit and whether the package differed from it; outside a checkout the commit that ``git archive`` (and so a download of the
    sources as an archive) writes into commit.txt, else None. Installed inside somebody's own repository, it is none of that repository's files."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", Path(__file__).parent, *arguments], capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(git("status", "--porcelain", "--", ".").strip())}
    except (OSError, subprocess.CalledProcessError):
        commit = (Path(__file__).parent / "commit.txt").read_text().strip()
        return {"commit": None if commit.startswith("$") else commit, "dirty": None}


def _libraries() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
