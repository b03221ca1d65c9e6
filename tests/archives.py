"""Builds tiny archives in the layouts of the originals: file name -> bytes, then a zip, a tar or a folder of them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CLUTTER = {
    "__MACOSX/._LICENSE.txt": b"resource fork",
    "__MACOSX/images/._a.jpg": b"resource fork",
    ".DS_Store": b"\0",
    "Thumbs.db": b"\0",
    "LICENSE.txt": b"licence",
    "ATTRIBUTION.txt": b"authors",
    "data.csv": b"Patient,RNASeqCluster\nTCGA_CS_4941,2\n",
    "kavsir_bboxes.json": b"{}",
}


def picture(seed: int, width: int = 40, height: int = 32) -> np.ndarray:
    """A smooth colour image, uint8 (H, W, 3), different for every seed."""
    corners = np.random.default_rng(seed).integers(40, 216, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC))


def disc(seed: int, width: int = 40, height: int = 32) -> np.ndarray:
    """A mask with one disc, bool (H, W)."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.3, 0.7, 2) * (width, height)
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 < (0.2 * min(width, height)) ** 2


def encoded(array: np.ndarray, kind: str, **options) -> bytes:
    """An array as the bytes of an image file; bool becomes 0 and 255."""
    buffer = io.BytesIO()
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def kvasir(ids: list[str], top: str = "Kvasir-SEG/") -> dict[str, bytes]:
    files = {}
    for seed, name in enumerate(ids):
        files[f"{top}images/{name}.jpg"] = encoded(picture(seed), "JPEG", quality=95)
        files[f"{top}masks/{name}.jpg"] = encoded(disc(seed), "JPEG", quality=75)  # ringing around the edge: not binary
    return files


def dsb_id(seed: int) -> str:
    return f"{seed * 7919 + 1:064x}"


def dsb2018(count: int, top: str = "stage1_train/") -> dict[str, bytes]:
    """RGBA images of several sizes, two or three nuclei each in a file of its own."""
    files = {}
    for seed in range(count):
        name, width = dsb_id(seed), (40, 48, 64)[seed % 3]
        alpha = np.full((32, width, 1), 255, np.uint8)
        files[f"{top}{name}/images/{name}.png"] = encoded(np.dstack([picture(seed, width), alpha]), "PNG")
        for nucleus in range(2 + seed % 2):
            mask_id = f"{seed * 100 + nucleus + 1:064x}"
            files[f"{top}{name}/masks/{mask_id}.png"] = encoded(disc(1000 * seed + nucleus, width), "PNG")
    return files


def isic2018(count: int, tops: bool = True) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The two archives: photographs and ground truth."""
    images, masks = {}, {}
    tops = ("ISIC2018_Task1-2_Training_Input/", "ISIC2018_Task1_Training_GroundTruth/") if tops else ("", "")
    for seed in range(count):
        name = f"ISIC_{seed * 3:07d}"
        images[f"{tops[0]}{name}.jpg"] = encoded(picture(seed), "JPEG", quality=95)
        masks[f"{tops[1]}{name}_segmentation.png"] = encoded(disc(seed), "PNG")
    return images, masks


def lgg(patients: int, slices: int = 12, top: str = "kaggle_3m/") -> dict[str, bytes]:
    """TIFF slices by patient; the outer thirds of each patient have an empty mask."""
    files = {}
    for patient in range(patients):
        name = f"TCGA_CS_{4941 + patient}_{19960909 + patient}"
        for number in range(1, slices + 1):
            seed = 100 * patient + number
            mask = disc(seed) if slices // 3 < number <= slices - slices // 3 else np.zeros((32, 40), bool)
            files[f"{top}{name}/{name}_{number}.tif"] = encoded(picture(seed), "TIFF")
            files[f"{top}{name}/{name}_{number}_mask.tif"] = encoded(mask, "TIFF")
    return files


def kaggle_lgg(patients: int, slices: int = 12) -> dict[str, bytes]:
    """As Kaggle packs it: the tree twice, each with its table."""
    tree = lgg(patients, slices)
    table = {"kaggle_3m/data.csv": CLUTTER["data.csv"], "kaggle_3m/README.md": b"about"}
    return {**tree, **table, **{f"lgg-mri-segmentation/{name}": data for name, data in (tree | table).items()}}


def cvc_clinicdb(frames: list[int], kinds: tuple[str, ...] = ("PNG", "TIF"), top: str = "CVC-ClinicDB/") -> dict[str, bytes]:
    """Frames by number, in the folders of each kind; of one kind alone without a folder for it, as the official archive is."""
    files = {}
    for kind in kinds:
        folder, suffix, form = f"{top}{kind}/" if len(kinds) > 1 else top, kind.lower(), {"TIF": "TIFF"}.get(kind, kind)
        for frame in frames:
            files[f"{folder}Original/{frame}.{suffix}"] = encoded(picture(frame), form)
            files[f"{folder}Ground Truth/{frame}.{suffix}"] = encoded(disc(frame), form)
    return files


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}[path.suffix]
    with tarfile.open(path, kind) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def discs(side: int) -> dict[str, bytes]:
    """The files of a folder of one's own: twenty images with a disc each as mask, ``side`` x ``side`` pixels."""
    return {f"{kind}/{index}.png": encoded(draw(index, side, side), "PNG") for index in range(20) for kind, draw in (("images", picture), ("masks", disc))}


def make_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path
