"""The one reader for zips, tars and folders: same members, safe, errors that name the archive."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from archives import CLUTTER, kvasir, make_folder, make_tar, make_zip

import ehanet.data.archives
from ehanet.data.archives import archive_stem, open_source
from ehanet.data.sources import describe

FILES = kvasir(["a", "b", "c"]) | {f"Kvasir-SEG/{name}": data for name, data in CLUTTER.items()}
WANTED = {name for name in FILES if not any(part in name for part in ("__MACOSX", ".DS_Store", "Thumbs.db"))}

MAKERS = {
    "a.zip": make_zip,
    "a.tar": make_tar,
    "a.tar.gz": make_tar,
    "a.tgz": make_tar,
    "a.tar.xz": make_tar,
    "folder": make_folder,
}


def test_the_hash_of_a_folder_is_that_of_the_files_that_its_reader_lists(tmp_path, fresh_cache):
    plain, files = describe(make_folder(tmp_path / ".hidden" / "folder", {"b/y.png": b"y", "a.png": b"x"}), None), (("a.png", b"x"), ("b/y.png", b"y"))
    assert plain["sha256"] == hashlib.sha256("".join(f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in files).encode()).hexdigest()
    make_folder(tmp_path / ".hidden" / "folder", {name: b"?" for name in ("b/Thumbs.db", ".DS_Store", ".git/objects/ab", "__MACOSX/b/y.png", "desktop.ini")})
    assert describe(tmp_path / ".hidden" / "folder", None) == plain


@pytest.mark.parametrize("name", MAKERS)
def test_every_container_gives_the_same_members(tmp_path, name):
    path = MAKERS[name](tmp_path / name, FILES)
    before = sorted(tmp_path.rglob("*"))
    with open_source(path) as source:
        members = source.members
        assert {member.path for member in members} == WANTED
        assert {member.path: member.size for member in members} == {name: len(FILES[name]) for name in WANTED}
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(source.read, members * 5)) == [FILES[member.path] for member in members] * 5
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_truncated_archive_is_one_line_that_names_it(tmp_path, name, share):
    path = MAKERS[name](tmp_path / name, FILES)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match="truncated or damaged|damaged or incomplete") as caught, open_source(path) as source:
        for member in source.members:
            source.read(member)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_tar_cut_between_two_members_is_not_taken_for_complete(tmp_path):
    path = make_tar(tmp_path / "a.tar", {"images/a.jpg": bytes(512), "images/b.jpg": bytes(512)})
    path.write_bytes(path.read_bytes()[:1024])  # header and data of the first member
    with pytest.raises(ValueError, match=r"a\.tar is truncated or damaged \(no end mark\)"):
        open_source(path)


def test_a_flipped_byte_in_a_zip_is_found(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"images/a.jpg": bytes(range(256)) * 40})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with open_source(path) as source, pytest.raises(ValueError, match=r"a\.zip: images/a\.jpg cannot be read"):
        source.read(source.members[0])


def test_a_login_page_saved_as_zip_is_called_by_its_name(tmp_path):
    path = tmp_path / "a.zip"
    path.write_text("<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(ValueError, match="is a web page, not an archive"):
        open_source(path)


@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "images/../../evil.jpg"])
@pytest.mark.parametrize("maker", [make_zip, make_tar])
def test_names_that_leave_the_archive_are_refused(tmp_path, name, maker):
    path = maker(tmp_path / ("a.zip" if maker is make_zip else "a.tar"), {name: b"x"})
    with pytest.raises(ValueError, match="points outside the archive"):
        open_source(path)


def test_a_zip_with_backslashes_is_told_from_a_dangerous_one(tmp_path):
    with pytest.raises(ValueError, match=r"its names hold backslashes \('images.*a\.jpg'\), which a zip should not; unpack it and give the folder"):
        open_source(make_zip(tmp_path / "a.zip", {"images\\a.jpg": b"x"}))
    for name in ("images\\..\\evil.jpg", "C:\\evil.jpg", "\\evil.jpg"):
        with pytest.raises(ValueError, match="points outside the archive"):
            open_source(make_zip(tmp_path / "b.zip", {name: b"x"}))


def test_links_in_archives_are_passed_over(tmp_path):
    info = zipfile.ZipInfo("link.jpg")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
        archive.writestr("real.jpg", b"x")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        real = tarfile.TarInfo("real.jpg")
        real.size = 1
        archive.addfile(real, io.BytesIO(b"x"))
    for name in ("a.zip", "a.tar"):
        with open_source(tmp_path / name) as source:
            assert [member.path for member in source.members] == ["real.jpg"]


def test_a_link_that_leaves_a_folder_is_an_error_and_one_inside_is_read(tmp_path):
    folder = make_folder(tmp_path / "data", {"images/a.png": b"x"})
    os.symlink("a.png", folder / "images" / "b.png")
    with open_source(folder) as source:
        assert {member.path for member in source.members} == {"images/a.png", "images/b.png"}
    (tmp_path / "secret.png").write_bytes(b"s")
    os.symlink(tmp_path / "secret.png", folder / "images" / "c.png")
    with pytest.raises(ValueError, match=r"c\.png is a link that leaves the folder"):
        open_source(folder)
    os.remove(folder / "images" / "c.png")
    os.symlink(tmp_path / "data" / "images", folder / "masks")
    with pytest.raises(ValueError, match="masks is a link to a folder; copy the folder there or pass the real one"):
        open_source(folder)


@pytest.mark.parametrize("limit", ["MEMBER_LIMIT", "TOTAL_LIMIT"])
def test_expansion_is_bounded(tmp_path, monkeypatch, limit):
    path = make_zip(tmp_path / "a.zip", {"a.jpg": bytes(600), "b.jpg": bytes(600)})
    monkeypatch.setattr(ehanet.data.archives, limit, 1000 if limit == "TOTAL_LIMIT" else 500)
    with pytest.raises(ValueError, match="unpacks to more than this reader accepts"):
        open_source(path)


def test_a_compressed_tar_is_bounded_while_it_expands(tmp_path, monkeypatch):
    path = make_tar(tmp_path / "a.tar.gz", {"a.jpg": bytes(3 * 2**20)})
    monkeypatch.setattr(ehanet.data.archives, "TOTAL_LIMIT", 2**20)
    with pytest.raises(ValueError, match="expands to more than"):
        open_source(path)


def test_missing_and_foreign_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.zip does not exist"):
        open_source(tmp_path / "nothing.zip")
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(ValueError, match="neither a folder nor an archive"):
        open_source(tmp_path / "a.rar")


def test_archive_stem(tmp_path):
    assert [archive_stem(tmp_path / name) for name in ("kvasir-seg.zip", "x.tar.gz", "y.TGZ", "v1.2")] == ["kvasir-seg", "x", "y", "v1.2"]
