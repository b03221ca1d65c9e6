"""The parts of the report page, each read from files of the reports folder; a part without files is left out."""

from __future__ import annotations

import struct
from html import escape
from pathlib import Path
from urllib.parse import quote

from ehanet.records import read_record
from ehanet.reporting.results import PAPER_SETS, PHANTOM, PUBLISHED, mark_of_manifest
from ehanet.reporting.tables import Column, Score, Table, read_table
from ehanet.reporting.wording import TITLES, dataset_title
from ehanet.reporting.writers import format_score, to_html

PICTURES = {
    "scores": "Mean of every method with its 95 % interval; each dot is one test image.",
    "score_choice": "The same predictions scored in different ways: filled is ours, the open circle is the released evaluation.",
    "cost": "Dice against cost: up and to the left is better.",
    "side_by_side": "The same test images for all, chosen by rule from the reference's Dice: best, quartiles, worst. Grey: found, blue: missed, orange: spurious.",
    "training": "Validation Dice by epoch; the other methods in grey.",
}


def dataset_names(reports: Path) -> list[str]:
    """Every data set that the folder holds something of: the known ones first, in the paper's order."""
    found = {path.stem for path in (reports / "data").glob("*.json")} | {path.parent.name for path in (reports / "scores").glob("*/methods.json")}
    known = list(TITLES)
    return sorted(found, key=lambda name: (known.index(name) if name in known else len(known), name))


def link(reports: Path, path: str, text: str) -> str:
    """An HTML link to a file of the folder; nothing where the file is missing."""
    return f'<a href="{quote(path)}">{escape(text)}</a>' if (reports / path).is_file() else ""


def links(reports: Path, files: list[tuple[str, str]]) -> str:
    """Links to those of the files that exist, separated by dots."""
    return " · ".join(filter(None, (link(reports, path, text) for path, text in files)))


def notebook(reports: Path, name: str, text: str) -> str:
    """A link to an executed notebook as HTML, else to the notebook itself."""
    return link(reports, f"notebooks/{name}.html", text) or link(reports, f"notebooks/{name}.ipynb", text)


def picture(reports: Path, stem: str, alt: str, text: str) -> str:
    """A figure with caption and links to its PDF and record; nothing where the PNG is missing."""
    path = reports / f"{stem}.png"
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:24])  # of the PNG's header
    beside = links(reports, [(f"{stem}.png", "PNG"), (f"{stem}.pdf", "PDF"), (f"{stem}.json", "record")])
    return (f'<figure class="picture"><a href="{quote(stem)}.png"><img src="{quote(stem)}.png" width="{width}" height="{height}" alt="{escape(alt)}"></a>'
            f'<figcaption>{escape(text)} <span class="files">{beside}</span></figcaption></figure>')


def table(reports: Path, name: str) -> str:
    """A written table with links to its files; nothing where it is missing."""
    path = reports / "tables" / f"{name}.csv"
    if not path.is_file() or not path.with_suffix(".json").is_file():
        return ""
    files = [(f"tables/{name}{suffix}", text) for suffix, text in ((".csv", "CSV"), (".md", "Markdown"), (".tex", "LaTeX"), (".json", "record"))]
    return f'{to_html(read_table(path))}<p class="files">{links(reports, files)}</p>'


def data_records(reports: Path) -> dict[str, dict]:
    """Name -> record of each data set that has one."""
    return {name: read_record(path) for name in dataset_names(reports) if (path := reports / "data" / f"{name}.json").is_file()}


def dataset_section(reports: Path, name: str, record: dict | None) -> dict:
    """What the template shows of one data set."""
    title = dataset_title(name)
    pictures = {kind: picture(reports, f"figures/{kind}_{name}", f"{title}: {kind.replace('_', ' ')}", text) for kind, text in PICTURES.items()}
    sheet = picture(reports, f"data/{name}", f"{title}: images and contours", "Training images at equal steps of the object's area; below, with the contour of the label.")
    parts = [("Images", [sheet]), ("Comparison", [table(reports, f"comparison_{name}"), pictures["scores"], table(reports, f"differences_{name}"), pictures["cost"]]),
             ("What the choice of score does", [table(reports, f"score_choice_{name}"), pictures["score_choice"]]),
             ("Numbers of other publications", [table(reports, f"published_{name}")]), ("Side by side", [pictures["side_by_side"]]),
             ("Training", [pictures["training"]])]
    steps = (("01_data", "the data"), ("03_evaluate", "evaluation"), ("04_compare", "comparison"), ("05_pictures", "pictures"))
    files = [notebook(reports, f"{step}__{name}", text) for step, text in steps]
    files += [link(reports, f"data/{name}.json", "data record"), link(reports, f"data/{name}.split.csv", "split")]
    shown = " · ".join(filter(None, files))
    return {"id": f"data-{name}", "title": title, "mark": mark_of_manifest({"name": name, **(record or {}).get("data", {})}), "facts": _facts(record),
            "parts": [{"title": head, "items": [item for item in items if item], "together": 'class="picture"' in next(filter(None, items))}
                      for head, items in parts if any(items)],
            "files": f"Executed notebooks and files: {shown}" if shown else ""}


def _facts(record: dict | None) -> list[tuple[str, str]]:
    data = (record or {}).get("data")
    if not data:
        return []
    split, sizes = data.get("split", {}), data.get("original_sizes", {})
    counts = ", ".join(f"{count} {part}" for part, count in split.get("counts", {}).items())
    came = f"{len(sizes)} sizes" if len(sizes) > 1 else next(iter(sizes), "").replace("x", " × ")
    facts = [("Images", f"{data.get('count')}, squashed to {data.get('size')} × {data.get('size')} pixels" + (f" from {came}" if came and data.get("modality") != "phantom" else "")),
             ("Empty masks", str(data["empty_masks"]) if data.get("empty_masks") else ""),
             ("Split", f"{counts}; by {split['source'] if split['source'] != 'rule' else 'our rule'}" if counts else ""),
             ("Files", "; ".join(f"{source['file']} ({_official(source.get('official'))})" for source in data.get("sources", []))),
             ("Licence", str(data.get("licence") or "")), ("Citation", str(data.get("citation") or "")), ("Content", str(data.get("content", ""))[:16])]
    return [(name, value) for name, value in facts if value]


def _official(value: bool | None) -> str:
    return {True: "official, by SHA-256", False: "not the official file"}.get(value, "no official SHA-256 known")


def comparisons(reports: Path) -> dict[str, Table]:
    """Data set -> its comparison table."""
    return {name: read_table(path) for name in dataset_names(reports) if (path := reports / "tables" / f"comparison_{name}.csv").is_file()}


def card(reports: Path, name: str, compared: Table) -> dict | None:
    """The headline of one data set: the reference's Dice and how its boundary and rank compare."""
    reference = reference_row(compared)
    if reference is None:
        return None
    scored = [row for row in compared.rows if row["dice"] is not None]
    number, interval = format_score(reference["dice"], 3)
    lines = []
    if len(scored) > 1:
        place = 1 + sum(row["dice"].mean > reference["dice"].mean for row in scored)
        lines.append(f"Rank {place} of {len(scored)} by mDice. {significant(reports, name, 'dice')}".strip())
    boundary, between = format_score(reference["boundary_f1"], 3)
    lines.append(f"Boundary F1 {boundary} ({between}); HD95 {reference['hd95'].mean:.2f} px.")
    return {"id": f"data-{name}", "title": dataset_title(name), "mark": compared.mark, "number": number, "interval": interval, "reference": reference["title"], "lines": lines}


def reference_row(compared: Table) -> dict | None:
    """EHANet's row, else a variant of it, else the first with numbers."""
    scored = [row for row in compared.rows if row.get("dice") is not None]
    named = [row for row in scored if row["label"] == "ehanet"] or [row for row in scored if row["method"] == "ehanet"]
    return next(iter(named or scored), None)


def significant(reports: Path, name: str, score: str) -> str:
    """In words: how many methods are significantly below and above the reference by ``score``."""
    path = reports / "tables" / f"differences_{name}.csv"
    if not path.is_file():
        return ""
    rows = [row for row in read_table(path).rows if row[f"{score}_difference"] is not None]
    clear = [row for row in rows if float(row[f"{score}_p_holm_exact"]) < 0.05]  # not a number where untested: never below
    above = sum(row[f"{score}_difference"].mean > 0 for row in clear)
    below = len(clear) - above
    return f"Significantly below it: {below} of {len(rows)} methods; above: {above}."


def claims(reports: Path, compared: dict[str, Table]) -> Table | None:
    """The paper's claims, the empty place for its numbers, and what was measured here."""
    rows = []
    for name, one in compared.items():
        reference = reference_row(one)
        if reference is None or reference["method"] != "ehanet":
            continue
        for claim, score in (("More accurate than the compared methods", "dice"), ("Accurate at edges", "boundary_f1")):
            mean, interval = format_score(reference[score], 3)
            word = "mDice" if score == "dice" else "boundary F1"
            rows.append({"claim": f"{claim}: {dataset_title(name)}", "paper": "not public; place kept" if name in PAPER_SETS else "none: not a data set of the paper",
                         "here": f"{word} {mean} ({interval}). {significant(reports, name, score)}".strip(), "mark": one.mark})
    columns = [Column("claim", "Claim"), Column("paper", "Paper's number (published)"), Column("here", "Measured here"), Column("mark", "Mark")]
    return Table("claims", "The paper's tables are not public text, so no number of its own is quoted", PUBLISHED + " / measured", columns, rows) if rows else None


def overview(compared: dict[str, Table]) -> Table | None:
    """mDice of every method on every data set, where there are several of both."""
    if len(compared) < 2:
        return None
    rows: dict[str, dict] = {}
    for name, one in compared.items():
        for row in one.rows:
            rows.setdefault(row["label"], {"title": row["title"]})[name] = row["dice"]
    columns = [Column("title", "Method"), *[Column(name, dataset_title(name) + (" (phantom)" if one.mark == PHANTOM else ""), "score") for name, one in compared.items()]]
    marks = " / ".join(dict.fromkeys(one.mark for one in compared.values()))
    body = [row for row in rows.values() if any(isinstance(cell, Score) for cell in row.values())]
    return Table("overview", "Mean Dice with its 95 % interval", marks, columns, body, ["Bold: significantly best, as in the tables below."])


def run_rows(reports: Path) -> list[tuple[dict, str]]:
    """Record and HTML links of each finished run."""
    found = []
    for path in sorted((reports / "runs").glob("*/*/seed*/record.json")):
        dataset, label, seed = path.parts[-4:-1]
        place = f"runs/{dataset}/{label}/{seed}"
        files = [link(reports, f"{place}/record.json", "record"), link(reports, f"{place}/history.csv", "history"),
                 link(reports, f"scores/{dataset}/{label}__{seed}.csv", "scores"), notebook(reports, f"02_train__{dataset}__{label}__{seed}", "notebook")]
        found.append((read_record(path), " · ".join(filter(None, files))))
    return found
