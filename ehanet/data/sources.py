"""Where a data set's files lie, and what they are: locate the archives or unpacked folders in a root and hash their content."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from ehanet.data.archives import SUFFIXES, archive_stem, is_clutter
from ehanet.data.cache import cache_root
from ehanet.data.catalogue import Archive, Entry
from ehanet.files import file_sha256, identity, write_atomically


def downloads_folder(name: str) -> Path:
    """Where downloads of a data set go when no root is named."""
    return cache_root() / "downloads" / name


def split_folder(name: str, root: Path | None) -> Path:
    """Where ``<name>.split.csv`` of a published data set is looked for: beside its archives."""
    return downloads_folder(name) if root is None else root if root.is_dir() else root.parent


def locate(entry: Entry, root: Path | None) -> list[Path]:
    """The archive or unpacked folder of each part of a data set.

    ``root`` is a folder holding them, an archive or an unpacked data set itself; what it lacks, or all where it is None, is looked for in the
    downloads folder of the cache.

    Raises:
        FileNotFoundError: in one line, what was looked for, where, and the ways on.
    """
    downloads = downloads_folder(entry.name)
    folder = downloads if root is None else root
    if root is not None and not root.exists():
        raise FileNotFoundError(f"the data folder {root} does not exist; name the folder that holds {_wanted(entry)}")
    alone = len(entry.archives) == 1
    found = [find_part(archive, folder, alone) or find_part(archive, downloads, alone) for archive in entry.archives]
    missing = [archive.file_name for archive, path in zip(entry.archives, found) if path is None]
    if missing:
        raise FileNotFoundError(
            f"{entry.name}: no {' and no '.join(missing)} (nor an unpacked folder of that name) in {folder}; "
            f"{entry.how_to_get}, or give root= (SOURCE=) the folder that holds it"
        )
    return found


def _wanted(entry: Entry) -> str:
    return " and ".join(archive.file_name for archive in entry.archives)


def find_part(archive: Archive, folder: Path, alone: bool) -> Path | None:
    """An archive of a known name first, then an unpacked folder; the root itself where the data set has one part only."""
    names = {name.lower() for name in archive.names}
    if folder.is_file():
        return folder if alone or archive_stem(folder).lower() in names else None
    if not folder.is_dir():
        return None
    children = sorted(folder.iterdir())
    for child in children:
        if child.is_file() and child.name.lower().endswith(SUFFIXES) and archive_stem(child).lower() in names:
            return child
    for child in children:
        if child.is_dir() and child.name.lower() in names:
            return child
    if folder.name.lower() in names or (archive.inside and next(folder.glob(archive.inside), None)):
        return folder
    return None


def own_path(given: str | Path) -> Path:
    """A folder or archive of the user's own, by the path as given: what it is called is the name of a link, not of what the link leads to."""
    path = Path(os.path.expanduser(given)).absolute()
    return path.resolve() if path.name == ".." else path


def own_name(given: str | Path) -> str:
    """What the data set in a folder or archive of the user's own is called: the last part of its path."""
    return archive_stem(own_path(given))


def describe(path: Path, archive: Archive | None) -> dict:
    """File name, bytes and SHA-256 of a source, and whether it is the official file (None: not known).

    The hash of a folder is that of the sorted list of its files' paths and hashes, clutter of file browsers left out.
    """
    signature, size = _signature(path)
    note = cache_root() / "hashes" / f"{signature}.json"
    try:
        sha256 = json.loads(note.read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        sha256 = _folder_sha256(path) if path.is_dir() else file_sha256(path)
        with suppress(OSError):  # without a note the next call hashes again
            if _signature(path)[0] == signature:
                write_atomically(note, json.dumps({"file": str(path), "sha256": sha256}))
    known = archive is not None and archive.sha256 is not None and path.is_file()
    official = sha256 == archive.sha256 if known else None
    return {"file": path.name, "bytes": size, "sha256": sha256, "official": official}


def _files(folder: Path) -> list[Path]:
    """The files that the folder's reader lists: without clutter, whose coming and going changes no data set."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(file for file in files if not is_clutter(file.relative_to(folder)))


def _signature(path: Path) -> tuple[str, int]:
    """Digest of a file's path and identity (of every file of a folder), and the size in bytes."""
    digest, size = hashlib.sha256(os.fsencode(path.resolve())), 0
    for file in _files(path) if path.is_dir() else [path]:
        try:
            mark = identity(file)
        except OSError as error:
            raise ValueError(f"{file} cannot be read ({error.strerror}); remove or replace it") from error
        digest.update(f"\n{file} {mark}".encode(errors="surrogateescape"))
        size += mark[0]
    return digest.hexdigest(), size


def _folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(folder):
        digest.update(f"{file.relative_to(folder).as_posix()} {file_sha256(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
