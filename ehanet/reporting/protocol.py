"""The protocol audit: released against corrected, one choice at a time, from result files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ehanet.metrics.statistics import compare, paired_differences
from ehanet.reporting.artefacts import make_record
from ehanet.reporting.forest import Change, draw_forest
from ehanet.reporting.results import Result, find_reference, mark_of, read_results
from ehanet.reporting.score_choice import mean_choices
from ehanet.reporting.style import figure_style, look, save_figure
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.wording import caption, dataset_title

MODULES = ["ehanet.reporting.protocol"]
# protocol of a run -> what the released training does, and the corrected one
TRAINING = {
    "edges-unaugmented": ("edge label of the mask before augmentation", "of the augmented mask"),
    "edges-resized": ("edge label resized bilinearly, then compared with 1", "drawn at the training size"),
    "checkpoint-by-loss": ("checkpoint of the lowest validation loss", "of the highest validation Dice"),
    "released": ("all three of the training", "none"),
}
# evaluation of scores/<data set>/score_choice.csv -> the same
EVALUATION = {
    "threshold 0.62": ("logit > 0.5, a probability of 0.62", "probability > 0.5"),
    "pooled batches": ("Dice and IoU pooled over 16 images", "of each image, then the mean"),
    "row-wise Hausdorff": ("Hausdorff distance between rows of the mask", "between surfaces"),
    "released": ("all three of the evaluation", "none"),
}


def protocol_report(reports: str | Path, dataset: str) -> Table:
    """Write tables/protocol_<dataset> and figures/protocol_<dataset> and return the table.

    Raises:
        FileNotFoundError, ValueError: scores are missing or damaged, or no run has the protocol "corrected".
    """
    reports = Path(reports)
    rows = _same_but_protocol([row for row in read_results(reports, dataset) if row.frames], dataset)
    corrected = rows["corrected"]
    choices = mean_choices(reports, dataset)
    table, differences = _table(dataset, rows, choices)
    sources = {"inputs": [record["id"] for row in rows.values() for record in row.records]}
    write_table(table, reports / "tables", MODULES, **sources)
    figure_path = reports / "figures" / f"protocol_{dataset}"
    record = make_record(figure_path, "figure", MODULES, mark=table.mark, **sources)
    with figure_style():
        title = f"{dataset_title(dataset)}: what each choice of the released code does to {look(corrected.label, corrected.method).title}'s number"
        save_figure(draw_forest(differences, {"dice": "Dice", "iou": "IoU"}, title, table.mark), figure_path, record, f"Protocol audit on {dataset_title(dataset)}")
    return table


def _same_but_protocol(scored: list[Result], dataset: str) -> dict[str, Result]:
    """Protocol -> its run, all of one method with the same settings otherwise: those of the reference."""
    def settings(row: Result) -> dict:
        return {key: value for key, value in row.config.items() if key not in ("label", "seed", "device", "protocol")}

    reference = find_reference(scored, lambda row: any(settings(other) == settings(row) for other in scored if other is not row))
    found: dict[str, Result] = {}
    for row in [reference, *scored]:
        if settings(row) == settings(reference):
            found.setdefault(row.config.get("protocol", "corrected"), row)
    if "corrected" not in found:
        raise ValueError(f"{dataset}: no run like {reference.label} has the protocol 'corrected', so there is nothing to compare with; "
                         "add one to the profile's methods")
    return found


def _table(dataset: str, rows: dict[str, Result], choices: pd.DataFrame) -> tuple[Table, list[Change]]:
    corrected = rows["corrected"]
    frames = {row.label: row.frames for row in rows.values()}
    means = {score: compare(frames, score, corrected.label).set_index("method") for score in ("dice", "iou")}
    paired = {score: paired_differences(frames, score, corrected.label) for score in ("dice", "iou")}
    columns = [Column("stage", "Stage"), Column("released", "Released"), Column("corrected", "Corrected"), Column("label", "Label", shown=False)]
    for score, title in (("dice", "mDice"), ("iou", "mIoU")):
        columns += [Column(score, title, "score"), Column(f"{score}_difference", f"Δ {title}", "score")]
    columns += [Column("hausdorff", "Hausdorff (px)", "score", 2), Column("mark", "Mark")]

    def trained(row: Result) -> dict:
        cells = {"label": row.label, "hausdorff": Score(float(choices.loc[(row.label, "ours"), "hausdorff"]))}
        for score in ("dice", "iou"):
            cells[score] = Score(*(float(means[score].loc[row.label, key]) for key in ("mean", "low", "high")))
            cells[f"{score}_difference"] = None if row is corrected else Score(*map(float, paired[score].loc[row.label]))
        return cells

    def evaluated(row: Result, evaluation: str) -> dict:
        cells = {"label": row.label, "hausdorff": Score(float(choices.loc[(row.label, evaluation), "hausdorff"]))}
        for score in ("dice", "iou"):
            value = float(choices.loc[(row.label, evaluation), score])
            cells |= {score: Score(value), f"{score}_difference": Score(value - float(choices.loc[(corrected.label, "ours"), score]))}
        return cells

    body = [{"stage": "both", "released": "none of it", "corrected": "all of it", **trained(corrected)}]
    body += [{"stage": "training", "released": released, "corrected": ours, **trained(rows[name])} for name, (released, ours) in TRAINING.items() if name in rows]
    body += [{"stage": "evaluation", "released": released, "corrected": ours, **evaluated(corrected, name)} for name, (released, ours) in EVALUATION.items()]
    if "released" in rows:
        body.append({"stage": "both", "released": "all of training and evaluation", "corrected": "none", **evaluated(rows["released"], "released")})
    mark = mark_of(list(rows.values()))
    body = [{**cells, "mark": mark} for cells in body]
    drawn = [Change(f"{cells['stage']}: {cells['released']}", {score: cells[f"{score}_difference"] for score in ("dice", "iou")}) for cells in body[1:]
             if cells["released"] != EVALUATION["row-wise Hausdorff"][0]]  # it touches neither score
    notes = ["Each row changes only what it names. Δ: minus the first row; of trainings with a 95 % bootstrap interval, image by image; "
             "of evaluations without one, since the predictions are the same.",
             "The row-wise Hausdorff value is the root of a number of pixels, not a distance: it cannot be compared with the others.",
             "Further choices of the released code that no number here shows: the test script reads the validation list, and stops at an image where "
             "neither mask nor prediction holds an object; a last batch of one image ends the training; masks are soft after resizing; the functions named after "
             "S-measure and E-measure compute F-scores; one seed; the split is asked to be 8:1:1 and no more, so that slices of one LGG patient may lie in several parts (see the leakage audit)."]
    missing = [released for name, (released, _) in TRAINING.items() if name not in rows]
    if missing:
        notes.append(f"Not trained in this profile: {'; '.join(missing)}. config/ablations.yaml trains them.")
    return Table(f"protocol_{dataset}", f"Released against corrected, one choice at a time. {caption(dataset, list(rows.values()))}", mark, columns, body, notes), drawn
