"""The leakage audit: near-duplicates and patients that several splits share, as a table and as pictures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ehanet.data import Dataset
from ehanet.data.duplicates import CORRELATION, DISTANCE, leakage, near_duplicates, split_places
from ehanet.data.splits import rule_split
from ehanet.files import file_sha256, write_atomically
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.overlays import shortened
from ehanet.reporting.results import mark_of_manifest
from ehanet.reporting.style import FAINT, MUTED, WIDTH, figure_style, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Table, write_table
from ehanet.reporting.wording import dataset_title, group_name

MODULES = ["ehanet.data.duplicates", "ehanet.reporting.leakage"]
SHOWN = 8  # pairs in the figure
NAMED = 12  # letters of an id that the figure prints


def leakage_report(data: Dataset, reports: str | Path) -> Table:
    """Write tables/leakage_<data set>, figures/leakage_<data set> and leakage/<data set>.csv (every pair) and return the table."""
    reports = Path(reports)
    pairs = near_duplicates(data.images)
    splits = _splits(data)
    places = next(iter(splits.values()))
    listed = pd.DataFrame({"first": [data.ids[index] for index in pairs["first"]], "first_split": [places[index] for index in pairs["first"]],
                           "second": [data.ids[index] for index in pairs["second"]], "second_split": [places[index] for index in pairs["second"]],
                           "distance": pairs["distance"], "correlation": pairs["correlation"], "identical": pairs["identical"],
                           "same_group": [data.groups[one] == data.groups[other] for one, other in zip(pairs["first"], pairs["second"])]})
    write_atomically(reports / "leakage" / f"{data.name}.csv", listed.to_csv(index=False, float_format="%.4f"))
    table = _table(data, pairs, splits)
    write_table(table, reports / "tables", MODULES, data=data.manifest, pairs_sha256=file_sha256(reports / "leakage" / f"{data.name}.csv"))
    path = reports / "figures" / f"leakage_{data.name}"
    record = make_record(path, "figure", MODULES, mark=table.mark, data=data.manifest)
    with figure_style():
        save_figure(_draw(data, pairs, splits, table.mark), path, record, f"Near-duplicates in {dataset_title(data.name)}")
    return table


def _splits(data: Dataset) -> dict[str, list[str]]:
    """Name -> part of each image: the split in use and, where images form groups, the one that cuts through them."""
    account, grouped = data.manifest["split"], _grouped(data)
    used = account["source"] if account["source"] != "rule" else f"by {group_name(data.manifest)[:-1]}" if grouped else "by image"
    return {used: split_places(data.splits, len(data.ids))} | ({"by slice": rule_split(data.ids, data.ids)} if _sliced(data) else {})


def _grouped(data: Dataset) -> bool:
    return len(set(data.groups)) < len(data.ids)


def _sliced(data: Dataset) -> bool:
    """Whether the images are slices of patients, which a plain split, all that the release asks for, deals out one by one."""
    return _grouped(data) and group_name(data.manifest) == "patients"


def _table(data: Dataset, pairs: pd.DataFrame, splits: dict[str, list[str]]) -> Table:
    grouped = _grouped(data)
    columns = [Column("split", "Split"), Column("between", "Between"), Column("pairs", "Near-duplicate pairs", "count"), Column("identical", "of them identical", "count"),
               Column("affected", "Images affected", "count"), Column("share", "Share", "value"), Column("groups", f"{group_name(data.manifest).capitalize()} in both", "count", shown=grouped),
               Column("mark", "Mark")]
    mark = mark_of_manifest(data.manifest)
    body = []
    for name, where in splits.items():
        for row in leakage(pairs, where, data.groups).to_dict("records"):
            share = f"{100 * row['affected'] / row['images']:.1f} %" if row["images"] else ""
            body.append({**row, "split": name, "between": f"{row['one']} and {row['other']}", "share": share, "mark": mark,
                         "groups": row["groups"] if grouped else None})
    within = len(pairs) - sum(row["pairs"] for row in body[:3])
    notes = [f"Near-duplicates: perceptual hashes (64 bits of the cosine transform) that differ in at most {DISTANCE} bits, and a correlation of at least {CORRELATION} "
             f"of the images reduced to 32 × 32 grey pixels; found at {data.images.shape[1]} × {data.images.shape[1]} pixels. Mirrored or turned copies are not looked for.",
             "Images affected: those of the second split that have a near-duplicate in the first. Likeness is no proof: look at the pictures.",
             f"Within one part of the split: {within} further pairs." + (f" All pairs: leakage/{data.name}.csv." if len(pairs) else "")]
    if _sliced(data):
        notes.append(f"{len(data.ids)} slices of {len(set(data.groups))} patients. By slice: the same rule on slices instead of patients. "
                     "The release asks for a split of 8:1:1 and says nothing of patients.")
    return Table(f"leakage_{data.name}", f"{dataset_title(data.name)}: what the splits share", mark, columns, body, notes)


def _draw(data: Dataset, pairs: pd.DataFrame, splits: dict[str, list[str]], mark: str) -> Figure:
    """A band for each split: its most alike pairs that lie across two parts, one pair a column."""
    bands = {name: pairs[[places[one] != places[other] for one, other in zip(pairs["first"], pairs["second"])]] for name, places in splits.items()}
    columns = max(4, min(SHOWN, max(map(len, bands.values()))))
    gap, head, title, line = 0.05, 0.2, 0.3, 0.15
    cell = min(1.15, (WIDTH - gap) / columns - gap)
    width = gap + columns * (cell + gap)
    heights = [title + (2 * (cell + line) + line if len(across) else 0) for across in bands.values()]
    height = head + sum(heights) + 0.2
    figure = plt.figure(figsize=(width, height))
    top = height - head
    for (name, across), tall in zip(bands.items(), heights):
        figure.text(0.06 / width, (top - 0.12) / height, f"{name}: {_said(len(across))}", ha="left", va="top", fontsize=7)
        for column, pair in enumerate(across.head(SHOWN).itertuples()):
            left, y = gap + column * (cell + gap), top - title
            for index in (pair.first, pair.second):
                axis = figure.add_axes((left / width, (y - cell) / height, cell / width, cell / height))
                axis.imshow(data.images[index], interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set(visible=True, color=FAINT, linewidth=0.5)
                axis.text(0.5, -0.03, f"{splits[name][index]}: {shortened(data.ids[index], NAMED)}", transform=axis.transAxes, ha="center", va="top", fontsize=5.4)
                y -= cell + line
            said = "identical" if pair.identical else f"{pair.distance} bits, r = {pair.correlation:.3f}"
            figure.text((left + cell / 2) / width, (y - 0.01) / height, said, ha="center", va="top", fontsize=5.8, color=MUTED)
        top -= tall
    figure.text(0.06 / width, 1 - 0.06 / height, f"{dataset_title(data.name)}: near-duplicates across splits", ha="left", va="top", fontsize=7.5, color=MUTED)
    if any(map(len, bands.values())):
        figure.text(0.06 / width, 0.05 / height, "one pair a column; below it the bits of the hash that differ, and the correlation", ha="left", va="bottom", fontsize=6, color=MUTED)
    stamp(figure, mark)
    return figure


def _said(count: int) -> str:
    return "no pair" if not count else "one pair" if count == 1 else f"{count} pairs" + (f", the {SHOWN} most alike" if count > SHOWN else "")
