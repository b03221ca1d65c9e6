"""``load_dataset``: from a name or a folder to arrays, ids, groups and splits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ehanet.data.archives import open_source, printable
from ehanet.data.cache import entry_folder, read_entry, write_entry
from ehanet.data.catalogue import CATALOGUE, UNIONS
from ehanet.data.importers import IMPORTERS, OWN, Importer, Row, Sample, decode_sample, find_samples, natural_key
from ehanet.data.joint import join
from ehanet.data.layout import passed_over
from ehanet.data.own_images import Turned, is_turned
from ehanet.data.sources import describe, locate, own_name, own_path, split_folder
from ehanet.data.splits import resolve_split
from ehanet.fingerprint import modules_sha256


@dataclass(frozen=True)
class Dataset:
    """Images and masks of one size with their split. The arrays are read-only maps of files in the cache; copy what you want to change.

    images: uint8 (N, H, W, 3). masks: uint8 0/1 (N, H, W). ids: file stems in natural order. groups: patient or image, one an
    image. splits: "train", "val", "test" -> indices. manifest: JSON-able; name, size, count, content (SHA-256), sources,
    original_sizes {"width x height": count}, empty_masks, warnings, split, licence, citation, modality, spacing_mm; grouped_by ("patients", "videos"),
    where the catalogue says so.
    """

    name: str
    images: np.ndarray
    masks: np.ndarray
    ids: list[str]
    groups: list[str]
    splits: dict[str, np.ndarray]
    manifest: dict


def list_datasets() -> list[str]:
    """Names that ``load_dataset`` knows; it takes a folder's or an archive's path as well."""
    joint = [name for name in CATALOGUE if name in UNIONS["universal"]]
    return [*joint, *_phantoms().PHANTOMS, *UNIONS, *(name for name in CATALOGUE if name not in joint)]


def load_dataset(
    name: str | Path, root: str | Path | None = None, size: int = 256, split: str | Path | None = None, seed: int = 0
) -> Dataset:
    """Load a data set, decoding it once per size into the cache.

    Args:
        name: a name of ``list_datasets()``, or the path of a folder or archive with images/ and masks/.
        root: folder of the archives or unpacked folders (never written); None: what ``make data`` has downloaded.
        size: side of the squashed images in pixels, at least 16.
        split: "rule", a CSV with the columns name,split, or None: ``<name>.split.csv`` in root, else the folders train, val and test of a data set of one's own, else the rule; "none": all are test images, for scoring alone.
        seed: of the split by rule.

    Raises:
        FileNotFoundError: a missing archive, folder or split file.
        ValueError: an unknown name, a folder named like a known data set, a damaged archive, samples that do not fit together, an unusable split.
        OSError: the cache cannot be written.
    """
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 16 <= size <= 4096:
        raise ValueError(f"size must be a whole number of pixels from 16 to 4096, got {size!r}")
    size = int(size)
    root = None if root is None else Path(os.path.expanduser(root))
    label = str(name)
    if label in UNIONS:
        if split not in (None, "rule"):
            raise ValueError(f"split: {label} keeps the splits of its parts; give None or \"rule\", not {str(split)!r}")
        images, masks, ids, groups, splits, manifest = join([load_dataset(part, root, size, split, seed) for part in UNIONS[label]])
        return Dataset(label, images, masks, ids, groups, splits, {"name": label, **manifest})
    if label in CATALOGUE:
        entry = CATALOGUE[label]
        paths = locate(entry, root)
        facts = {
            "name": label,
            "modality": entry.modality,
            "licence": entry.licence,
            "citation": entry.citation,
            "spacing_mm": None if entry.spacing_mm is None else list(entry.spacing_mm),
        }
        images, masks, manifest = _imported(label, paths, IMPORTERS[label], size, facts, list(entry.archives), entry.count)
        folders = [split_folder(label, root)]
    elif label in _phantoms().PHANTOMS:
        images, masks, manifest = _phantom(label, size)
        folders = [] if root is None else [root]
    else:
        path = _own_path(label, root)
        label = own_name(path)
        if label in list_datasets():
            own = f"with --source (SOURCE=, root=) {path.parent}" if label in CATALOGUE else "without a folder"
            raise ValueError(f"{path} is named like the known data set {label}; for that one write {label} {own}, else rename it")
        facts = {"name": label, "modality": "own images", "licence": "the owner's", "citation": None, "spacing_mm": None}
        images, masks, manifest = _imported(label, [path], OWN, size, facts, [None], None)
        folders = [folder for folder in (root, path, path.parent) if folder is not None]
    ids, groups, places = manifest.pop("ids"), manifest.pop("groups"), manifest.pop("places", None)
    splits, account, warnings = resolve_split(label, ids, groups, split, folders, seed, places)
    grouped = CATALOGUE[label].grouped_by if label in CATALOGUE else None
    manifest = {**manifest, **({"grouped_by": grouped} if grouped else {}), "split": account, "warnings": manifest["warnings"] + warnings}
    return Dataset(label, images, masks, ids, groups, splits, manifest)


def _phantoms():
    """The phantom generators, imported only when a name is none of the catalogue's."""
    from ehanet.data import phantoms

    return phantoms


def _own_path(name: str, root: Path | None) -> Path:
    path = Path(os.path.expanduser(name))
    candidates = [path] if root is None or path.is_absolute() else [root / path, path]
    for candidate in candidates:
        if candidate.exists():
            return own_path(candidate)
    if os.sep in name or "/" in name or "." in name:
        raise FileNotFoundError(f"{name} does not exist; name a folder or archive with images/ and masks/")
    raise ValueError(f"unknown data set {name!r}; known are {', '.join(list_datasets())}, or the path of a folder with images/ and masks/")


def _imported(name: str, paths: list[Path], importer: Importer, size: int, facts: dict, archives: list, official_count: int | None):
    """Images, masks and manifest of archives, from the cache or decoded now."""
    sources = [describe(path, archive) for path, archive in zip(paths, archives)]
    folder = entry_folder(name, size, [f"importer {importer.version}", *(f"{source['file']} {source['sha256']}" for source in sources)])
    ready = read_entry(folder)
    if ready is not None:
        return ready
    with ExitStack() as stack:
        opened = [stack.enter_context(open_source(path)) for path in paths]
        samples = find_samples(name, importer, opened)
        warnings = _compared(sources, len(samples), official_count) + (passed_over(opened) if importer is OWN else [])
        ids, groups = [sample.id for sample in samples], [sample.group for sample in samples]
        places = {"places": [sample.place for sample in samples]} if importer is OWN else {}
        with closing(_decoded(name, samples, importer, size)) as rows:
            try:
                write_entry(folder, ids, groups, rows, size, {**facts, **places, "sources": sources, "warnings": warnings})
            except Turned as error:
                raise ValueError(f"{error}{_upright(samples)}") from error
    return _written(folder)


def _upright(samples: list[Sample]) -> str:
    """How many files are stored turned, and commands that make them upright."""
    files = [file for sample in samples for file in (sample.image, *sample.masks)]
    turned = [file for file in files if is_turned(file.read())]
    pattern = f"{printable(turned[0].member.pure.parent)}/*{turned[0].member.pure.suffix}"
    return (f" ({len(turned)} of {len(files)} files are; in a copy, 'mogrify -auto-orient {pattern}' turns the pixels where the masks fit what a viewer shows, "
            f"'exiftool -Orientation= {pattern}' drops the mark where they fit what is stored)")


def _written(folder: Path):
    ready = read_entry(folder)
    if ready is None:
        raise OSError(f"the cache folder {folder} cannot be read back; check the disk or set EHANET_CACHE to another folder")
    return ready


def _compared(sources: list[dict], count: int, official_count: int | None) -> list[str]:
    """What to say about files other than the official ones; a count other than the official one settles an open comparison."""
    if official_count is None:
        return []
    warnings = []
    if count != official_count:
        warnings.append(f"{count} images, the official release has {official_count}")
        for source in sources:
            if source["official"] is None:
                source["official"] = False
    for source in sources:
        if source["official"] is False:
            warnings.append(f"{source['file']} is not the official file")
        elif source["official"] is None:
            warnings.append(f"{source['file']} could not be compared: no official SHA-256 is known")
    return warnings


def _decoded(name: str, samples: list, importer: Importer, size: int) -> Iterator[Row]:
    """Decode in threads (Pillow and zlib release the interpreter lock), in the order of the samples, with a progress bar."""
    with tqdm(total=len(samples), desc=f"decoding {name}", unit="image", disable=None) as bar:
        pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        try:
            for row in pool.map(lambda sample: decode_sample(sample, importer, size), samples):
                bar.update()
                yield row
        finally:
            pool.shutdown(cancel_futures=True)


def _phantom(name: str, size: int):
    """Images, masks and manifest of a phantom data set; its key is the generator's code, so an edit makes it anew."""
    folder = entry_folder(name, size, [modules_sha256(["ehanet.data.phantoms"])])
    ready = read_entry(folder)
    if ready is not None:
        return ready
    images, masks, ids, groups = _phantoms().make_phantom(name, size)
    order = sorted(range(len(ids)), key=lambda index: natural_key(ids[index]))
    rows = (Row(images[i], masks[i], size, size, empty=not masks[i].any()) for i in order)
    facts = {"name": name, "modality": "phantom", "licence": "that of this code", "citation": None, "spacing_mm": None}
    write_entry(folder, [ids[i] for i in order], [groups[i] for i in order], rows, size, {**facts, "sources": [], "warnings": []})
    return _written(folder)
