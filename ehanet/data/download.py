"""Download the archives of a data set: resumable, with a progress bar, compared with the official SHA-256 where one is known.

A download in progress is ``<file>.<tag>.part``; the tag stands for the server's version of the file (ETag or date, and
length), so that a resumed download never joins two versions. Only a complete, checked file gets its final name.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout
from tqdm.auto import tqdm

from ehanet.data.cache import locked
from ehanet.data.catalogue import CATALOGUE, Archive, Entry
from ehanet.data.sources import downloads_folder, find_part
from ehanet.files import file_sha256
from ehanet.fingerprint import digest

BLOCK = 2**18
ATTEMPTS = 4
TIMEOUT = 60  # seconds without a byte
_BY_HAND = "fetch the file by hand and give its folder as SOURCE="
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError)


def missing_archives(name: str, root: Path | None = None) -> list[Archive]:
    """Archives of a data set that are not in ``root`` (None: the downloads folder): what a download would fetch."""
    entry = CATALOGUE[name]
    folder = downloads_folder(name) if root is None else root
    return [archive for archive in entry.archives if find_part(archive, folder, alone=len(entry.archives) == 1) is None]


def download_dataset(name: str, root: Path | None = None) -> list[Path]:
    """Fetch the missing archives of a data set into ``root`` (None: the downloads folder of the cache).

    Raises:
        ValueError: the data set has no direct download (the message says how to get it), or a wrong SHA-256.
        OSError: no connection, refused by the server, full disk; run again to resume.
    """
    entry = CATALOGUE[name]
    folder = downloads_folder(name) if root is None else root
    return [download(_url(entry, archive), folder / archive.file_name, archive.sha256) for archive in missing_archives(name, root)]


def _url(entry: Entry, archive: Archive) -> str:
    if archive.url is None:
        raise ValueError(f"{entry.name} has no direct download: {entry.how_to_get} ({entry.page}), then give its folder as SOURCE=")
    return archive.url


def download(url: str, target: Path, sha256: str | None = None) -> Path:
    """Fetch ``url`` into ``target``, resuming what an earlier call has left; a broken connection is tried again.

    Raises:
        ValueError: the SHA-256 is not the expected one; the file is removed.
        OSError: see ``download_dataset``, or another process fetches it; only a .part file stays behind.
    """
    try:
        with locked(f"download-{digest(str(target.resolve()))}", wait=False):
            return _download(url, target, sha256)
    except Timeout as error:
        raise OSError(f"{target} is being fetched by another process; wait for it to finish") from error


def _download(url: str, target: Path, sha256: str | None) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            part = _fetch(url, target)
            break
        except urllib.error.HTTPError as error:
            raise OSError(f"{url}: the server answers {error.code} ({error.reason}); {_BY_HAND}") from error
        except urllib.error.URLError as error:
            raise OSError(f"{url}: no connection ({error.reason}); run again later, or {_BY_HAND}") from error
        except _BROKEN as error:
            if attempt == ATTEMPTS:
                raise OSError(f"{url}: the connection broke {ATTEMPTS} times ({error}); run again to resume") from error
    if sha256 is not None and (found := file_sha256(part)) != sha256:
        part.unlink()
        raise ValueError(f"{url}: SHA-256 {found} instead of the official {sha256}; try again, or {_BY_HAND}")
    os.replace(part, target)
    return target


def _fetch(url: str, target: Path) -> Path:
    """One connection: bring the .part file of the server's present version to its full length."""
    response = _open(url)
    total = _length(response)
    part = target.with_name(f"{target.name}.{_tag(response, url, total)}.part")
    for other in target.parent.glob(f"{target.name}.*.part"):
        if other != part:
            other.unlink(missing_ok=True)  # of a version that the server no longer has
    with part.open("ab") as file:
        have = file.seek(0, os.SEEK_END)
        if total is not None and have == total:
            response.close()
            return part
        if have:
            response, have = _resumed(url, response, have, total)
            file.truncate(have)
        with response:
            _check_space(target.parent, None if total is None else total - have)
            _copy(response, file, have, total, target.name)
    if total is None and target.suffix == ".zip" and not zipfile.is_zipfile(part):  # whether all came, only the archive itself can say
        raise ConnectionError("what arrived is no whole zip archive")
    return part


def _open(url: str, **headers: str):
    return urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": "ehanet", **headers}), timeout=TIMEOUT)


def _length(response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _tag(response, url: str, total: int | None) -> str:
    version = response.headers.get("ETag") or response.headers.get("Last-Modified") or url
    return hashlib.sha256(f"{version} {total}".encode()).hexdigest()[:8]


def _resumed(url: str, response, have: int, total: int | None):
    """A response that goes on after ``have`` bytes of the same version, or the given one from the start where there is none."""
    version = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if total is None or have > total or version is None or version.startswith("W/"):
        return response, 0
    try:
        rest = _open(url, Range=f"bytes={have}-", **{"If-Range": version})
    except urllib.error.HTTPError:
        return response, 0
    if rest.status == 206 and rest.headers.get("Content-Range", "").startswith(f"bytes {have}-") and _length(rest) == total - have:
        response.close()
        return rest, have
    rest.close()
    return response, 0


def _check_space(folder: Path, needed: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if needed is not None and needed > free:
        raise OSError(f"{folder}: {needed / 1e6:.0f} MB are still to come and {free / 1e6:.0f} MB are free; make space and run again to resume")


def _copy(response, file, have: int, total: int | None, name: str) -> None:
    with tqdm(total=total, initial=have, desc=name, unit="B", unit_scale=True, disable=None) as bar:
        while block := response.read(BLOCK):
            with _disk(file):
                file.write(block)
            have += len(block)
            bar.update(len(block))
    with _disk(file):
        file.flush()
        os.fsync(file.fileno())
    if total is not None and have != total:
        raise ConnectionError(f"{have} of {total} bytes")


@contextmanager
def _disk(file):
    """A full disk, in one line that names the file; what arrived stays in it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{file.name} cannot be written ({error.strerror}); make space and run again to resume") from error
