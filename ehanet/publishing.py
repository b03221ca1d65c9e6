"""From the finished runs of a union of data sets to the one checkpoint that people use."""

from __future__ import annotations

from pathlib import Path

from ehanet.data import Dataset, load_dataset
from ehanet.data.catalogue import parts_of
from ehanet.evaluation import evaluate_runs
from ehanet.hub import publish_run
from ehanet.predictions import Predictions, predictions_path, read_predictions
from ehanet.records import read_record
from ehanet.reporting import comparison, score_choice_report
from ehanet.reporting.edges import edge_scores
from ehanet.reporting.overlays import places_of
from ehanet.reporting.wording import dataset_title


def publish_best(dataset: str, size: int, source: str | Path | None, runs: str | Path, reports: str | Path, rows: list[dict], target: str | Path) -> dict:
    """Score each run on the test split of every part of ``dataset``, and write the run that validates best to ``target`` with its card.

    Writes scores, comparison and choice of score of each part into ``reports``; the choice is by validation Dice alone.

    Args:
        dataset: a union such as "universal", or one data set. rows: ``{"method", "label", "seed"}`` of its finished runs in ``runs``.
        target: the checkpoint, .safetensors; its model card goes beside it.

    Returns:
        ``{"label", "seed", "val_dice", "bytes"}`` of the published run.

    Raises:
        ValueError: a run has no checkpoint.
    """
    runs, reports, target = Path(runs), Path(reports), Path(target)
    rows = [{key: row[key] for key in ("method", "label", "seed")} for row in rows]  # a run that is kept by its predictions alone cannot be published
    for row in rows:
        if not (runs / row["label"] / f"seed{row['seed']}" / "best.pt").is_file():
            raise ValueError(f"{runs / row['label']}/seed{row['seed']}: no checkpoint here, and publishing needs one; run make paper without KEEP=1")
    data = {loaded.name: loaded for loaded in (load_dataset(part, root=source, size=size) for part in parts_of(dataset))}  # a folder of one's own goes by its name
    for part in data:
        evaluate_runs(data[part], runs, reports, rows)
        comparison(reports, part)
        score_choice_report(reports, part)
    records = [read_record(runs / row["label"] / f"seed{row['seed']}" / "record.json") for row in rows]
    row, record = max(zip(rows, records), key=lambda pair: pair[1]["best"]["val_dice"])
    name = f"{row['label']}__seed{row['seed']}"
    publish_run(runs / row["label"] / f"seed{row['seed']}", target, [reports / "scores" / part / f"{name}.csv" for part in data], trained_on=data,
                recipe={"Selection among": f"{len(rows)} runs, by validation Dice"} if len(rows) > 1 else {},
                notes=[note for part in data for note in edge_notes(data[part], read_predictions(predictions_path(reports, part, row["label"], row["seed"])))])
    return {"label": row["label"], "seed": row["seed"], "val_dice": record["best"]["val_dice"], "bytes": target.stat().st_size}


def edge_notes(data: Dataset, maps: Predictions) -> list[str]:
    """A sentence for "Where it fails" where the edge map is no better an edge than the contour of the mask; none without edge maps or objects."""
    scores = edge_scores(maps, data.masks[places_of(data, maps.ids)].astype(bool))
    if scores is None or scores["ods"] > scores["own"]:
        return []
    return [f"{dataset_title(data.name)}: the edge map (out.edge) follows the contours less closely, F1 {scores['ods']:.3f} within 2 px at its best threshold, "
            f"than the mask's own contour, {scores['own']:.3f}; its largest probability is {maps.edges.max():.2f}."]
