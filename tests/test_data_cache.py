"""The cache of decoded images: decoded once, atomic, safe under two writers, damage found by hash."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from archives import encoded, kvasir, lgg, make_folder, make_zip, picture

import ehanet.data.cache
import ehanet.data.dataset
from ehanet.data import list_datasets, load_dataset
from ehanet.data.cache import locked
from ehanet.data.catalogue import CATALOGUE

IDS = [f"p{number}" for number in range(6)]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    make_zip(folder / "kvasir-seg.zip", kvasir(IDS))
    return folder


@pytest.fixture
def decodings(monkeypatch):
    """Counts how often a sample is decoded."""
    calls = []
    real = ehanet.data.dataset.decode_sample
    monkeypatch.setattr(ehanet.data.dataset, "decode_sample", lambda *arguments: calls.append(1) or real(*arguments))
    return calls


def entries(cache):
    return sorted(path for path in (cache / "datasets").iterdir())


def test_images_are_decoded_once_per_size(root, fresh_cache, decodings):
    before = {path: path.stat().st_mtime_ns for path in [root, *root.iterdir()]}
    first = load_dataset("kvasir-seg", root=root, size=32)
    again = load_dataset("kvasir-seg", root=root, size=32)
    assert len(decodings) == len(IDS)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.manifest == again.manifest and isinstance(again.images, np.memmap)
    load_dataset("kvasir-seg", root=root, size=16)
    assert len(decodings) == 2 * len(IDS) and len(entries(fresh_cache)) == 2
    assert {path: path.stat().st_mtime_ns for path in [root, *root.iterdir()]} == before  # the root is never written
    with pytest.raises(ValueError, match="read-only"):
        first.images[0] = 0


def test_the_manifest_says_what_there_is(root, fresh_cache):
    data = load_dataset("kvasir-seg", root=root, size=32)
    manifest = json.loads(json.dumps(data.manifest))
    digest = hashlib.sha256(data.images.tobytes() + data.masks.tobytes() + "\n".join(data.ids).encode()).hexdigest()
    archive = (root / "kvasir-seg.zip").read_bytes()
    assert manifest["content"] == digest
    assert manifest["sources"] == [{"file": "kvasir-seg.zip", "bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest(), "official": False}]
    assert (manifest["name"], manifest["size"], manifest["count"], manifest["empty_masks"]) == ("kvasir-seg", 32, 6, 0)
    assert manifest["original_sizes"] == {"40x32": 6} and manifest["spacing_mm"] is None and "commercial" in manifest["licence"]
    assert any("kvasir-seg.zip is not the official file" in warning for warning in manifest["warnings"])
    assert any("6 images, the official release has 1000" in warning for warning in manifest["warnings"])


@pytest.mark.parametrize(("count", "official"), [(3929, False), (36, None)])
def test_without_an_official_hash_the_count_may_settle_it(tmp_path, fresh_cache, monkeypatch, count, official):
    monkeypatch.setitem(CATALOGUE, "lgg", replace(CATALOGUE["lgg"], count=count))
    make_zip(tmp_path / "lgg-mri-segmentation.zip", lgg(3))
    manifest = load_dataset("lgg", root=tmp_path, size=16).manifest
    assert [source["official"] for source in manifest["sources"]] == [official]
    expected = "is not the official file" if official is False else "could not be compared: no official SHA-256 is known"
    assert f"lgg-mri-segmentation.zip {expected}" in manifest["warnings"]


def test_an_entry_appears_complete_by_one_rename(root, fresh_cache, monkeypatch):
    real, seen = os.rename, []

    def rename(source, target):
        seen.append((sorted(path.name for path in source.iterdir()), target.exists()))
        real(source, target)

    monkeypatch.setattr(ehanet.data.cache.os, "rename", rename)
    load_dataset("kvasir-seg", root=root, size=32)
    assert seen == [(["images.npy", "manifest.json", "masks.npy"], False)]


def test_a_changed_archive_is_imported_anew_and_a_touched_one_is_not(root, fresh_cache, decodings):
    first = load_dataset("kvasir-seg", root=root, size=32)
    os.utime(root / "kvasir-seg.zip")
    load_dataset("kvasir-seg", root=root, size=32)
    assert len(decodings) == len(IDS)
    files = kvasir(IDS)
    files["Kvasir-SEG/images/p0.jpg"] = encoded(picture(77), "JPEG")
    make_zip(root / "kvasir-seg.zip", files)
    changed = load_dataset("kvasir-seg", root=root, size=32)
    assert changed.manifest["content"] != first.manifest["content"] and len(decodings) == 2 * len(IDS)


def test_a_changed_archive_with_the_time_and_size_of_the_old_one_is_seen(root, fresh_cache):
    first = load_dataset("kvasir-seg", root=root, size=32)
    archive = root / "kvasir-seg.zip"
    files, before = kvasir(IDS), archive.stat()
    one, other = f"Kvasir-SEG/images/{IDS[0]}.jpg", f"Kvasir-SEG/images/{IDS[1]}.jpg"
    files[one], files[other] = files[other], files[one]
    with archive.open("r+b") as file:  # in place, as a copy with cp -p or rsync does
        file.write(make_zip(root.parent / "other.zip", files).read_bytes())
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = archive.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert load_dataset("kvasir-seg", root=root, size=32).manifest["content"] != first.manifest["content"]


def test_a_changed_file_in_an_unpacked_folder_is_seen(tmp_path, fresh_cache):
    folder = make_folder(tmp_path / "root", kvasir(IDS))
    first = load_dataset("kvasir-seg", root=folder, size=32)
    (folder / "Kvasir-SEG" / "images" / "p0.jpg").write_bytes(encoded(picture(77), "JPEG"))
    assert load_dataset("kvasir-seg", root=folder, size=32).manifest["content"] != first.manifest["content"]


def test_archives_are_hashed_once(root, fresh_cache, monkeypatch):
    load_dataset("kvasir-seg", root=root, size=32)
    monkeypatch.setattr("ehanet.data.sources.file_sha256", lambda path: pytest.fail("hashed again"))
    load_dataset("kvasir-seg", root=root, size=32)


DAMAGE = {
    "flipped byte in images": lambda entry: flip(entry / "images.npy", -1),
    "flipped byte in masks": lambda entry: flip(entry / "masks.npy", -1),
    "flipped byte in a header": lambda entry: flip(entry / "images.npy", 3),
    "truncated images": lambda entry: (entry / "images.npy").write_bytes((entry / "images.npy").read_bytes()[:-5]),
    "empty manifest": lambda entry: (entry / "manifest.json").write_text(""),
    "half a manifest": lambda entry: (entry / "manifest.json").write_text((entry / "manifest.json").read_text()[:100]),
    "manifest of another form": lambda entry: (entry / "manifest.json").write_text("[]"),
    "another patient": lambda entry: (entry / "manifest.json").write_text((entry / "manifest.json").read_text().replace('"groups": [\n  "p0"', '"groups": [\n  "p1"')),
    "a warning gone": lambda entry: (entry / "manifest.json").write_text((entry / "manifest.json").read_text().replace("is not the official file", "is the official file")),
    "masks gone": lambda entry: (entry / "masks.npy").unlink(),
    "renamed id": lambda entry: (entry / "manifest.json").write_text((entry / "manifest.json").read_text().replace('"p3"', '"p33"')),
}


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_and_the_entry_built_anew(root, fresh_cache, decodings, case):
    first = load_dataset("kvasir-seg", root=root, size=32)
    expected = np.array(first.images), np.array(first.masks)
    (entry,) = entries(fresh_cache)
    DAMAGE[case](entry)
    ehanet.data.cache._verified.clear()  # as in a new process
    again = load_dataset("kvasir-seg", root=root, size=32)
    assert len(decodings) == 2 * len(IDS)
    np.testing.assert_array_equal(again.images, expected[0])
    np.testing.assert_array_equal(again.masks, expected[1])
    assert again.ids == IDS and entries(fresh_cache) == [entry]
    load_dataset("kvasir-seg", root=root, size=32)
    assert len(decodings) == 2 * len(IDS)


def _load(root, start, results, log, seconds):
    """Load in a process of its own, slowly, and say what came out; every decoding leaves a byte in ``log``."""
    real = ehanet.data.dataset.decode_sample

    def slow(*arguments):
        with open(log, "ab") as file:
            file.write(b".")
        time.sleep(seconds)
        return real(*arguments)

    ehanet.data.dataset.decode_sample = slow
    ehanet.data.cache._verified.clear()
    start.wait()
    data = load_dataset("kvasir-seg", root=root, size=32)
    results.put((data.manifest["content"], int(data.images.sum()), int(data.masks.sum())))


def _look(entry, start, results, stop):
    """Read an entry over and over while others write it, and say what was seen."""
    start.wait()
    seen = set()
    while True:
        last = stop.is_set()
        ehanet.data.cache._verified.clear()
        ready = ehanet.data.cache.read_entry(entry)
        seen.add(ready and (ready[2]["content"], int(ready[0].sum()), int(ready[1].sum())))
        if last:
            break
    results.put(seen)


@pytest.mark.parametrize("before", ["nothing", "a damaged entry"])
def test_of_several_writers_one_builds_while_readers_see_all_or_nothing(root, fresh_cache, tmp_path, before):
    folder = ehanet.data.cache.entry_folder("kvasir-seg", 32, ["importer 1", f"kvasir-seg.zip {hashlib.sha256((root / 'kvasir-seg.zip').read_bytes()).hexdigest()}"])
    if before != "nothing":
        load_dataset("kvasir-seg", root=root, size=32)
        assert [folder] == entries(fresh_cache)
        flip(folder / "images.npy", -1)
    context, log = multiprocessing.get_context("fork"), tmp_path / "decoded"
    start, stop, results, looks = context.Event(), context.Event(), context.Queue(), context.Queue()
    writers = [context.Process(target=_load, args=(root, start, results, log, 0.1)) for _ in range(3)]
    readers = [context.Process(target=_look, args=(folder, start, looks, stop)) for _ in range(2)]
    for process in [*writers, *readers]:
        process.start()
    start.set()
    made = {results.get(timeout=120) for _ in writers}
    stop.set()
    seen = set().union(*(looks.get(timeout=120) for _ in readers))
    for process in [*writers, *readers]:
        process.join()
        assert process.exitcode == 0
    assert len(made) == 1 and seen == made | {None}, "the readers saw nothing, and then all of it"
    assert log.stat().st_size == len(IDS), "one writer decoded, the others waited for it"
    assert entries(fresh_cache) == [folder] and sorted(path.name for path in folder.iterdir()) == ["images.npy", "manifest.json", "masks.npy"]


def test_a_sound_entry_that_another_writer_finished_first_is_kept(root, fresh_cache, monkeypatch):
    load_dataset("kvasir-seg", root=root, size=32)
    (entry,) = entries(fresh_cache)
    inode = entry.stat().st_ino
    real, calls = ehanet.data.dataset.read_entry, []
    monkeypatch.setattr(ehanet.data.dataset, "read_entry", lambda folder: real(folder) if calls else calls.append(1))
    load_dataset("kvasir-seg", root=root, size=32)  # believes that there is none and builds it
    assert entries(fresh_cache) == [entry] and entry.stat().st_ino == inode


def test_a_full_disk_is_one_line_and_leaves_nothing(root, fresh_cache, monkeypatch):
    real = np.lib.format.write_array_header_1_0

    def full(file, header):
        if "masks" in file.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, header)

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(OSError, match=r"the cache .* cannot be written \(No space left on device\); free space or set EHANET_CACHE") as caught:
        load_dataset("kvasir-seg", root=root, size=32)
    assert "\n" not in str(caught.value)
    assert not entries(fresh_cache)


def test_an_unwritable_cache_is_one_line(root, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("EHANET_CACHE", str(blocked / "cache"))
    with pytest.raises(OSError, match="cannot be written .*set EHANET_CACHE"):
        load_dataset("kvasir-seg", root=root, size=32)


@pytest.mark.parametrize("years", [-20, 20])
def test_an_interruption_leaves_nothing_and_what_the_dead_have_left_is_swept(root, fresh_cache, monkeypatch, years):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ehanet.data.dataset, "decode_sample", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_dataset("kvasir-seg", root=root, size=32)
    assert not entries(fresh_cache)
    dead, live = (fresh_cache / "datasets" / f".building-{name}-16px-0123456789abcdef-x_1abcde" for name in ("dead", "live"))
    for folder in (dead, live):
        (folder / "damaged").mkdir(parents=True)
        os.utime(folder, (time.time() + years * 3e7,) * 2)
    with locked("live-16px-0123456789abcdef"):
        load_dataset("kvasir-seg", root=root, size=32)
    assert not dead.exists() and live.exists()


def test_phantoms_go_through_the_same_cache(monkeypatch):
    first = load_dataset("phantom-glioma", size=32)
    monkeypatch.setattr("ehanet.data.phantoms.make_phantom", lambda *arguments: pytest.fail("drawn again"))
    again = load_dataset("phantom-glioma", size=32)
    np.testing.assert_array_equal(first.images, again.images)
    assert again.manifest["sources"] == [] and {part: len(i) for part, i in again.splits.items()} == {"train": 256, "val": 32, "test": 32}
    for part, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert {again.groups[i] for i in again.splits[part]}.isdisjoint(again.groups[i] for i in again.splits[other])


def test_names_are_listed_and_the_import_is_light():
    assert list_datasets()[:4] == ["kvasir-seg", "dsb2018", "isic2018", "lgg"] and list_datasets()[8:] == ["universal", "universal-phantoms", "cvc-clinicdb"]
    code = "import sys, ehanet.data; print([m for m in ('torch', 'timm', 'torchvision', 'ehanet.data.phantoms') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_home_of_nobody_is_one_line(monkeypatch):
    monkeypatch.setenv("EHANET_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(ValueError, match="^EHANET_CACHE: there is no user of the name in '~nobody-of-this-name/cache'; name another folder$"):
        load_dataset("phantom-polyp", size=32)
