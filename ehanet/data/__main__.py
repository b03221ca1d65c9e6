"""``python -m ehanet.data kvasir-seg --source ../shared/data``: import data sets into the cache and say what they are."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from ehanet.data.catalogue import CATALOGUE, Archive, Entry, parts_of
from ehanet.data.dataset import Dataset, list_datasets, load_dataset
from ehanet.data.download import download_dataset, missing_archives
from ehanet.data.sources import find_part

COLUMNS = ("data set", "images", "groups", "size", "train/val/test", "empty masks", "split", "official files", "seconds")


def main(arguments: list[str] | None = None) -> int:
    """Import every named data set; one line on standard error and exit status 1 where one fails."""
    parser = argparse.ArgumentParser(prog="python -m ehanet.data", description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help=f"{', '.join(list_datasets())}, or a folder with images/ and masks/")
    parser.add_argument("--source", type=_folder, help="folder of archives or unpacked folders that you have; never written")
    parser.add_argument("--root", type=_folder, help="folder that downloads go to (default: in the cache)")
    parser.add_argument("--download", action="store_true", help="fetch archives that are not there")
    parser.add_argument("--size", type=int, default=256, help="side of the squashed images in pixels")
    options = parser.parse_args(arguments)
    if "" in options.datasets:
        parser.error("the name of a data set is empty; name a folder with images/ and masks/, or . for the current one")
    if options.download and not options.datasets:
        parser.error(f"--download: name what to fetch: {', '.join(CATALOGUE)}")
    if options.download and options.source is not None:
        parser.error("--download: nothing is fetched into --source; leave one of the two out (--root names the folder of downloads)")
    if not options.datasets and options.source is None:
        _print_catalogue()
        return 0
    if not options.datasets:  # whatever of the catalogue the folder holds
        if not options.source.exists():
            print(f"--source: {options.source} does not exist; name the folder that holds the archives", file=sys.stderr)
            return 1
        options.datasets = [name for name, entry in CATALOGUE.items() if _is_there(entry, options.source)]
        for name in CATALOGUE:
            if name not in options.datasets:
                print(f"{name}: not in {options.source}")
        if not options.datasets:
            print(f"{options.source} holds none of {', '.join(CATALOGUE)}", file=sys.stderr)
            return 1
    rows, warnings, failed = [], [], False
    for name in options.datasets:
        started = time.monotonic()
        try:
            if options.download:
                _fetch(name, options.root)
            dataset = load_dataset(name, root=options.source or options.root, size=options.size)
        except (ValueError, OSError) as error:
            print(f"{name}: {error}" if name not in str(error) else error, file=sys.stderr)
            failed = True
            continue
        rows.append(_row(dataset, time.monotonic() - started))
        warnings += [f"{dataset.name}: {warning}" for warning in dataset.manifest["warnings"]]
    if rows:
        _print_table([COLUMNS, *rows])
    for warning in warnings:
        print(f"note: {warning}")
    return 1 if failed else 0


def _folder(text: str) -> Path:
    return Path(os.path.expanduser(text))  # the shell leaves a quoted ~ as it is, and so does make


def _is_there(entry: Entry, source: Path) -> bool:
    """Whether the folder holds any part of a data set; one that lacks another part is an error of the import, which names it."""
    return any(find_part(archive, source, alone=len(entry.archives) == 1) for archive in entry.archives)


def _fetch(name: str, root: Path | None) -> None:
    """Fetch what is missing of a data set, or of the parts of a union: what has no direct download comes last, so that it does not keep the rest away."""
    missing = {part: missing_archives(part, root) for part in parts_of(name) if part in CATALOGUE}
    for part in sorted(missing, key=lambda part: any(archive.url is None for archive in missing[part])):
        _announce(part, missing[part])
        download_dataset(part, root)


def _announce(name: str, missing: list[Archive]) -> None:
    for archive in missing:
        if archive.url is None:
            continue  # download_dataset says how to get it
        size = "size not known" if archive.bytes is None else f"{archive.bytes / 1e6:.0f} MB"
        print(f"{name}: fetching {archive.file_name} ({size})", flush=True)


def _row(dataset: Dataset, seconds: float) -> tuple[str, ...]:
    manifest = dataset.manifest
    official = [{True: "yes", False: "no", None: "not known"}[source["official"]] for source in manifest["sources"]]
    return (
        dataset.name,
        str(manifest["count"]),
        str(len(set(dataset.groups))),
        f"{manifest['size']} px",
        "/".join(str(count) for count in manifest["split"]["counts"].values()),
        str(manifest["empty_masks"]),
        manifest["split"]["source"],
        ", ".join(dict.fromkeys(official)) or "drawn by code",
        f"{seconds:.1f}",
    )


def _print_catalogue() -> None:
    rows = [("data set", "images", "official size", "licence", "how to get it")]
    for entry in CATALOGUE.values():
        sizes = [archive.bytes for archive in entry.archives]
        total = "not known" if None in sizes else f"{sum(sizes) / 1e6:.0f} MB"
        rows.append((entry.name, str(entry.count), total, entry.licence, entry.how_to_get))
    _print_table(rows)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; run again to go on")
