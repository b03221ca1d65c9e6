"""Decoded images on disk: each data set and size in a folder of its own, read by memory map.

    <cache>/datasets/<name>-<size>px-<key>/{images.npy, masks.npy, manifest.json}

The key is a digest of the sources' content, the size and the importer's version. A folder is built under a temporary name
and renamed when complete, so a reader sees all of it or nothing; the hashes in its manifest are compared at the first
load in a process, and a damaged folder is built anew. Of several writers one builds, holding the kernel's lock on
<cache>/locks/<folder>, and the others wait for its result; what a killed writer has left is removed by the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_dir

from ehanet.data.importers import Row
from ehanet.files import identity
from ehanet.fingerprint import digest

_BUILDING = ".building-"  # then the entry's name, "-" and a random word
_verified: set[tuple] = set()  # identity of the files whose content this process has compared


def cache_root() -> Path:
    """EHANET_CACHE, else the user's cache folder.

    Raises:
        ValueError: EHANET_CACHE begins with ~ and a name that no user has.
    """
    given = os.environ.get("EHANET_CACHE") or user_cache_dir("ehanet")
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise ValueError(f"EHANET_CACHE: there is no user of the name in {given!r}; name another folder") from None


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
        if manifest.pop("seal") != digest(manifest):
            return None
        files = [folder / "images.npy", folder / "masks.npy"]
        images, masks = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
        mark = (folder, manifest["content"], *map(identity, files))
        if mark not in _verified:
            if content_sha256(images, masks, manifest["ids"]) != manifest["content"]:
                return None
            _verified.add(mark)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None
    return images, masks, manifest


def write_entry(folder: Path, ids: list[str], groups: list[str], rows: Iterable[Row], size: int, facts: dict) -> None:
    """Write a complete folder from decoded rows, in the order of ``ids``; waits while another process writes it, and then keeps that one.

    Args:
        facts: what else belongs into the manifest (name, sources, licence, warnings, ...).

    Raises:
        ValueError: every mask is empty.
        OSError: full disk or no permission, naming the cache folder; nothing is left behind.
    """
    try:
        with locked(folder.name):
            if read_entry(folder) is None:
                _sweep(folder.parent, folder.name)
                _build(folder, ids, groups, rows, size, facts)
    except OSError as error:
        place = Path(error.filename) if error.filename else folder
        if place.is_relative_to(cache_root()) and not place.is_relative_to(cache_root() / "downloads"):
            raise _unwritable(error) from error
        raise


def _build(folder: Path, ids: list[str], groups: list[str], rows: Iterable[Row], size: int, facts: dict) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{_BUILDING}{folder.name}-"))
    try:
        manifest = _write_arrays(temporary, ids, groups, rows, size, facts)
        sealed = {**manifest, "seal": digest(manifest)}
        (temporary / "manifest.json").write_text(json.dumps(sealed, indent=1, ensure_ascii=False), encoding="utf-8")
        os.chmod(temporary, 0o755)
        if folder.exists():  # damaged; readers of it keep their files
            os.rename(folder, Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{_BUILDING}{folder.name}-"), "damaged"))
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sweep(folder.parent, folder.name)


def _write_arrays(temporary: Path, ids: list[str], groups: list[str], rows: Iterable[Row], size: int, facts: dict) -> dict:
    """Stream rows into two .npy files (a plain write meets a full disk with an error, a memory map with a crash)."""
    sizes, ranges, empty, vanished, covered = Counter(), Counter(), 0, 0, 0.0
    with (temporary / "images.npy").open("wb") as images, (temporary / "masks.npy").open("wb") as masks:
        for file, shape in ((images, (len(ids), size, size, 3)), (masks, (len(ids), size, size))):
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            images.write(row.image.tobytes())
            masks.write(row.mask.tobytes())
            sizes[f"{row.width}x{row.height}"] += 1
            ranges.update([row.wide_range] if row.wide_range else [])
            empty += not row.mask.any()
            covered += float(row.mask.mean()) / len(ids)
            vanished += not row.mask.any() and not row.empty
    if empty == len(ids):
        raise ValueError(f"{facts['name']}: all {empty} masks are empty at {size} x {size} pixels; check that they are the right files")
    warnings = list(facts["warnings"])
    if vanished:
        warnings.append(f"{vanished} masks with foreground are empty at {size} x {size} pixels")
    if len(ranges) > 1:
        told = ", ".join(f"0 to {top:g}: {count}" for top, count in sorted(ranges.items()))
        warnings.append(f"images of more than 8 bits scaled from different ranges, each by its own maximum ({told}), so that their brightness does not compare; export all alike")
    arrays = [np.load(temporary / name, mmap_mode="r") for name in ("images.npy", "masks.npy")]
    if covered > 0.5:
        warnings.append(f"masks cover {100 * covered:.0f} % of the images; if they are inverted, export them with the object white on black")
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


@contextmanager
def locked(name: str, wait: bool = True) -> Iterator[None]:
    """The system's lock of that name for the block, on the writing of an entry for instance: a killed holder's is free at once. Its file stays, since removing it would split the lock.

    Raises:
        filelock.Timeout: another process has it, and ``wait`` is False; an ``OSError``.
    """
    path = cache_root() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path, blocking=wait):
        yield


def _sweep(parent: Path, mine: str) -> None:
    """Remove what killed writers have left: of ``mine``, whose lock we hold, and of every entry whose lock nobody holds."""
    for leftover in parent.glob(f"{_BUILDING}*"):
        entry = leftover.name.removeprefix(_BUILDING).rpartition("-")[0]
        with suppress(OSError), nullcontext() if entry == mine else locked(entry, wait=False):
            shutil.rmtree(leftover, ignore_errors=True)


def _unwritable(error: OSError) -> OSError:
    way_out = "free space or set EHANET_CACHE to another folder"
    return OSError(error.errno, f"the cache {cache_root()} cannot be written ({error.strerror}); {way_out}")
