"""The sentences below a table, made from the records of its rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ehanet.reporting.results import TRAINED, Result
from ehanet.reporting.style import look

TITLES = {"kvasir-seg": "Kvasir-SEG", "dsb2018": "DSB 2018", "isic2018": "ISIC 2018", "lgg": "LGG", "cvc-clinicdb": "CVC-ClinicDB", "phantom-polyp": "Phantom polyps",
          "phantom-nuclei": "Phantom nuclei", "phantom-lesion": "Phantom skin lesions", "phantom-glioma": "Phantom gliomas", "universal": "All data sets", "universal-phantoms": "All phantoms"}
# The released recipe of EHANet (Tang et al. 2025), as RunConfig writes it.
RECIPE = {"size": 256, "epochs": 50, "batch_size": 16, "optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 0.0, "schedule": "constant",
          "augmentation": "released", "freeze_encoder": "pretrained"}
WORDS = {"size": "image side", "batch_size": "batch size", "learning_rate": "learning rate", "weight_decay": "weight decay",
         "freeze_encoder": "encoder frozen", "initial_weights": "starts from", "test_flips": "flips at the test", "encoder_weights": "encoder weights",
         "zero_init": "transformers begin at zero", "ema": "moving average of weights", "epoch_images": "images of an epoch"}
FAIR = ("size", "epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "schedule", "augmentation", "protocol", "edge_width", "precision", "ema",
        "initial_weights", "teacher", "zero_init", "test_flips", "epoch_images")


def dataset_title(name: str) -> str:
    """A data set's name as people write it."""
    return TITLES.get(name, name)


def in_words(value) -> str:
    """A setting's value as people read it: "yes", "edge_loss bce, per_image yes", a file without its folder."""
    if value is None or value == {}:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(item)}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else Path(str(value)).name


def common(values: list) -> object | None:
    """The one value that all share, else None."""
    return values[0] if values and all(value == values[0] for value in values) else None


def p_in_words(value: float) -> str:
    """A p-value as tables print it, with more than three decimals where rounding would carry it over the level; empty where there is none."""
    from ehanet.metrics.statistics import ALPHA  # and with it scipy, which whoever has a p-value has loaded

    if math.isnan(value):
        return ""
    digits = 3
    while (round(value, digits) < ALPHA) != (value < ALPHA):
        digits += 1
    return "< 0.001" if value < 0.001 else f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """A time as people read it, "62 s", "100 min" or "2.1 h"; "–" where none was taken."""
    if not seconds:
        return "–"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def caption(dataset: str, rows: list[Result]) -> str:
    """What the table shows: images, size, epochs and seeds, where they are the same for all rows."""
    parts = [f"{len(rows[0].frames[0])} test images"]
    size, epochs, drawn, seeds = (common([pick(row) for row in rows]) for pick in (lambda r: r.config["size"], lambda r: r.config["epochs"],
                                                                                lambda r: r.config.get("epoch_images"), lambda r: r.seeds))
    parts += [f"{size} × {size} pixels"] if size else []
    parts += [("1 epoch" if epochs == 1 else f"{epochs} epochs") + (f" of {drawn} images" if drawn else "")] if epochs else []
    parts += [("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds))] if seeds else []
    return f"{dataset_title(dataset)}: " + ", ".join(parts)


def machine(record: dict) -> str:
    """As in "AMD EPYC, 1 thread, float32, torch 2.15.0"."""
    device, threads = record["device"], record["device"].get("threads")
    cores = f", {threads} thread{'s' if threads != 1 else ''}" if device["type"] == "cpu" else ""
    return f"{device['name']}{cores}, {record['precision']}, torch {record['libraries']['torch']}"


def setting(row: Result, key: str):
    """A setting as it was: of the precision what was computed in, where "auto" may have been asked for."""
    return row.precision if key == "precision" else row.config.get(key)


def setting_notes(rows: list[Result]) -> list[str]:
    """Where the rows' settings differ from each other and from the released recipe, the encoders, and the records' warnings."""
    notes = []
    for key in FAIR:
        values = [setting(row, key) for row in rows]
        if common(values) is None and any(value is not None for value in values):
            usual = max(values, key=values.count)
            others = [f"{look(row.label, row.method).title} {in_words(value)}" for row, value in zip(rows, values) if value != usual]
            notes.append(f"Not on equal terms in {WORDS.get(key, key)}: {in_words(usual)}, but {', '.join(others)}.")
    notes += _encoder_notes(rows) + deviations(rows)
    if losses := [f"{row.title} ({in_words(options)})" for row in rows if (options := row.config.get("loss_options"))]:
        notes.append(f"Loss not as released: {'; '.join(losses)}.")
    away = [f"{WORDS.get(key, key)} {mine} ({theirs})" for key, theirs in RECIPE.items()
            if (mine := common([row.config.get(key) for row in rows])) is not None and mine != theirs]
    if len({len(row.seeds) for row in rows}) == 1 and len(rows[0].seeds) < 3:
        away.append(f"{len(rows[0].seeds)} seed{'s' * (len(rows[0].seeds) > 1)} (at least 3)")
    if away:
        notes.append(f"Away from EHANet's released recipe (in brackets): {'; '.join(away)}.")
    if common([row.config.get("protocol") for row in rows]) == "corrected":
        notes.append("Protocol: corrected (edge labels from the augmented mask, checkpoint by validation Dice).")
    notes += _several(rows, "Trained on several machines", lambda record: record.get("device", {}).get("name"))
    notes += _several(rows, "Trained with several versions of the code, by commit", lambda record: str(record.get("trained_at"))[:7])
    warnings = Counter(warning for row in rows for warning in dict.fromkeys(w for record in row.records for w in record.get("warnings", []))
                       if not warning.startswith("encoder:"))  # every row says its encoder
    notes += [f"Warning: {warning}" + ("." if count == len(rows) else f" ({count} of {len(rows)} rows).") for warning, count in warnings.items()]
    return notes


def _several(rows: list[Result], words: str, of: Callable[[dict], str | None]) -> list[str]:
    """A note that tells which rows have which value, where the records have more than one."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for record in row.records:
            if value := of(record):
                found.setdefault(value, []).append(row.title)
    told = "; ".join(f"{value} ({', '.join(dict.fromkeys(titles))})" for value, titles in found.items())
    return [f"{words}: {told}."] if len(found) > 1 else []


def deviations(rows: list[Result]) -> list[str]:
    """What is known to deviate from the methods' papers, in one note; none where nothing is."""
    said = [f"{row.title} ({row.note})" for row in rows if row.note]
    return [f"Away from their papers: {'; '.join(said)}."] if said else []


def trained_encoders(rows: list[Result]) -> str:
    """A line for the heading of a figure of both tracks: which rows began with a trained encoder; "" where all began alike."""
    scored = [row for row in rows if row.frames]
    trained = [row.title for row in scored if row.began == TRAINED]
    taught = " or teacher" if any(row.config.get("teacher") for row in scored) else ""
    return f"Trained encoder{taught}: {'; '.join(trained)}. All others: from random weights" if 0 < len(trained) < len(scored) else ""


def _encoder_notes(rows: list[Result]) -> list[str]:
    random = [row for row in rows if row.encoder.startswith("random")]
    if random and not any(row.began == TRAINED for row in rows):
        frozen = sum("frozen" in row.encoder for row in random)
        treated = f", {frozen} of the {len(random)} frozen (column Encoder)" if frozen else " and was trained"
        return [f"Every encoder started from random weights{treated}: no ImageNet weights in this table."]
    return []


def group_word(rows: list[Result], manifest: dict | None = None) -> str:
    """What the bootstrap draws: "images", or "patients" (of CVC-ClinicDB "videos") where several images belong to one group.

    Args:
        manifest: of the data set that the rows' frames are of, where it is not the one of their records.
    """
    frame = rows[0].frames[0]
    if frame["group"].nunique() == len(frame):
        return "images"
    return group_name(manifest or rows[0].records[0]["data"])


def group_name(manifest: dict) -> str:
    """What the groups of a data set are, where several images belong to one; "patients" where its manifest does not say."""
    return manifest.get("grouped_by", "patients")


def original_size(manifest: dict) -> str:
    """The images' size in their files, "352 × 352" or "8 sizes"; "" where the manifest has none."""
    sizes = manifest.get("original_sizes", {})
    return f"{len(sizes)} sizes" if len(sizes) > 1 else next(iter(sizes), "").replace("x", " × ")
