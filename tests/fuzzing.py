"""Seeded damage to bytes, images and archives: what a broken disk, a wrong export or somebody with bad intentions would hand to an importer."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from archives import cvc_clinicdb, disc, dsb2018, encoded, isic2018, kaggle_lgg, kvasir, picture
from PIL import Image

OWN = {f"{kind}/case {index}.{suffix}": encoded(draw(index), suffix.replace("jpg", "jpeg").replace("tif", "tiff"))
       for index, suffix in enumerate(("png", "bmp", "tif", "webp")) for kind, draw in (("images", picture), ("masks", disc))}
# Data set -> its archives' stems and their files.
LAYOUTS = {
    "kvasir-seg": {"kvasir-seg": kvasir(["a1", "a2", "a10", "b"])},
    "dsb2018": {"stage1_train": dsb2018(3)},
    "isic2018": dict(zip(("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"), isic2018(3))),
    "lgg": {"lgg-mri-segmentation": kaggle_lgg(3, slices=3)},
    "cvc-clinicdb": {"CVC-ClinicDB": cvc_clinicdb([1, 25, 26])},
    "own": {"own": OWN},
}
SUFFIXES = (".zip", ".zip", ".zip", ".tar", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", "")
EXTREMES = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 10**10]
NAMES = ["", ".", "..", "../up.png", "/etc/up.png", "images/../../up.png", "C:\\up.png", "images\\a.jpg", "images/.jpg", "images/a.jpg/", "images//a.jpg", "./images/a.jpg",
         "IMAGES/a.JPG", "images/a\nb.jpg", "images/\x1b[31mred.jpg", "images/\x00.jpg", "images/a\u202egpj.png", "images/\u00e4\U0001f600.png", "masks/a1.jpg", "images/a1.jpg",
         "images/" + "x" * 300 + ".png", "a/" * 200 + "images/z.png", "__MACOSX/images/a1.jpg", "images/a1.jpg ", "images/1e5.png", "images/٣.png", "NaN", "images/" + "9" * 5000 + ".png"]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes after one to three accidents."""
    for _ in range(rng.integers(1, 4)):
        if len(data) < 8:
            return data
        # headers and directories lie at the ends
        place = int(rng.choice([rng.integers(len(data)), rng.integers(min(600, len(data))), len(data) - 1 - rng.integers(min(600, len(data)))]))
        length = int(rng.integers(1, 40))
        accident = rng.integers(7)
        if accident == 0:
            data = data[:place]
        elif accident == 1:
            data = data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1:]
        elif accident == 2:
            data = data[:place] + rng.bytes(length) + data[place + length:]
        elif accident == 3:
            data = data[:place] + data[place + length:]
        elif accident == 4:
            data = data[:place] + data[place:place + length] + data[place:]
        elif accident == 5:
            data = data[:place] + bytes([int(rng.choice([0, 255]))]) * length + data[place + length:]
        else:
            form, value = rng.choice(["<H", "<I", "<Q", ">I"]), int(rng.choice(EXTREMES))
            field = struct.pack(form, value % 2 ** (8 * struct.calcsize(form)))
            data = data[:place] + field + data[place + len(field):]
    return data


def forged(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive with one field of one header set to what it should not be, and its checksum right."""
    data = bytearray(data)
    headers = {"zip": [(place, sign) for sign in (b"PK\1\2", b"PK\3\4", b"PK\5\6") for place in _places(data, sign)],
               "tar": [(place - 257, b"") for place in _places(data, b"ustar") if place >= 257 and (place - 257) % 512 == 0]}
    kind = "zip" if headers["zip"] and data[:2] == b"PK" else "tar"
    if not headers[kind]:
        return bytes(data)
    place, sign = headers[kind][int(rng.integers(len(headers[kind])))]
    if kind == "zip":
        length = int(rng.choice([2, 4]))
        field = place + int(rng.integers(4, {b"PK\1\2": 45, b"PK\3\4": 29, b"PK\5\6": 21}[sign] - length))
        data[field:field + length] = (int(rng.choice(EXTREMES)) % 256**length).to_bytes(length, "little")
        return bytes(data)
    start, length = {0: (0, 100), 1: (100, 8), 2: (124, 12), 3: (124, 12), 4: (136, 12), 5: (156, 1), 6: (157, 100), 7: (345, 155)}[int(rng.integers(8))]
    if length == 12:  # a number, which may be binary and negative
        value = [-1, -512, -(2**40), 2**33, 2**62, 2**90][int(rng.integers(6))]
        data[place + start:place + start + 12] = (0xFF if value < 0 else 0x80).to_bytes(1, "big") + (value % 256**11).to_bytes(11, "big")
    elif length == 1:
        data[place + start] = int(rng.choice(list(b"0123456789LKSNDMVxgX\0\xff")))
    else:
        odd = rng.bytes(int(rng.integers(length))) if rng.integers(2) else str(rng.choice(NAMES)).encode("utf-8", "surrogateescape")[:length]
        data[place + start:place + start + length] = odd.ljust(length, b"\0")
    data[place + 148:place + 156] = b" " * 8
    data[place + 148:place + 156] = b"%06o\0 " % sum(data[place:place + 512])
    return bytes(data)


def _places(data: bytearray, sign: bytes) -> list[int]:
    found, place = [], data.find(sign)
    while place >= 0:
        found.append(place)
        place = data.find(sign, place + 1)
    return found


def odd_image(rng: np.random.Generator) -> bytes:
    """A file that calls itself an image: other modes, formats, sizes and values than expected, or none at all."""
    seed, width, height = int(rng.integers(100)), *map(int, rng.choice([1, 2, 31, 32, 40, 300], 2))
    values = {"F": [0, 1, 0.5, 255, -1, np.nan, np.inf, 1e30], "I": [0, 1, 255, 4096, 65536, -5, 2**31 - 1]}
    kind = rng.choice(["mode", "mode", "mode", "number", "number", "frames", "damaged", "damaged", "text", "foreign", "empty"])
    buffer = io.BytesIO()
    if kind == "mode":
        mode = str(rng.choice(["1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16"]))
        image = Image.fromarray(picture(seed, width, height))
        image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.merge("LAB", image.split()) if mode == "LAB" else image.convert(mode)
        form = next(form for form in rng.permutation(["PNG", "TIFF", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]) if _saved(image, form, io.BytesIO()))
        _saved(image, form, buffer)
    elif kind == "number":
        mode = str(rng.choice(["F", "I"]))
        array = rng.choice(values[mode][:int(rng.integers(1, 9))], (height, width)).astype(np.float32 if mode == "F" else np.int32)
        Image.fromarray(array).save(buffer, "TIFF")
    elif kind == "frames":
        frames = [Image.fromarray(picture(seed + number, width, height)) for number in range(3)]
        frames[0].save(buffer, str(rng.choice(["TIFF", "GIF", "PNG", "WEBP"])), save_all=True, append_images=frames[1:])
    elif kind == "damaged":
        form = str(rng.choice(["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"]))
        return damaged(encoded(picture(seed), form, **({"compression": str(rng.choice(["raw", "tiff_lzw", "tiff_deflate", "packbits"]))} if form == "TIFF" else {})), rng)
    elif kind == "text":
        return b"<html>not an image</html>"
    elif kind == "foreign":
        return {0: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 32\n(x) = quit\n", 1: b"GIF89a", 2: b"8BPS\0\1" + bytes(40), 3: b"II*\0\xff\xff\xff\xff",
                4: b"P5\n99999999 99999999\n255\n", 5: b"P6\n40 32\n65535\n" + bytes(100)}[int(rng.integers(6))]
    return buffer.getvalue()


def _saved(image: Image.Image, form: str, buffer: io.BytesIO) -> bool:
    try:
        image.save(buffer, form)
        return True
    except (OSError, ValueError, KeyError):
        return False


def spoilt(files: dict[str, bytes], rng: np.random.Generator) -> dict[str, bytes]:
    """Files of an archive with one to three of them renamed, replaced, damaged, doubled or gone."""
    files = dict(files)
    for _ in range(rng.integers(1, 4)):
        name = str(rng.choice(sorted(files)))
        accident = rng.integers(7)
        if accident == 0:
            files[str(rng.choice(NAMES))] = files.pop(name)
        elif accident in (1, 2):
            files[name] = odd_image(rng)
        elif accident in (3, 4):
            files[name] = damaged(files[name], rng)
        elif accident == 5:
            files[f"{rng.choice(['a', 'images', 'b/masks'])}/{name}"] = odd_image(rng) if rng.integers(2) else files[name]
        else:
            del files[name]
        if not files:
            break
    return files


def write(path: Path, files: dict[str, bytes], rng: np.random.Generator) -> None:
    """A folder, zip or tar, by the suffix of ``path``, sometimes with links, folders and odd headers in it; what a file system cannot hold is left out."""
    if not path.suffix:
        for name, data in files.items():
            place = path / name
            if "\0" in name or ".." in Path(name).parts or Path(name).is_absolute() or len(Path(name).name) > 200 or place.is_dir():
                continue
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
            except OSError:
                continue
        path.mkdir(exist_ok=True)
        if rng.integers(4) == 0:
            target = rng.choice(["/etc", "/nowhere", "..", ".", "/etc/passwd"])
            (path / str(rng.choice(["images", "link", "images.png"]))).with_name(f"link{rng.integers(9)}.png").symlink_to(str(target))
        return
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))) as archive:
            for name, data in files.items():
                info = zipfile.ZipInfo(name.replace("\0", "0"))
                if rng.integers(20) == 0:
                    info.external_attr = int(rng.choice([0o120777 << 16, 0o040755 << 16, 0x10, 0o010644 << 16]))
                archive.writestr(info, data)
        return
    with tarfile.open(path, {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[path.suffix],
                      format=int(rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("\0", "0"))
            info.size = len(data)
            if rng.integers(20) == 0:
                info.type, info.linkname = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]), "/etc/passwd"
                info.size = 0
            try:
                archive.addfile(info, io.BytesIO(data) if info.size else None)
            except ValueError:  # a name that this form of tar cannot hold
                continue


def broken_data_set(folder: Path, seed: int) -> tuple[str, Path]:
    """A data set in ``folder`` with what ``seed`` does to it -> the name and the root to load it by."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(sorted(LAYOUTS)))
    for stem, files in LAYOUTS[name].items():
        path = folder / f"{stem}{rng.choice(SUFFIXES)}"
        write(path, spoilt(files, rng) if rng.integers(3) else files, rng)
        accident = rng.integers(4)
        if path.is_file() and accident < 2:
            content = path.read_bytes()
            path.write_bytes(forged(content, rng) if accident and path.suffix in (".zip", ".tar") else damaged(content, rng))
    return (str(path) if name == "own" else name), folder
