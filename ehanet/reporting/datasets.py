"""The paper's table of data sets: what a report was made of, from the manifests in its data records."""

from __future__ import annotations

from pathlib import Path

from ehanet.data.splits import SPLITS
from ehanet.reporting.artefacts import discard
from ehanet.reporting.results import mark_of_manifest
from ehanet.reporting.sections import data_records
from ehanet.reporting.tables import Column, Table, write_table
from ehanet.reporting.wording import dataset_title, original_size

OFFICIAL = {True: "yes", False: "no", None: "not known"}


def write_datasets(reports: str | Path) -> Table | None:
    """Write ``reports``/tables/datasets.* from ``reports``/data/<name>.json; nothing, and none left of an earlier report, without such records.

    Raises:
        ValueError: a damaged record; the message names it.
    """
    reports = Path(reports)
    records = data_records(reports)
    if not records:
        discard(reports / "tables" / "datasets")
        return None
    columns = [Column("dataset", "Data set"), Column("modality", "Modality"), Column("images", "Images", "count"),
               *(Column(part, title, "count") for part, title in zip(SPLITS, ("Training", "Validation", "Test"))),
               Column("empty", "Without an object", "count"), Column("original", "Original size (px)", "value"), Column("size", "Size here (px)", "value"),
               Column("split", "Split by"), Column("official", "Official files"), Column("licence", "Licence", shown=False), Column("content", "Content", shown=False), Column("mark", "Mark")]
    rows = [_row(record["data"]) for record in records.values()]
    table = Table("datasets", "Data sets", " / ".join(dict.fromkeys(row["mark"] for row in rows)), columns, rows,
                  ["Without an object: images whose mask is empty. Rule: 8 : 1 : 1 by image or patient, which no file order or machine changes.",
                   *(f"{dataset_title(name)}: {'; '.join(warnings)}." for name, record in records.items() if (warnings := record["data"].get("warnings")))])
    write_table(table, reports / "tables", ["ehanet.reporting.datasets"], inputs=[record["id"] for record in records.values()])
    return table


def _row(manifest: dict) -> dict:
    """One data set from its manifest."""
    counts = manifest["split"]["counts"]
    official = dict.fromkeys(OFFICIAL[source["official"]] for source in manifest["sources"])
    return {"dataset": dataset_title(manifest["name"]), "modality": "drawn by code" if manifest["modality"] == "phantom" else manifest["modality"],
            "images": manifest["count"], **{part: counts[part] for part in SPLITS}, "empty": manifest["empty_masks"],
            "original": original_size(manifest), "size": f"{manifest['size']} × {manifest['size']}",
            "split": manifest["split"]["source"], "official": ", ".join(official), "licence": manifest.get("licence") or "", "content": manifest["content"],
            "mark": mark_of_manifest(manifest)}
