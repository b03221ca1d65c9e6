"""From the finished runs of a union of data sets to the one checkpoint that people use."""

from __future__ import annotations

from pathlib import Path

from ehanet.data import load_dataset
from ehanet.data.catalogue import parts_of
from ehanet.evaluation import evaluate_runs
from ehanet.hub import publish_run
from ehanet.records import read_record
from ehanet.reporting import comparison


def publish_best(dataset: str, size: int, source: str | Path | None, runs: str | Path, reports: str | Path, rows: list[dict], target: str | Path) -> dict:
    """Score each run on the test split of every part of ``dataset``, and write the run that validates best to ``target`` with its card.

    Writes scores and comparison tables of each part into ``reports``; the choice is by validation Dice alone.

    Args:
        dataset: a union such as "universal". rows: ``{"method", "label", "seed"}`` of its finished runs in ``runs``.
        target: the checkpoint, .safetensors; its model card goes beside it.

    Returns:
        ``{"label", "seed", "val_dice", "bytes"}`` of the published run.
    """
    runs, reports, target = Path(runs), Path(reports), Path(target)
    parts = parts_of(dataset)
    for part in parts:
        evaluate_runs(load_dataset(part, root=source, size=size), runs, reports, rows)
        comparison(reports, part)
    records = [read_record(runs / row["label"] / f"seed{row['seed']}" / "record.json") for row in rows]
    row, record = max(zip(rows, records), key=lambda pair: pair[1]["best"]["val_dice"])
    name = f"{row['label']}__seed{row['seed']}"
    publish_run(runs / row["label"] / f"seed{row['seed']}", target, [reports / "scores" / part / f"{name}.csv" for part in parts], trained_on=parts,
                recipe={"Selection among": f"{len(rows)} runs, by validation Dice"} if len(rows) > 1 else {})
    return {"label": row["label"], "seed": row["seed"], "val_dice": record["best"]["val_dice"], "bytes": target.stat().st_size}
