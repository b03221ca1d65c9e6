"""Files written so that a kill at any moment leaves either the old or the new one, never half of it."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: str | Path, content: str | bytes | Callable[[Path], None]) -> None:
    """Fill a temporary file beside ``path``, force it to the disk, then put it in place in one step.

    Args:
        content: text (UTF-8), bytes, or a function that writes the file whose path it is given.

    Raises:
        OSError: full disk, read-only folder; one line that names the file and the way out. The old file is untouched.
    """
    path = Path(path)
    try:
        _replace(path, content)
    except OSError as error:
        way = "name it shorter" if error.errno == errno.ENAMETOOLONG else "free space or make the folder writable, then run again"
        raise OSError(error.errno, f"{path} cannot be written ({error.strerror or error}); {way}") from error


def check_writable(folder: Path, file: Path | None = None) -> None:
    """Refuse, before minutes of work, a folder that cannot be written after it; a missing one is not made yet, since the work may come to nothing.

    Args:
        file: what is to be written into it, for the message.

    Raises:
        OSError: it cannot be made or written; one line with the way out.
    """
    try:
        above = folder.absolute()
        while not above.exists():
            above = above.parent
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        tempfile.TemporaryFile(dir=above).close()
    except OSError as error:
        reason = error.strerror
        raise OSError(f"{file or folder} cannot be written ({reason}); name a {'file in a ' if file else ''}folder that you can write to") from error


def sweep(folder: str | Path) -> None:
    """Remove the temporary files that killed writers have left in a folder; only for the one process that writes there."""
    for left in Path(folder).glob(".*.tmp"):
        left.unlink(missing_ok=True)


def _replace(path: Path, content: str | bytes | Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:32]}.", suffix=".tmp")  # short, for a name may have 255 bytes
    os.close(handle)
    temporary = Path(name)
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        with open(temporary, "r+b") as file:  # Windows syncs no file that is open for reading alone
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value) -> None:
    """Readable JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def part_path(path: str | Path, number: int) -> Path:
    """Where part ``number``, from 1 on, of what is too large for one file lies: a.csv, a.2.csv, a.3.csv."""
    path = Path(path)
    return path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")


def clear_parts(path: str | Path, count: int) -> None:
    """Remove the parts beyond ``count``, of a content that took more."""
    path = Path(path)
    for left in path.parent.glob(f"{glob.escape(path.stem)}.*{path.suffix}"):
        number = left.stem.rpartition(".")[2]
        if number.isdigit() and int(number) > count:
            left.unlink()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(path: str | Path) -> tuple[int, ...]:
    """What is another one whenever a file may have another content: size, file number, and both time stamps.

    The time of modification can be set by anyone (``cp -p``, ``touch``, unpacking), the time of change (ctime) by the kernel only.
    """
    stat = Path(path).stat()
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns
