"""``index.html``: one page with all results of a profile and the way back from each number to what made it."""

from __future__ import annotations

from html import escape
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from ehanet.data.sources import own_name
from ehanet.reporting import sections
from ehanet.reporting.glance import card, overview
from ehanet.files import write_atomically
from ehanet.reporting.results import ABSENT, PHANTOM, PUBLISHED, REPRODUCED
from ehanet.reporting.style import look
from ehanet.reporting.template import STYLE, TEMPLATE
from ehanet.reporting.wording import dataset_title, duration
from ehanet.reporting.writers import breakable, to_html

MARKS = {
    REPRODUCED: "Trained and measured by this code on real images.",
    PHANTOM: "Trained and measured by this code on images drawn by code: they test the machinery and say nothing about patients.",
    PUBLISHED: "Copied from another publication, on its own split and setting; never ranked against ours.",
    ABSENT: "The row is kept, and says why it has no numbers.",
}


def report_page(reports: str | Path, title: str | None = None) -> Path:
    """Write ``reports``/index.html from the files beside it and return its path.

    The page opens from disk, has no scripts and loads nothing from outside its folder; it has no part without content.

    Raises:
        FileNotFoundError: the folder holds neither a data set nor scores.
        ValueError: a record or table is damaged; the message names it.
    """
    reports = Path(reports)
    names = sections.dataset_names(reports)
    if not names:
        raise FileNotFoundError(f"{reports} holds no data sets and no scores yet; run make paper first")
    records, compared, runs = sections.data_records(reports), sections.comparisons(reports), sections.run_rows(reports)
    datasets = [sections.dataset_section(reports, name, records.get(name)) for name in names]
    marks = list(dict.fromkeys(one["mark"] for one in datasets))
    cards = [one for name, table in compared.items() if (one := card(reports, name, table))]
    every, claimed = overview(compared) if len(compared) > 1 else None, sections.table(reports, "claims")
    held = sections.table(reports, "datasets") if len(records) > 1 else ""  # one data set's facts stand in its section
    extra = _extra(reports, {"tables/claims", "tables/datasets", *sections.shown_files(names)})
    machine = _machine([record for record, _ in runs if record["kind"] == "run"], len(runs))
    contents = [("results", "Results")] if cards or claimed else []
    contents += ([("datasets", "Data sets")] if held else []) + [(one["id"], one["title"]) for one in datasets] + ([("further", "Further tables")] if extra else [])
    contents += ([("made", "How each number was made")] if runs else []) + ([("machine", "Machine and time")] if machine else [])
    for one in datasets:
        one["parts"] = [{**part, "items": [Markup(item) for item in part["items"]]} for part in one["parts"]]
        one["files"] = Markup(one["files"])
    environment = Environment(autoescape=True, trim_blocks=False, keep_trailing_newline=True)
    profile = reports.resolve().name
    page = environment.from_string(TEMPLATE).render(
        title=title or f"EHANet: results of the profile “{profile}”", style=Markup(STYLE), lead=_lead(datasets, runs), banner=_banner(marks),
        warnings=_warnings(records, [record for record, _ in runs]), contents=contents, cards=cards, datasets=datasets, machine=machine, extra=extra,
        overview=[Markup(to_html(every))] if every else [], claims=Markup(claimed), held=Markup(held),
        marks=[(mark, MARKS[mark]) for mark in MARKS if mark in (*marks, PUBLISHED, ABSENT)], runs=Markup(_runs(runs)) if runs else "",
        licence=f"Code: MIT licence, written anew from the paper. Data: {_licences(records)}. Numbers marked “{PUBLISHED}” belong to their authors.")
    write_atomically(reports / "index.html", page)
    return reports / "index.html"


def _lead(datasets: list[dict], runs: list) -> str:
    methods = len({record["config"]["label"] for record, _ in runs})
    if not runs:
        return f"{_count(len(datasets), 'data set')}: what each holds, and what its split lets through, before any training."
    text = f"A segmentation network that looks at edges, reproduced: {_count(methods, 'method')} on {_count(len(datasets), 'data set')}"
    return text + ". Every number below can be followed back to the run, the seed, the code and the images that made it."


def _banner(marks: list[str]) -> str:
    if marks == [PHANTOM]:
        return "Phantom data: all images here are drawn by code. The numbers show that everything works; they say nothing about patients."
    if PHANTOM in marks:
        return f"Some data sets are phantoms, drawn by code: look for the mark “{PHANTOM}”. Their numbers say nothing about patients."
    return ""


def _warnings(records: dict[str, dict], runs: list[dict]) -> list[str]:
    """Every warning of the records once, with the data sets it is about."""
    about: dict[str, set[str]] = {}
    for name, record in records.items():
        for warning in record.get("data", {}).get("warnings", []):
            about.setdefault(warning, set()).add(dataset_title(name))
    for record in runs:
        for warning in record.get("warnings", []):
            about.setdefault(warning, set()).add(dataset_title(record.get("data", {}).get("name", "")))
    said = [f"{', '.join(sorted(filter(None, names)))}: {warning}." for warning, names in about.items() if not warning.startswith("encoder:")]
    random = dict.fromkeys(look(record["config"]["label"], record["config"]["method"]).title for record in runs
                           if any(warning.startswith("encoder:") for warning in record.get("warnings", [])))
    if random:
        said.append(f"Encoders without ImageNet weights, started from random ones (column Encoder): {'; '.join(random)}. Scores of these rows are not those of pretrained networks.")
    return said


def _licences(records: dict[str, dict]) -> str:
    said = dict.fromkeys(f"{dataset_title(name)}: {record.get('data', {}).get('licence') or 'not recorded'}" for name, record in records.items()
                         if record.get("data", {}).get("modality") != "phantom")
    return "; ".join(said) or "phantoms drawn by this code, under the same licence"


def _runs(runs: list[tuple[dict, str]]) -> str:
    """The table of trainings, links in its last column."""
    head = ("Run", "Data set", "Seed", "Encoder", "Epochs", "Steps", "Best validation Dice", "Time", "Peak memory", "Device", "Files")
    body = []
    for record, files in runs:
        config, best = record["config"], record.get("best") or {}
        dice = f"{best['val_dice']:.3f} (epoch {best['epoch']})" if "val_dice" in best else "–"
        memory = record.get("peak_memory_bytes")
        cells = [dataset_title(own_name(config["dataset"])), config["seed"], record.get("encoder", "–"), config.get("epochs", "–"), record.get("steps", "–"), dice,
                 duration(record.get("seconds")), f"{memory / 2**30:.1f} GiB" if memory else "–", _device(record)]
        name = look(config["label"], config["method"]).title
        body.append(f'<tr><th scope="row">{escape(name)}</th>' + "".join(f'<td class="{"text" if title == "Encoder" else ""}">{breakable(str(cell))}</td>' for title, cell in zip(head[1:], cells)) + f"<td>{files}</td></tr>")
    return ('<figure class="table"><div class="scroll" tabindex="0" role="region" aria-label="Trainings"><table><thead><tr>'
            + "".join(f'<th scope="col">{name}</th>' for name in head) + f'</tr></thead><tbody>{"".join(body)}</tbody></table></div></figure>')


def _device(record: dict) -> str:
    """As in "AMD EPYC (cpu, 2 threads)"."""
    device = record.get("device") or {}
    if "name" not in device:
        return "–"
    threads = f", {_count(device['threads'], 'thread')}" if device.get("type") == "cpu" else ""
    return f"{device['name']} ({device.get('type', '?')}{threads})"


def _machine(records: list[dict], trainings: int) -> list[tuple[str, str]]:
    if not records:
        return []

    def every(pick) -> str:
        return "; ".join(dict.fromkeys(str(value) for record in records if (value := pick(record))))

    started, ended = min(record["created"] for record in records), max(record["created"] for record in records)
    versions = every(lambda record: ", ".join(f"{name} {version}" for name, version in record.get("libraries", {}).items()))
    dirty = " (with changes not committed)" if any(record.get("code", {}).get("dirty") for record in records) else ""
    time = f"{duration(sum(record.get('seconds') or 0 for record in records))} in all"
    facts = [("Trainings", f"{trainings}, {time}" if len(records) == trainings else f"{trainings}; of {len(records)} the record is here: {time}"),
             ("Finished", started if started == ended else f"{started} to {ended}"), ("Device", every(_device)),
             ("Machine", every(lambda r: f"{r['machine']['system']}, Python {r['machine']['python']}, {r['machine']['processors']} processors" if "machine" in r else "")),
             ("Code", f"version {every(lambda r: r.get('code', {}).get('version'))}" + (f", commit {commit}{dirty}" if (commit := every(lambda r: (r.get('code', {}).get('commit') or '')[:10])) else "")),
             ("Libraries", versions)]
    return [(name, value) for name, value in facts if value]


def _extra(reports: Path, elsewhere: set[str]) -> list[Markup]:
    """Tables and figures that no section shows (cost, ablation, ...); they need no code here to appear."""
    tables = [path.stem for path in sorted((reports / "tables").glob("*.csv")) if f"tables/{path.stem}" not in elsewhere]
    figures = [path.stem for path in sorted((reports / "figures").glob("*.png")) if f"figures/{path.stem}" not in elsewhere]
    shown = [sections.table(reports, name) for name in tables]
    shown += [sections.picture(reports, f"figures/{name}", name.replace("_", " "), name.replace("_", " ")) for name in figures]
    return [Markup(item) for item in shown if item]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")
