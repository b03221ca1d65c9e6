"""The table of costs, from what ``ehanet.cost`` measured."""

from __future__ import annotations

from pathlib import Path

from ehanet.reporting.results import ABSENT, NEVER_FOUND, REPRODUCED
from ehanet.reporting.style import look
from ehanet.reporting.tables import Column, Table, write_table


def cost_table(rows: list[dict], reports: str | Path) -> Table:
    """Write tables/cost.{csv,md,tex,json}.

    Args:
        rows: one of ``ehanet.cost.measure_cost`` a method.
    """
    side, device, precision = (rows[0][key] for key in ("side", "device", "precision"))
    columns = [Column("title", "Method"), Column("label", "Label", shown=False), Column("method", "Network", shown=False), Column("millions", "Parameters (M)", "value"),
               Column("parameters", "parameters", "count", shown=False), Column("gmac", "GMAC", "value"), Column("memory_mb", "Training memory (MB)", "count"),
               Column("rate_1", "Images/s, batch 1", "value"), Column("rate_best", "Images/s, best", "value"), Column("batch_best", "Best batch", "count"),
               Column("mark", "Mark")]
    body = [{**row, "title": look(row["label"], row["method"]).title, "millions": f"{row['parameters'] / 1e6:.2f}", "gmac": f"{row['gmac']:.2f}",
             "rate_1": f"{row['rate_1']:.1f}", "rate_best": f"{row['rate_best']:.1f}", "mark": REPRODUCED} for row in rows]
    body.append({"title": NEVER_FOUND["title"], "label": NEVER_FOUND["label"], "mark": f"{ABSENT}: {NEVER_FOUND['reason']}"})
    notes = ["Parameters: those that receive a gradient. GMAC: one image of 256 × 256 pixels; convolutions, linear layers and attention products.",
             f"Speed: inference at {side} × {side} pixels in {precision} on {device}, all rows in one run. Memory: peak of a training step of 4 images of that size,"
             " network included, without the optimizer's state."]
    table = Table("cost", f"Cost of the networks, measured on {device}", REPRODUCED, columns, body, notes)
    write_table(table, Path(reports) / "tables", ["ehanet.cost", "ehanet.reporting.costs"])
    return table
