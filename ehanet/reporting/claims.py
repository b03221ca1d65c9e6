"""The claims of the paper's abstract beside what was measured here, each with a verdict that follows from the numbers by a fixed rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ehanet.metrics.resampling import bootstrap_means
from ehanet.metrics.statistics import ALPHA, RESAMPLES, collect, compare
from ehanet.reporting.results import PAPER_SETS, PHANTOM, RANDOM, Result, mark_of, read_results
from ehanet.reporting.style import look
from ehanet.reporting.tables import Column, Score, Table, write_table
from ehanet.reporting.wording import WORDS, dataset_title

# The methods of the paper's comparison that have public code or a description.
COMPARED = ("hiformer-b", "canet", "cfanet", "pranet", "resunet", "resunetpp", "resunetpp-wide", "unet", "unet-32")
# Other decoders that take EHANet's encoder: whether the decoder or merely the encoder makes the difference.
DECODERS = ("lanet", "mobilevit-unet", "mobilevit-unetpp", "mobilevit-fpn", "mobilevit-deeplabv3plus")
ON_ONE_ENCODER = {"dice": "Higher mDice than other decoders on the same encoder", "boundary_f1": "More accurate edges than other decoders on the same encoder (boundary F1)"}
SCORES = {"iou": "Higher mIoU than the compared methods", "dice": "Higher mDice than the compared methods",
          "boundary_f1": "More accurate edges than the compared methods (boundary F1)"}
ROBUST = "More robust than the compared methods (mDice over corrupted test images)"
MODULES = {"efa": "EFA", "iem": "IEM", "ahfa": "AHFA"}
ENCODER = ("encoder", "encoder_weights", "pretrained", "freeze_encoder")  # and these to be decoders on the same encoder
SEEDS = 3  # trainings of every row that "supported" needs
EQUAL = ("size", "epochs", "protocol", "initial_weights", "ema", "test_flips")  # what rows must share to be compared
SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "not decidable here"
NOTES = [
    "Claims in our words; the paper's tables are not public text, so none of its numbers is quoted.",
    "Difference: EHANet minus the strongest compared method, or EHANet minus EHANet without the module, image by image, with its 95 % bootstrap interval. "
    "p: paired permutation test, corrected by Holm over the compared methods or modules.",
    f"{SUPPORTED.capitalize()}: EHANet is better than every one of them, each with p < {ALPHA}, and each was trained at least {SEEDS} times. {NOT_SUPPORTED.capitalize()}: it is "
    f"not, or not clearly. {UNDECIDED.capitalize()}: images drawn by code, nothing to compare on equal terms, an encoder that started from random weights (the paper's "
    "started from ImageNet), or fewer trainings.",
    "EHANet: the unchanged network, the row with a trained encoder where there is one. Compared on equal terms: " + ", ".join(WORDS.get(key, key) for key in EQUAL) + " and the kind of start of the encoder, where there is "
    "one: a network without an encoder, such as U-Net, is compared as the paper does; decoders also on the encoder itself. The paper compares with no other decoder on its encoder: those rows are our test of its claim.",
    "A verdict is about these settings; the notes of each comparison say how they differ from the paper's.",
]


def write_claims(reports: str | Path) -> Table | None:
    """Write tables/claims (.csv, .md, .tex, .json) from the scores in ``reports``; None, and nothing written, where no EHANet was scored.

    Raises:
        FileNotFoundError, ValueError: scores are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    rows, inputs = [], []
    for name in sorted((path.parent.name for path in (reports / "scores").glob("*/methods.json")), key=lambda name: (name not in PAPER_SETS, name)):
        results = [row for row in read_results(reports, name) if row.frames]
        subject = find_subject(results)
        if subject is None:
            continue
        corrupted = _corrupted(reports / "robustness" / f"{name}.csv")
        rows += [{"dataset": dataset_title(name), **row} for row in _claims(subject, results, corrupted) if row["against"] or name in PAPER_SETS]
        inputs += [record["id"] for row in results for record in row.records]
    if not rows:
        return None
    columns = [Column("claim", "Claim"), Column("verdict", "Verdict"), Column("dataset", "Data set"), Column("here", "EHANet here"), Column("against", "Against"),
               Column("difference", "Difference", "score"), Column("p", "p (Holm)", "value"), Column("paper", "Paper's number"), Column("mark", "Mark")]
    marks = " / ".join(dict.fromkeys(row["mark"] for row in rows))
    table = Table("claims", "The paper's claims and what was measured here", marks, columns, rows, NOTES)
    write_table(table, reports / "tables", ["ehanet.reporting.claims"], inputs=inputs)
    return table


def find_subject(results: list[Result]) -> Result | None:
    """The row that the claims are about: the unchanged EHANet, with a trained encoder at the start where there is such a row."""
    unchanged = [row for row in results if row.method == "ehanet" and not row.config.get("options")]
    trained = [row for row in unchanged if row.began != RANDOM]
    return next(iter(trained or unchanged), None)


def _claims(subject: Result, results: list[Result], corrupted: dict[str, list[pd.DataFrame]]) -> list[dict]:
    """The rows of one data set: every claim once."""
    rivals = [row for row in results if row.method in COMPARED and _equal_terms(subject, row)]
    rows = [_row(claim, score, subject, rivals, {row.label: row.frames for row in [subject, *rivals]}) for score, claim in SCORES.items()]
    decoders = [row for row in results if row.method in DECODERS and all(row.config.get(key) == subject.config.get(key) for key in (*EQUAL, *ENCODER))]
    if decoders:
        rows += [_row(claim, score, subject, decoders, {row.label: row.frames for row in [subject, *decoders]}) for score, claim in ON_ONE_ENCODER.items()]
    if subject.label in corrupted:
        there = [row for row in rivals if row.label in corrupted]
        rows.append(_row(ROBUST, "dice", subject, there, {row.label: corrupted[row.label] for row in [subject, *there]}))
    without = {module: row for row in results for module in MODULES if row.config == {**subject.config, **_names(row), "options": {module: False}}}
    frames = {row.label: row.frames for row in [subject, *without.values()]}
    for module, row in without.items():
        rows.append(_row(f"{MODULES[module]} helps (mDice)", "dice", subject, [row], frames))
    return rows


def _names(row: Result) -> dict:
    return {key: row.config[key] for key in ("label", "seed") if key in row.config}


def _row(claim: str, score: str, subject: Result, rivals: list[Result], frames: dict[str, list[pd.DataFrame]]) -> dict:
    """A claim against ``rivals``; p is corrected over all of ``frames``."""
    row = {"claim": claim, "paper": "not public", "mark": mark_of([subject]), "here": look(subject.label, subject.method).title, "against": "", "difference": None, "p": ""}
    if not rivals:
        return row | {"verdict": decide(row["mark"], subject.encoder, 0, [], False)}
    found = compare(frames, score, subject.label).set_index("method")
    strongest = max(rivals, key=lambda rival: found.loc[rival.label, "mean"])
    tested = found.loc[[rival.label for rival in rivals]]
    better = bool(((tested["difference"] < 0) & (tested["p_holm"] < ALPHA)).all())
    seeds = [len(frames[each.label]) for each in (subject, *rivals)]
    p = float(found.loc[strongest.label, "p_holm"])
    return row | {"here": f"{row['here']}: {found.loc[subject.label, 'mean']:.3f}",
                  "against": f"{look(strongest.label, strongest.method).title}: {found.loc[strongest.label, 'mean']:.3f}"
                             + (f" (best of {len(rivals)})" if len(rivals) > 1 else ""),
                  "difference": _difference(frames, score, subject.label, strongest.label), "p": "< 0.001" if p < 0.001 else f"{p:.3f}",
                  "verdict": decide(row["mark"], subject.encoder, len(rivals), seeds, better)}


def decide(mark: str, encoder: str, rivals: int, seeds: list[int], better: bool) -> str:
    """The verdict with its reason; see ``NOTES`` for the rule.

    Args:
        better: EHANet leads every rival, each lead significant. seeds: number of trainings of EHANet and of every rival.
    """
    if mark == PHANTOM:
        return f"{UNDECIDED}: images drawn by code"
    if not rivals:
        return f"{UNDECIDED}: nothing compared on equal terms"
    if encoder.startswith("random"):
        return f"{UNDECIDED}: encoder from random weights, the paper's from ImageNet"
    if not better:
        return NOT_SUPPORTED
    return SUPPORTED if min(seeds) >= SEEDS else f"{UNDECIDED}: better, but trained fewer than {SEEDS} times"


def _difference(frames: dict[str, list[pd.DataFrame]], score: str, subject: str, rival: str) -> Score:
    scores = collect({name: frames[name] for name in (subject, rival)}, score)
    difference = scores.values[0] - scores.values[1]
    low, high = np.nanquantile(bootstrap_means(difference[None], scores.clusters, RESAMPLES, 0)[:, 0], [ALPHA / 2, 1 - ALPHA / 2])
    return Score(float(np.nanmean(difference)), float(low), float(high))




def _equal_terms(subject: Result, row: Result) -> bool:
    same = all(row.config.get(key) == subject.config.get(key) for key in EQUAL)
    return same and row.began in (None, subject.began)


def _corrupted(path: Path) -> dict[str, list[pd.DataFrame]]:
    """Label -> for each seed the mean Dice of each image over its corruptions, as a score table; empty where there are none."""
    if not path.is_file():
        return {}
    frame = pd.read_csv(path, dtype={"image": str, "group": str})
    means = frame[frame["severity"] > 0].groupby(["label", "seed", "image", "group"], as_index=False)["dice"].mean()
    return {label: [one.reset_index(drop=True) for _, one in part.groupby("seed")] for label, part in means.groupby("label")}
