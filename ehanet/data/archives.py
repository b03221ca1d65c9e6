"""One reader for a zip, a tar or an unpacked folder: lists members and reads them one by one, and never unpacks anything.

Nothing is written, so a member's name is only a label. Names that try to leave the archive, members over the size limit
and links are refused or passed over all the same: such a file is not what its owner thinks it is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO

MEMBER_LIMIT = 512 * 2**20  # bytes of one unpacked member
TOTAL_LIMIT = 200 * 2**30  # bytes of all unpacked members; ISIC 2018 holds 11 GB
COUNT_LIMIT = 2_000_000  # members
RATIO_LIMIT = 300  # unpacked bytes for one packed byte of a compressed tar, beyond the first GiB; images pack to a tenth at best
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_CLUTTER = {"__MACOSX", "Thumbs.db", ".DS_Store", "desktop.ini"}
# What the readers of the standard library raise on damaged bytes.
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, OverflowError, LookupError,
           NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """A file inside a source: its path with forward slashes, its size in bytes and, in a zip, its CRC-32."""

    path: str
    size: int
    crc: int | None = None

    @property
    def pure(self) -> PurePosixPath:
        return PurePosixPath(self.path)

    @property
    def shown(self) -> str:
        """The path for a message: without control characters, shortened."""
        return printable(self.path)


class Source:
    """Members of an archive or folder. ``path`` names it in errors; ``members`` leaves clutter of file browsers out."""

    def __init__(self, path: Path, members: list[Member]):
        if len(members) > COUNT_LIMIT:
            raise ValueError(f"{path} holds over {COUNT_LIMIT} files; that is none of the data sets")
        self.path = path
        self.members = [member for member in members if not is_clutter(member.pure)]
        total = 0
        for member in self.members:
            if "\\" in member.path and not {"..", ""} & {*member.path.split("\\")} and ":" not in member.path:
                raise ValueError(f"{path}: its names hold backslashes ({member.shown!r}), which a zip should not; unpack it and give the folder")
            if member.pure.is_absolute() or ".." in member.pure.parts or "\\" in member.path:
                raise ValueError(f"{path}: the member {member.shown!r} points outside the archive; do not trust this file")
            total += member.size
            if member.size > MEMBER_LIMIT or total > TOTAL_LIMIT:
                raise ValueError(f"{path}: {member.shown} unpacks to more than this reader accepts; do not trust this file")

    def read(self, member: Member) -> bytes:
        """Content of a member; safe to call from several threads. A damaged one is a ValueError naming archive and member."""
        raise NotImplementedError

    def close(self) -> None:
        """Release the file behind the source."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def label(self, member: Member) -> str:
        """How errors name a member."""
        return f"{self.path.name}: {member.shown}"

    def damaged(self, member: Member, error: object) -> ValueError:
        return ValueError(f"{self.label(member)} cannot be read ({printable(error)}); the archive is damaged or incomplete, fetch it again")


class ZipSource(Source):
    def __init__(self, path: Path):
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise _unreadable(path, error) from error
        try:
            members = []
            for info in self._zip.infolist():
                if not info.filename or info.is_dir() or (info.external_attr >> 16) & 0o170000 == 0o120000:  # nameless, folders, symbolic links
                    continue
                if info.flag_bits & 1:
                    raise ValueError(f"{path}: encrypted; unpack it with its password and pass the folder")
                members.append(Member(info.filename, info.file_size, info.CRC))
            super().__init__(path, members)
        except BaseException:
            self._zip.close()
            raise

    def read(self, member: Member) -> bytes:
        try:
            with self._zip.open(member.path) as file:
                return file.read(member.size)  # zipfile compares the CRC when the last byte is read
        except _BROKEN as error:
            raise self.damaged(member, error) from error

    def close(self) -> None:
        self._zip.close()


class TarSource(Source):
    """A tar. A compressed one is first expanded into an unnamed temporary file, because its members cannot be reached singly."""

    def __init__(self, path: Path):
        self._lock = threading.Lock()
        self._plain = None if path.name.lower().endswith(".tar") else _expanded(path)
        try:
            self._tar = tarfile.open(path if self._plain is None else None, "r:", fileobj=self._plain)
            self._infos = {info.name: info for info in self._headers() if info.isreg() and info.name}
            self._check_end()
        except _BROKEN as error:
            if self._plain is not None:
                self._plain.close()
            raise _unreadable(path, error) from error
        super().__init__(path, [Member(name, info.size) for name, info in self._infos.items()])

    def _headers(self) -> Iterator[tarfile.TarInfo]:
        """Every member; one whose size is negative would lead tarfile back to itself, for ever."""
        for count, info in enumerate(self._tar):
            if info.size < 0 or count > COUNT_LIMIT:
                raise tarfile.ReadError("a member of negative size" if info.size < 0 else f"over {COUNT_LIMIT} members")
            yield info

    def _check_end(self) -> None:
        """A tar ends with blocks of zeros; tarfile takes one cut off between two members for complete."""
        self._tar.fileobj.seek(self._tar.offset)
        if self._tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end mark")

    def read(self, member: Member) -> bytes:
        with self._lock:  # one file position for all threads
            try:
                data = self._tar.extractfile(self._infos[member.path]).read()
            except _BROKEN as error:
                raise self.damaged(member, error) from error
        if len(data) != member.size:
            raise self.damaged(member, f"{len(data)} of {member.size} bytes")
        return data

    def close(self) -> None:
        self._tar.close()
        if self._plain is not None:
            self._plain.close()


class FolderSource(Source):
    def __init__(self, path: Path):
        inside = path.resolve()
        members = []
        for folder, folders, files in os.walk(path):  # does not follow linked folders
            for name in folders:
                if Path(folder, name).is_symlink() and not name.startswith("."):
                    raise ValueError(f"{Path(folder, name)} is a link to a folder; copy the folder there or pass the real one")
            for name in files:
                file = Path(folder, name)
                relative = file.relative_to(path).as_posix()
                if is_clutter(PurePosixPath(relative)):
                    continue
                if file.is_symlink() and not file.resolve().is_relative_to(inside):
                    raise ValueError(f"{file} is a link that leaves the folder; copy the file there or pass the real folder")
                if not file.is_file():
                    raise ValueError(f"{file} is a broken link or no regular file; remove or replace it")
                members.append(Member(relative, file.stat().st_size))
        super().__init__(path, sorted(members, key=lambda member: member.path))

    def read(self, member: Member) -> bytes:
        try:
            return (self.path / member.path).read_bytes()
        except OSError as error:
            raise self.damaged(member, error.strerror) from error


def open_source(path: Path) -> Source:
    """Open an archive (by its suffix) or a folder.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: truncated, damaged, encrypted or unsafe, in one line that names the archive.
    """
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; name an archive ({', '.join(SUFFIXES)}) or an unpacked folder")
    name = path.name.lower()
    if name.endswith(".zip"):
        return ZipSource(path)
    if name.endswith(SUFFIXES):
        return TarSource(path)
    raise ValueError(f"{path} is neither a folder nor an archive ({', '.join(SUFFIXES)})")


def archive_stem(path: Path) -> str:
    """File name without its archive suffix; a folder's name as it is."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def printable(text: object) -> str:
    """One short line without control characters: what stands in an archive is not ours to print."""
    line = str(text)
    line = line if line.isprintable() else ascii(line)[1:-1]
    return line if len(line) <= 300 else f"{line[:150]} ... {line[-100:]}"


def is_clutter(path: PurePath) -> bool:
    """Whether a path inside a source is what file browsers leave behind: resource forks, thumbnails, hidden files and folders."""
    return any(part in _CLUTTER or (part.startswith(".") and part not in (".", "..")) for part in path.parts)


def _unreadable(path: Path, error: object) -> ValueError:
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return ValueError(f"{path} is a web page, not an archive; the site wanted a login or moved the file")
    return ValueError(f"{path} is truncated or damaged ({printable(error)}); fetch it again")


def _expanded(path: Path) -> IO[bytes]:
    """A compressed tar, unpacked into an unnamed temporary file."""
    opener = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[path.suffix.lower()]
    limit = min(TOTAL_LIMIT, 2**30 + RATIO_LIMIT * path.stat().st_size)
    plain = tempfile.TemporaryFile()
    try:
        with opener(path, "rb") as packed:
            while block := _next_block(packed, path):
                if plain.tell() + len(block) > limit:
                    raise ValueError(f"{path} expands to more than {limit / 2**30:.0f} GB; do not trust this file")
                _write(plain, block, path)
        plain.seek(0)
    except BaseException:
        plain.close()
        raise
    return plain


def _next_block(packed: IO[bytes], path: Path) -> bytes:
    try:
        return packed.read(2**20)
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _write(plain: IO[bytes], block: bytes, path: Path) -> None:
    try:
        plain.write(block)
    except OSError as error:
        raise OSError(error.errno, f"{path} cannot be unpacked in {tempfile.gettempdir()} ({error.strerror}); free space there, set TMPDIR, or pass the unpacked folder") from error
