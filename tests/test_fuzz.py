"""Importers and the config reader on seeded damage: a sound data set or a one-line error that names the file, nothing else; and what the damage has found."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from archives import encoded, kvasir, make_folder, make_tar, make_zip, picture
from fuzzing import LAYOUTS, broken_data_set, damaged, odd_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.data.archives import open_source
from ehanet.data.cache import content_sha256, read_entry
from ehanet.data.images import decode_image, decode_mask
from ehanet.data.importers import natural_key
from ehanet.data.own_images import decode_own_mask
from ehanet.photos import read_photo
from ehanet.profiles import KEYS, load_profile

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:PIL"), pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")]


def one_line(error: Exception, *names: str) -> str:
    """The message, which must be one short printable line with one of the names in it."""
    text = str(error)
    assert text.isprintable() and len(text) < 1000, repr(text[:1000])
    assert any(name in text for name in names), text
    return text


def import_one(folder: Path, cache: Path, seed: int) -> bool:
    """Import the data set that ``seed`` spoils; whether it was taken."""
    folder.mkdir()
    name, root = broken_data_set(folder, seed)
    before = sorted(folder.rglob("*"))
    layout = LAYOUTS.get(name, LAYOUTS["own"])
    taken = False
    try:
        data = load_dataset(name, root=root, size=16)
    except (ValueError, OSError) as error:
        one_line(error, Path(name).name, *layout)
    else:
        taken = True
        count = len(data.ids)
        assert data.images.shape == (count, 16, 16, 3) and data.masks.shape == (count, 16, 16) and data.masks.max() == 1
        assert content_sha256(data.images, data.masks, data.ids) == data.manifest["content"] and len(set(data.ids)) == count
        assert sorted(index for part in data.splits.values() for index in part) == list(range(count))
        json.dumps(data.manifest, ensure_ascii=False).encode()
    assert sorted(folder.rglob("*")) == before and sorted(path.name for path in cache.parent.iterdir()) == [cache.name, folder.name], "nothing is written elsewhere"
    for entry in (cache / "datasets").glob("*"):
        assert read_entry(entry) is not None, "an entry is complete or is not there"
    assert not list((cache / "datasets").glob(".*"))
    return taken


def import_many(tmp_path, monkeypatch, seeds):
    taken = 0
    for seed in seeds:
        place = tmp_path / str(seed)
        place.mkdir()
        monkeypatch.setenv("EHANET_CACHE", str(place / "cache"))
        (place / "cache").mkdir()
        taken += import_one(place / "root", place / "cache", seed)
    assert 0.05 * len(seeds) < taken < 0.6 * len(seeds), f"{taken} of {len(seeds)} imported: the damage is too great or too small to tell anything"


def test_spoilt_archives_are_imported_soundly_or_refused(tmp_path, monkeypatch):
    import_many(tmp_path, monkeypatch, range(80))


@pytest.mark.slow
def test_many_spoilt_archives_are_imported_soundly_or_refused(tmp_path, monkeypatch):
    import_many(tmp_path, monkeypatch, range(1000, 4000))


def decode_many(tmp_path, seeds):
    file = tmp_path / "odd.png"
    for seed in seeds:
        rng = np.random.default_rng(seed)
        content = odd_image(rng)
        file.write_bytes(content if seed % 3 else damaged(content, rng))
        for decode in (decode_image, decode_mask, decode_own_mask, lambda data, name: read_photo(name)):
            try:
                array = decode(file.read_bytes(), str(file))
            except (ValueError, OSError) as error:
                one_line(error, "odd.png")
            else:
                assert (array.dtype, array.ndim) in ((np.uint8, 3), (bool, 2))


def test_odd_images_are_decoded_or_refused(tmp_path):
    decode_many(tmp_path, range(250))


@pytest.mark.slow
def test_many_odd_images_are_decoded_or_refused(tmp_path):
    decode_many(tmp_path, range(1000, 12_000))


BASE = {"datasets": ["phantom-polyp"], "methods": ["ehanet"], "seeds": [0]}
WORDS = ["auto", "adam", "cosine", "phantom-polyp", "ehanet", "unet-32", "never", "cuda:99", "../x", "/etc/passwd", "a\nb", "corrected", "edges-resized+", "\0"]
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from([2**31, 2**63, 10**30]), st.floats(), st.sampled_from(WORDS), st.text(max_size=8))
ODD = st.one_of(PLAIN, st.binary(max_size=5), st.dates(), st.datetimes(), st.sets(st.integers(), max_size=3))
NAMES = st.one_of(st.text(max_size=8), st.sampled_from([*KEYS, "name", "label"]), st.integers(), st.none(), st.dates())
VALUES = st.recursive(ODD, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)), max_leaves=6)
OPTIONS = st.dictionaries(st.sampled_from(["options", "loss_options"]), st.dictionaries(st.text(max_size=5), VALUES, max_size=2), max_size=1)
CHANGES = st.builds(dict.__or__, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2), OPTIONS)


def read_changed(folder: Path, changes: dict) -> None:
    """A profile with the changes gives runs that a file keeps as they are, or one line."""
    (folder / "own.yaml").write_text(yaml.safe_dump(BASE | changes, allow_unicode=True))
    try:
        profile = load_profile("own", folder=folder)
    except (ValueError, OSError) as error:
        one_line(error, "own", *KEYS)
        return
    assert profile.title.isprintable()
    for run in profile.runs:
        assert RunConfig.from_dict(json.loads(json.dumps(run.to_dict(), allow_nan=False))) == run


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(CHANGES)
def test_odd_settings_are_read_or_refused(tmp_path_factory, changes):
    read_changed(tmp_path_factory.getbasetemp(), changes)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(CHANGES)
def test_many_odd_settings_are_read_or_refused(tmp_path_factory, changes):
    read_changed(tmp_path_factory.getbasetemp(), changes)


# What the seeds above, and others, have found.


@pytest.mark.parametrize("text", [
    "title: !!int ''", "title: !!bool x", "title: !!timestamp x", "title: !!omap [a]", 'title: "\\uD800"', "title: 2001-13-45", "studies: [{a: 1}]", "seeds: [9" + "0" * 5000 + "]",
    "options: {a: 2001-01-01}", "options: {1: a}", "options: {a: .nan}", "options: {a: !!set {b}}", "learning_rate: .inf", "weight_decay: .nan", "weight_decay: -1", "size: 100000",
    f"seeds: [{2**63}]", "options: &a {b: *a}",
    "plugins: [own.py]", 'plugins: ["a\\nb"]', "plugins: [" + "x" * 300 + "]",
])
def test_settings_that_no_run_could_keep(tmp_path, text):
    (tmp_path / "own.yaml").write_text("\n".join([text, *(f"{key}: {value}" for key, value in BASE.items() if not text.startswith(key))]))
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_profile("own", folder=tmp_path)
    one_line(caught.value, "own", "plugins: ")


def test_a_few_lines_of_yaml_do_not_stand_for_gigabytes(tmp_path):
    lines = ["datasets:", "- &a0 [x, x, x, x, x, x, x, x, x]"] + [f"- &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(12)]
    (tmp_path / "own.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"own.yaml: no valid YAML \(\*a0: write the value out, aliases are not read"):
        load_profile("own", folder=tmp_path)


def test_a_zip_s_nameless_member_is_passed_over(tmp_path):
    packed = make_zip(tmp_path / "a.zip", {"x": b"x", "images/a.png": b"y"}).read_bytes()
    directory = packed.rfind(b"PK\1\2", 0, packed.rfind(b"PK\1\2"))
    (tmp_path / "a.zip").write_bytes(packed[:directory + 28] + b"\0\0\1\0" + packed[directory + 32:])  # the name's letter becomes an extra field
    with open_source(tmp_path / "a.zip") as source:
        assert [member.path for member in source.members] == ["images/a.png"]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_whose_member_has_a_negative_size_does_not_go_round_for_ever(tmp_path, kind):
    info = tarfile.TarInfo("images/a.png")
    info.type = kind
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfe\0"  # -512 in binary: the next header is this one
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(2048))
    with pytest.raises(ValueError, match=r"a\.tar is truncated or damaged .*(negative size|non-negative)") as caught:
        open_source(tmp_path / "a.tar")
    one_line(caught.value, "a.tar")


@pytest.mark.parametrize("name", ["images/a\nb.jpg", "images/\x1b[31mred.jpg", "images/a\u2028b.jpg"])
@pytest.mark.parametrize("maker", [make_zip, make_tar, make_folder])
def test_control_characters_name_no_image_and_reach_no_terminal(tmp_path, fresh_cache, name, maker):
    files = kvasir(["a", "b", "c"], top="") | {name: encoded(picture(0), "JPEG"), name.replace("images", "masks"): encoded(picture(0), "JPEG")}
    maker(tmp_path / {make_zip: "kvasir-seg.zip", make_tar: "kvasir-seg.tar", make_folder: "kvasir-seg"}[maker], files)
    with pytest.raises(ValueError, match="control characters cannot name an image; rename the file") as caught:
        load_dataset("kvasir-seg", root=tmp_path, size=16)
    one_line(caught.value, "kvasir-seg")


def test_names_that_are_thousands_of_digits(tmp_path, fresh_cache):
    ids = ["9" * 5000, "1" + "0" * 5000, "12", "012"]
    assert sorted(ids, key=natural_key) == ["012", "12", ids[0], ids[1]]
    make_zip(tmp_path / "kvasir-seg.zip", kvasir(ids))
    assert load_dataset("kvasir-seg", root=tmp_path, size=16).ids == ["012", "12", ids[0], ids[1]]
    files = kvasir(ids)
    del files[f"Kvasir-SEG/masks/{ids[0]}.jpg"]
    make_zip(tmp_path / "kvasir-seg.zip", files)
    with pytest.raises(ValueError, match="has no mask") as caught:
        load_dataset("kvasir-seg", root=tmp_path, size=16)
    one_line(caught.value, "kvasir-seg.zip")


def test_an_image_that_is_a_program_is_not_run(tmp_path):
    """Pillow hands EPS to Ghostscript."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 32\n%%EndComments\nshowpage\n"
    with pytest.raises(ValueError, match=r"a\.png: not a readable image \(unknown format\)"):
        decode_image(program, "a.png")
    (tmp_path / "a.png").write_bytes(program)
    with pytest.raises(ValueError, match=r"a\.png: not a readable image"):
        read_photo(tmp_path / "a.png")


def test_a_colour_space_that_cannot_be_converted_is_named():
    lab = Image.merge("LAB", Image.fromarray(picture(0)).split())
    lab.save(buffer := io.BytesIO(), "TIFF")
    with pytest.raises(ValueError, match="a.tif: the colour space LAB cannot be read; export the file as RGB"):
        decode_mask(buffer.getvalue(), "a.tif")
