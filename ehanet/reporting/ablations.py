"""The ablation: what each part of EHANet, and each choice of its training, is worth and costs; from result files and counted costs."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from ehanet.metrics.statistics import compare, paired_differences
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.forest import Change, draw_forest
from ehanet.reporting.results import Result, find_reference, mark_of, read_results
from ehanet.reporting.style import figure_style, look, save_figure
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.wording import caption, dataset_title, group_word, setting_notes

MODULES = ["ehanet.reporting.ablations"]
PARTS = {"efa": "EFA", "iem": "IEM", "ahfa": "AHFA"}
SCORES = {"iou": "mIoU", "dice": "mDice", "boundary_f1": "Boundary F1"}
# Every other switch of the ablation, as the configuration and its two dictionaries of options name it, with its default and its words.
SWITCHES = {"deep_supervision": (True, "deep supervision"), "edge_loss": ("lovasz", "edge loss"), "edge_width": (3, "edge label's square, px"),
            "variant": ("released", "modules"), "freeze_encoder": ("never", "encoder frozen"), "encoder": (None, "encoder"),
            "encoder_weights": (None, "encoder weights"), "pretrained": (False, "ImageNet weights of timm")}
NEVER_COMPARED = ("label", "seed", "device")


def ablation_rows(reports: str | Path, dataset: str) -> list[Result]:
    """EHANet and its scored runs that differ from it in switches of the ablation alone, EHANet first.

    Raises:
        FileNotFoundError, ValueError: scores are missing or damaged, or none of them is EHANet's.
    """
    rows = [row for row in read_results(reports, dataset) if row.frames and row.method == "ehanet"]
    if not rows:
        raise ValueError(f"{dataset}: no scored run of ehanet in {reports}, so there is nothing to take apart; add it to the profile's methods")
    reference = find_reference(rows, lambda row: any(set(changes(other, row)) <= set(PARTS) for other in _comparable(row, rows)))
    return [reference, *_comparable(reference, rows)]


def _comparable(reference: Result, rows: list[Result]) -> list[Result]:
    """Those that differ from the reference in switches of the ablation alone."""
    fixed = _fixed(reference.config)
    return [row for row in rows if row is not reference and _fixed(row.config) == fixed and changes(row, reference)]


def changes(row: Result, reference: Result) -> dict[str, object]:
    """Switch -> value in ``row``, for those that differ from the reference's."""
    mine, theirs = _switches(row.config), _switches(reference.config)
    return {name: value for name, value in mine.items() if value != theirs[name]}


def ablation_report(reports: str | Path, dataset: str, costs: dict[str, dict]) -> dict[str, Table]:
    """Write tables/ablation_parts_<dataset>, tables/ablation_choices_<dataset> and figures/ablations_<dataset>; returns the tables by name.

    Args:
        costs: label -> {"parameters", "gmac"}, which a row without its weights file may lack, of :func:`ablation_rows`, as ``ehanet.cost.count_costs`` gives them.
    """
    reports = Path(reports)
    rows = ablation_rows(reports, dataset)
    reference = rows[0]
    parts = [row for row in rows if set(changes(row, reference)) <= set(PARTS)]
    others = [reference, *(row for row in rows if not set(changes(row, reference)) <= set(PARTS))]
    frames = {row.label: row.frames for row in rows}
    differences = {score: paired_differences(frames, score, reference.label) for score in SCORES}
    tables = [_parts_table(dataset, parts, differences, costs), _choices_table(dataset, others, differences, costs)]
    sources = {"inputs": [record["id"] for row in rows for record in row.records]}
    for table in tables:
        write_table(table, reports / "tables", MODULES, **sources)
    path, mark = reports / "figures" / f"ablations_{dataset}", mark_of(rows)
    record = make_record(path, "figure", MODULES, mark=mark, **sources)
    with figure_style():
        found = [Change(_name(row, reference), {score: _difference(differences[score], row) for score in SCORES}) for row in rows[1:]]
        title = f"{dataset_title(dataset)}: difference to {look(reference.label, reference.method).title} as it is"
        save_figure(draw_forest(found, SCORES, title, mark), path, record, f"Ablation on {dataset_title(dataset)}")
    return {table.name: table for table in tables}


def _parts_table(dataset: str, rows: list[Result], differences: dict[str, pd.DataFrame], costs: dict[str, dict]) -> Table:
    """The paper's table: which parts are on, the scores, the cost."""
    rows = sorted(rows, key=lambda row: [_switches(row.config)[part] for part in PARTS])  # the bare network first, the whole last
    seen = [tuple(_switches(row.config)[part] for part in PARTS) for row in rows]
    columns = [Column("title", "Network"), *[Column(part, name) for part, name in PARTS.items()]]
    body = [{"title": look(row.label, row.method).title, **{part: "✓" if on else "–" for part, on in zip(PARTS, place)}} for row, place in zip(rows, seen)]
    notes = _part_costs(rows, costs)
    missing = [" + ".join(name for name, on in zip(PARTS.values(), place) if on) or "none of them" for place in _combinations() if place not in seen]
    if missing:
        notes.append(f"Not trained in this profile: {', '.join(missing)}. config/ablations.yaml trains all eight.")
    notes.append("Without a part: EFA passes its input on; IEM leaves out the edge branch and its half of the head; AHFA becomes concatenation, "
                 "two 3 × 3 convolutions and a 1 × 1 side head.")
    return _table(f"ablation_parts_{dataset}", f"Parts of the network. {caption(dataset, rows)}", rows, columns, body, differences, costs, notes)


def _choices_table(dataset: str, rows: list[Result], differences: dict[str, pd.DataFrame], costs: dict[str, dict]) -> Table:
    reference = rows[0]
    columns = [Column("change", "Changed"), Column("encoder", "Encoder")]
    body = [{"change": "nothing" if row is reference else _name(row, reference), "encoder": row.encoder} for row in rows]
    notes = [] if len(rows) > 1 else ["No run of this profile changes another switch. config/ablations.yaml trains them."]
    return _table(f"ablation_choices_{dataset}", f"Choices of network and training. {caption(dataset, rows)}", rows, columns, body, differences, costs, notes)


def _table(name: str, title: str, rows: list[Result], columns: list[Column], body: list[dict], differences: dict[str, pd.DataFrame],
           costs: dict[str, dict], notes: list[str]) -> Table:
    """The columns that both tables share: scores with intervals, the difference in Dice, cost, seeds."""
    statistics = {score: compare({row.label: row.frames for row in rows}, score, rows[0].label).set_index("method") for score in SCORES}
    many = any(len(row.seeds) > 1 for row in rows)
    columns += [Column("label", "Label", shown=False), *[Column(score, text, "score") for score, text in SCORES.items()],
                Column("difference", "Δ mDice", "score"), Column("millions", "Parameters (M)", "value"), Column("parameters", "parameters", "count", shown=False),
                Column("gmac", "GMAC", "value"), Column("seeds", "Seeds", shown=many), Column("sd", "SD over seeds (mDice)", "value", shown=many),
                Column("mark", "Mark")]
    for row, cells in zip(rows, body):
        for score, table in statistics.items():
            cells[score] = Score(*(float(table.loc[row.label, key]) for key in ("mean", "low", "high")), bool(table.loc[row.label, "bold"]))
        spread = float(statistics["dice"].loc[row.label, "sd_seeds"])
        if cost := costs.get(row.label):
            cells |= {"parameters": cost["parameters"], "millions": f"{cost['parameters'] / 1e6:.3f}", "gmac": f"{cost['gmac']:.2f}"}
        cells |= {"label": row.label, "difference": _difference(differences["dice"], row), "seeds": " ".join(map(str, row.seeds)),
                  "sd": "" if math.isnan(spread) else f"{spread:.3f}", "mark": mark_of(rows)}
    notes = [f"Δ mDice: minus the network as it is, image by image. Brackets: 95 % bootstrap interval over {group_word(rows)}; what another training would change "
             "is the standard deviation over seeds" + ("." if many else ", for which this profile has too few.")] + notes
    if any(cells[score].bold for cells in body for score in SCORES):
        notes.append("Bold: the best mean, and significantly better than every other row of this table (paired permutation tests, Holm-corrected over its rows, p < 0.05).")
    return Table(name, title, mark_of(rows), columns, body, notes + setting_notes(rows))


def _part_costs(rows: list[Result], costs: dict[str, dict]) -> list[str]:
    """What each part adds: the whole network minus the one without it."""
    by_parts = {tuple(_switches(row.config)[part] for part in PARTS): costs.get(row.label) for row in rows}
    whole = by_parts.get((True, True, True))
    found = []
    for place, name in enumerate(PARTS.values()):
        without = by_parts.get(tuple(index != place for index in range(len(PARTS))))
        if whole and without:
            parameters, gmac = whole["parameters"] - without["parameters"], whole["gmac"] - without["gmac"]
            found.append(f"{name} {parameters:,} parameters and {gmac:.3f} GMAC".replace("-", "−"))
    return [f"What a part adds to the network without it: {'; '.join(found)}."] if found else []


def _combinations() -> list[tuple[bool, ...]]:
    return [(bool(index & 4), bool(index & 2), bool(index & 1)) for index in range(8)]


def _difference(table: pd.DataFrame, row: Result) -> Score | None:
    return Score(*map(float, table.loc[row.label])) if row.label in table.index else None


def _name(row: Result, reference: Result) -> str:
    """What a row changes, in words: "without IEM", "edge loss: bce"."""
    changed = changes(row, reference)
    said = []
    for on, word in ((True, "with"), (False, "without")):
        if names := [PARTS[name] for name, value in changed.items() if name in PARTS and value is on]:
            said.append(f"{word} {', '.join(names)}")
    said += [f"{SWITCHES[name][1]}: {({True: 'on', False: 'off', None: 'default'}.get(value, value))}" for name, value in changed.items() if name in SWITCHES]
    return ", ".join(said)


def _switches(config: dict) -> dict[str, object]:
    options = {**config.get("options", {}), **config.get("loss_options", {})}
    given = {name: options.get(name, config.get(name, default)) for name, (default, _) in SWITCHES.items()}
    return {part: options.get(part, True) for part in PARTS} | given


def _fixed(config: dict) -> dict:
    """What all rows of an ablation must share."""
    known = {*PARTS, *SWITCHES}
    kept = {key: value for key, value in config.items() if key not in {*known, *NEVER_COMPARED, "options", "loss_options"}}
    options = {**config.get("options", {}), **config.get("loss_options", {})}
    return kept | {key: value for key, value in options.items() if key not in known}
