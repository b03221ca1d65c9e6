"""Decoded images on disk: each data set and size in a folder of its own, read by memory map.

    <cache>/datasets/<name>-<size>px-<key>/{images.npy, masks.npy, manifest.json}

The key is a digest of the sources' content, the size and the importer's version. A folder is built under a temporary name
and renamed when complete, so two writers cannot disturb each other; the manifest's content hash is compared at the first
load in a process, and a damaged folder is built anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir

from ehanet.data.importers import Row

_LOCK = "lock"  # held by the process that builds an entry
_verified: set[tuple] = set()  # (file, size, mtime) of arrays whose content this process has compared


def cache_root() -> Path:
    """EHANET_CACHE, else the user's cache folder."""
    return Path(os.environ.get("EHANET_CACHE") or user_cache_dir("ehanet")).expanduser()


def entry_folder(name: str, size: int, ingredients: list[str]) -> Path:
    """Folder of a data set made from ``ingredients`` (content hashes, versions) at ``size`` pixels."""
    key = hashlib.sha256("\n".join([name, str(size), *ingredients]).encode()).hexdigest()[:16]
    return cache_root() / "datasets" / f"{name}-{size}px-{key}"


def content_sha256(images: np.ndarray, masks: np.ndarray, ids: list[str]) -> str:
    """SHA-256 of the bytes of images, masks and the ids joined by newlines."""
    digest = hashlib.sha256()
    for array in (images, masks):
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    digest.update("\n".join(ids).encode())
    return digest.hexdigest()


def read_entry(folder: Path) -> tuple[np.ndarray, np.ndarray, dict] | None:
    """Images, masks (memory-mapped, read-only) and manifest; None where the folder is missing, damaged or incomplete."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files = [folder / "images.npy", folder / "masks.npy"]
        images, masks = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
        stats = [file.stat() for file in files]
        mark = (folder, manifest["content"], *((stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in stats))
        if mark not in _verified:
            if content_sha256(images, masks, manifest["ids"]) != manifest["content"] or len(manifest["groups"]) != len(images):
                return None
            _verified.add(mark)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return images, masks, manifest


def write_entry(folder: Path, ids: list[str], groups: list[str], rows: Iterable[Row], size: int, facts: dict) -> None:
    """Write a complete folder from decoded rows, in the order of ``ids``.

    Args:
        facts: what else belongs into the manifest (name, sources, licence, warnings, ...).

    Raises:
        ValueError: every mask is empty.
        OSError: full disk or no permission, naming the cache folder; nothing is left behind.
    """
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        temporary = Path(tempfile.mkdtemp(dir=parent, prefix=f".building-{folder.name}-"))
    except OSError as error:
        raise _unwritable(error) from error
    try:
        with (temporary / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            manifest = _write_arrays(temporary, ids, groups, rows, size, facts)
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
            (temporary / _LOCK).unlink()
            os.chmod(temporary, 0o755)
            _publish(temporary, folder)
    except OSError as error:
        if error.filename is None or Path(error.filename).is_relative_to(parent):
            raise _unwritable(error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_arrays(temporary: Path, ids: list[str], groups: list[str], rows: Iterable[Row], size: int, facts: dict) -> dict:
    """Stream rows into two .npy files (a plain write meets a full disk with an error, a memory map with a crash)."""
    sizes, empty, vanished = Counter(), 0, 0
    with (temporary / "images.npy").open("wb") as images, (temporary / "masks.npy").open("wb") as masks:
        for file, shape in ((images, (len(ids), size, size, 3)), (masks, (len(ids), size, size))):
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            images.write(row.image.tobytes())
            masks.write(row.mask.tobytes())
            sizes[f"{row.width}x{row.height}"] += 1
            empty += not row.mask.any()
            vanished += not row.mask.any() and not row.empty
    if empty == len(ids):
        raise ValueError(f"{facts['name']}: all {empty} masks are empty at {size} x {size} pixels; check that they are the right files")
    warnings = list(facts["warnings"])
    if vanished:
        warnings.append(f"{vanished} masks with foreground are empty at {size} x {size} pixels")
    arrays = [np.load(temporary / name, mmap_mode="r") for name in ("images.npy", "masks.npy")]
    return {
        **facts,
        "size": size,
        "count": len(ids),
        "content": content_sha256(*arrays, ids),
        "original_sizes": dict(sizes.most_common()),
        "empty_masks": empty,
        "warnings": warnings,
        "ids": ids,
        "groups": groups,
    }


def _publish(temporary: Path, folder: Path) -> None:
    """Rename the finished folder into place; a sound one that another writer put there first is kept."""
    for _ in range(10):
        try:
            os.rename(temporary, folder)
            return
        except OSError:
            if not folder.exists():
                raise
        if read_entry(folder) is not None:
            return
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-damaged-"))
        try:
            os.rename(folder, aside / "entry")
        except FileNotFoundError:
            pass  # another writer has moved it aside
        shutil.rmtree(aside, ignore_errors=True)
    raise OSError(f"{folder} cannot be replaced; remove it by hand")


def _sweep(parent: Path) -> None:
    """Remove what killed builds have left: a live one holds its lock, or is younger than a day where it has none."""
    for leftover in parent.glob(".building-*"):
        try:
            if (leftover / _LOCK).exists():
                with (leftover / _LOCK).open() as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            elif time.time() - leftover.stat().st_mtime < 86_400:
                continue
            shutil.rmtree(leftover, ignore_errors=True)
        except OSError:
            continue


def _unwritable(error: OSError) -> OSError:
    way_out = "free space or set EHANET_CACHE to another folder"
    return OSError(error.errno, f"the cache {cache_root()} cannot be written ({error.strerror}); {way_out}")
