"""The parts of the report page, each read from files of the reports folder; a part without files is left out."""

from __future__ import annotations

import glob
import struct
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ehanet.records import read_record
from ehanet.reporting.results import mark_of_manifest
from ehanet.reporting.tables import Table, read_table
from ehanet.reporting.wording import TITLES, dataset_title, original_size
from ehanet.reporting.writers import to_html

class Part(NamedTuple):
    """A heading of a data set's section and the files below it, ``{}`` for the data set's name; a figure has its caption, a table needs none."""

    title: str
    items: dict[str, str]


# The order of a data set's section. A study adds its heading here; files that do not exist are passed over.
PARTS = [
    Part("Images", {"data/{}": "Training images at equal steps of the object's area; below, with the contour of the label."}),
    Part("Comparison", {
        "tables/comparison_{}": "",
        "figures/scores_{}": "Mean of every method with its 95 % interval; each dot is one test image.",
        "tables/differences_{}": "", "tables/volumes_{}": ""}),
    Part("The recipe, step by step", {
        "tables/ladder_{}": "",
        "figures/ladder_{}": "Each step was kept only if it raised the Dice of the validation split; the test split was looked at afterwards. Ticks: single trainings."}),
    Part("Cost", {"tables/cost_{}": "", "figures/cost_{}": "Dice against cost: up and to the left is better."}),
    Part("What the choice of score does", {
        "tables/score_choice_{}": "",
        "figures/score_choice_{}": "The same predictions scored in different ways: filled is ours, the open circle is the released evaluation."}),
    Part("Numbers of other publications", {"tables/published_{}": ""}),
    Part("Side by side", {
        "figures/side_by_side_{}": "The same test images for all, chosen by rule from the reference's Dice: best, quartiles, worst. "
                                   "Grey: found, blue: missed, orange: spurious."}),
    Part("Edges", {
        "figures/edges_{}": "White: contour of the label; orange, dashed: of the prediction. Right: the edge map of the edge branch, alone and with the label's contour.",
        "tables/edges_{}": "",
        "figures/edge_distance_{}": "How many pixels are wrong at each distance to the label's contour: inside the object (missed) and outside (spurious).",
        "tables/iem_{}": "",
        "figures/iem_{}": "Each circle is one test image; on the dashed line the edge branch changes nothing."}),
    Part("Seeing inside", {
        "figures/grad_cam_{}": "Grad-CAM on the test image at the median of EHANet's Dice: light where a layer speaks for the output.",
        "figures/outputs_{}": "What each output of EHANet finds, from coarse to fine.",
        "figures/gates_{}": "What EFA and AHFA let through on this image.",
        "tables/inside_{}": ""}),
    Part("Failures", {
        "figures/failures_{}": "The worst test images, with what went wrong below each: the kind with the largest share of the wrong pixels.",
        "tables/failures_{}": "", "tables/failure_kinds_{}": "",
        "figures/failure_kinds_{}": "Wrong pixels of all test images by kind."}),
    Part("Ablations", {
        "tables/ablation_parts_{}": "", "tables/ablation_choices_{}": "",
        "figures/ablations_{}": "What each change does to the network as it is; right of the dashed line is better."}),
    Part("Robustness", {
        "tables/robustness_{}": "",
        "figures/robustness_{}": "Dice against the severity of each corruption, with its 95 % interval.",
        "figures/corruptions_{}": "One test image under each corruption, from as it is to severity 5.",
        "tables/cross_{}": "",
        "figures/cross_{}": "The same networks on another data set: do they keep their distance to the reference?"}),
    Part("Protocol audit", {
        "tables/protocol_{}": "",
        "figures/protocol_{}": "What each choice of the released code does to the number, one at a time; right of the dashed line is a higher score, not a better one."}),
    Part("Leakage audit", {
        "tables/leakage_{}": "",
        "figures/leakage_{}": "Images that look like one of another part of the split, by perceptual hash."}),
    Part("Trained again", {
        "tables/repeated_differences_{}": "",
        "figures/repeated_{}": "Each method's difference to the reference as it was recorded and as it came out when all were trained again."}),
    Part("Training", {"figures/training_{}": "Validation Dice by epoch; the other methods in grey."}),
]


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
    parts = [(part.title, [item for pattern, text in part.items.items() if (item := _item(reports, pattern.format(name), title, text))]) for part in PARTS]
    files = [notebook(reports, path.stem, path.stem.split("__")[0].split("_", 1)[-1].replace("_", " ")) for path in _notebooks(reports, name)]
    files += [link(reports, f"data/{name}.json", "data record"), link(reports, f"data/{name}.split.csv", "split")]
    shown = " · ".join(filter(None, files))
    return {"id": f"data-{name}", "title": title, "mark": mark_of_manifest({"name": name, **(record or {}).get("data", {})}), "facts": _facts(record),
            "parts": [{"title": head, "items": items, "together": 'class="picture"' in items[0]} for head, items in parts if items],
            "files": f"Executed notebooks and files: {shown}" if shown else ""}


def shown_files(names: list[str]) -> set[str]:
    """Every table and figure that the sections of these data sets show, where it exists."""
    return {pattern.format(name) for part in PARTS for pattern in part.items for name in names}


def _item(reports: Path, stem: str, title: str, text: str) -> str:
    folder, name = stem.split("/")
    if folder == "tables":
        return table(reports, name)
    return picture(reports, stem, f"{title}: {'images and contours' if folder == 'data' else name.rsplit('_', 1)[0].replace('_', ' ')}", text)


def _notebooks(reports: Path, name: str) -> list[Path]:
    """The executed notebooks of a data set, one a step; those of trainings stand beside their runs."""
    found = sorted((reports / "notebooks").glob(f"*__{glob.escape(name)}.*"))
    return list({path.stem: path for path in found if path.suffix in (".html", ".ipynb") and not path.stem.startswith("02_train")}.values())


def _facts(record: dict | None) -> list[tuple[str, str]]:
    data = (record or {}).get("data")
    if not data:
        return []
    split, came = data.get("split", {}), original_size(data)
    counts = ", ".join(f"{count} {part}" for part, count in split.get("counts", {}).items())
    size = f"{data.get('size')} × {data.get('size')}"
    made = f"of {size} pixels" if came == size else f"squashed to {size} pixels" + (f" from {came}" if came and data.get("modality") != "phantom" else "")
    facts = [("Images", f"{data.get('count')}, {made}"),
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


def run_rows(reports: Path) -> list[tuple[dict, str]]:
    """Record and HTML links of each training; where its own record is missing, that of its scores, which names it.

    A training on several data sets is one row with the scores on each.
    """
    places = {tuple(path.parts[-4:-1]) for path in (reports / "runs").glob("*/*/seed*/record.json")}
    places |= {(path.parent.name, *path.stem.rsplit("__", 1)) for path in (reports / "scores").glob("*/*__seed*.json")}
    trainings: dict[tuple, list[tuple[str, dict]]] = {}
    for dataset, label, seed in sorted(places):
        own = reports / "runs" / dataset / label / seed / "record.json"
        record = read_record(own if own.is_file() else reports / f"scores/{dataset}/{label}__{seed}.json")
        trainings.setdefault((record["config"]["dataset"], label, seed), []).append((dataset, record))
    found = []
    for (_, label, seed), parts in trainings.items():
        files = []
        for dataset, _ in parts:
            place, scores, on = f"runs/{dataset}/{label}/{seed}", f"scores/{dataset}/{label}__{seed}", f" on {dataset_title(dataset)}" if len(parts) > 1 else ""
            files += [link(reports, f"{place}/record.json", "record"), link(reports, f"{place}/history.csv", "history"), link(reports, f"{scores}.csv", f"scores{on}"),
                      link(reports, f"{scores}.json", "record of the scores"), notebook(reports, f"02_train__{dataset}__{label}__{seed}", "notebook")]
        record = next((one for _, one in parts if one["kind"] == "run"), parts[0][1])
        found.append((record, " · ".join(filter(None, files))))
    return found
