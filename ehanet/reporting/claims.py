"""The claims of the paper's abstract beside what was measured here, each with a verdict that follows from the numbers by a fixed rule."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ehanet.metrics.statistics import ALPHA, collect, compare, paired_differences, smallest_p
from ehanet.records import read_beside
from ehanet.reporting.artefacts import discard
from ehanet.reporting.results import PAPER_SETS, PHANTOM, Result, corrupted_frames, find_ehanets, mark_of, read_corrupted, read_results, without_part
from ehanet.reporting.style import look
from ehanet.reporting.tables import Column, Score, Table, read_table, write_table
from ehanet.reporting.wording import FAIR, WORDS, dataset_title, group_word, p_in_words, setting

# The methods of the paper's comparison that have public code or a description, and the other widths of two of them, which can refute a claim as well.
BUILDABLE = ("hiformer-b", "canet", "cfanet", "pranet", "resunet", "resunetpp", "unet")
COMPARED = (*BUILDABLE, "resunetpp-wide", "unet-32")
# Other decoders that take EHANet's encoder: whether the decoder or merely the encoder makes the difference.
DECODERS = ("lanet", "mobilevit-unet", "mobilevit-unetpp", "mobilevit-fpn", "mobilevit-deeplabv3plus")
ON_ONE_ENCODER = {"dice": "Higher mDice than other decoders on the same encoder", "boundary_f1": "More accurate edges than other decoders on the same encoder (boundary F1)"}
SCORES = {"iou": "Higher mIoU than the compared methods", "dice": "Higher mDice than the compared methods",
          "boundary_f1": "More accurate edges than the compared methods (boundary F1)"}
ROBUST = "More robust than the compared methods (mDice over corrupted test images)"
# What each module is said to be good for: the switch, the score, the claim.
MODULES = (("efa", "dice", "EFA helps (mDice)"), ("iem", "dice", "IEM helps (mDice)"), ("iem", "boundary_f1", "IEM makes edges more accurate (boundary F1)"),
           ("ahfa", "dice", "AHFA helps (mDice)"))
ENCODER = ("encoder", "encoder_weights", "pretrained", "freeze_encoder")  # and these to be decoders on the same encoder
SEEDS = 3  # trainings of every row that a verdict needs
SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "not decidable here"
NOTES = [
    "Claims in our words; the paper's tables are not public text, so none of its numbers is quoted.",
    "Difference: EHANet minus the strongest compared method, or EHANet minus EHANet without the module, image by image, with its 95 % bootstrap interval. "
    "p: paired permutation test, corrected by Holm over the compared methods or modules.",
    f"{SUPPORTED.capitalize()}: EHANet is better than every one of them, each with p < {ALPHA} and its worst training above their best one; a claim against the compared methods needs all {len(BUILDABLE)} of the paper that can be built among them, one on modules or on other decoders does not. {NOT_SUPPORTED.capitalize()}: it is not; \"worse\" where one of them leads EHANet so. Both need at least {SEEDS} trainings of every "
    f"row. {UNDECIDED.capitalize()}: fewer trainings or methods, too few images or patients for any p < {ALPHA}, images drawn by code, nothing to compare on equal terms, or an encoder that started from random weights (the paper's started from ImageNet).",
    "EHANet: the unchanged network, the row with a trained encoder where there is one; for a module, a row that has a partner without it. Equal terms: the same "
    + ", ".join(WORDS.get(key, key.replace("_", " ")) for key in FAIR) + ", and the same kind of start of the encoder. A network without an encoder, such as U-Net from random weights, is compared with EHANet on its trained encoder, "
    "as the paper does: that speaks of network and start together. Decoders are compared on one and the same encoder; the paper has no such comparison, those rows are our test of its claim.",
    f"Intervals are not corrected, so that one may leave out 0 where p is above {ALPHA}. p is corrected within a row's family, the compared methods or the modules, not over claims, scores and data sets; "
    "the tables of differences correct over all their rows, so that p is larger there.",
    "A verdict is about these settings; the notes of each comparison say how they differ from the paper's.",
]


def write_claims(reports: str | Path) -> Table | None:
    """Write tables/claims (.csv, .md, .tex, .json) from the scores in ``reports``; None, and no such table left, where no EHANet was scored, or no other method and nothing left out.

    Raises:
        FileNotFoundError, ValueError: scores are missing or damaged; the message names the file.
    """
    reports = Path(reports)
    rows, inputs, methods = [], [], set()
    for name in sorted((path.parent.name for path in (reports / "scores").glob("*/methods.json")), key=lambda name: (name not in PAPER_SETS, name)):
        results = [row for row in read_results(reports, name) if row.frames]
        if not (ehanets := find_ehanets(results)):
            continue
        damaged = reports / "robustness" / f"{name}.csv"
        corrupted = {}
        if damaged.is_file():
            scores, about = read_corrupted(damaged)
            tried = [row.label for row in results if {run for record in row.records for run in record["inputs"]} <= {*about["inputs"]}]  # not an earlier training of that name
            corrupted = {label: frames for label, frames in corrupted_frames(scores).items() if label in tried}
            inputs.append(about["id"])
        rows += [{"dataset": dataset_title(name), **row} for row in _claims(ehanets, results, corrupted) if row["against"] or name in PAPER_SETS]
        inputs += [record["id"] for row in results for record in row.records]
        methods |= {row.method for row in results}
    if not rows or len(methods) < 2 and not any(row["against"] for row in rows):
        discard(reports / "tables" / "claims")
        return None
    columns = [Column("claim", "Claim"), Column("verdict", "Verdict"), Column("dataset", "Data set"), Column("here", "EHANet here"), Column("against", "Against"),
               Column("difference", "Difference", "score"), Column("p", "p (Holm)", "value"), Column("paper", "Paper's number"), Column("mark", "Mark")]
    marks = " / ".join(dict.fromkeys(row["mark"] for row in rows))
    repeated = [path] if (path := reports / "tables" / "repeated.csv").is_file() else []
    table = Table("claims", "The paper's claims and what was measured here", marks, columns, rows, [*NOTES, *map(_repeated, repeated)])
    write_table(table, reports / "tables", ["ehanet.reporting.claims"], inputs=[*inputs, *(read_beside(path)["id"] for path in repeated)])
    return table


def _repeated(path: Path) -> str:
    """What repetitions of this report's trainings say of a verdict, by their table (``ehanet.reporting.repeated``)."""
    changes = [row["dice_change"].mean for row in read_table(path).rows]
    several = f"{len(changes)} trainings of this report changed their mDice by {min(changes):+.3f} to {max(changes):+.3f}"
    said = several if len(changes) > 1 else f"one training of this report changed its mDice by {changes[0]:+.3f}"
    return (f"Made again, on another machine or with other code, {said} (tables/repeated): ".replace("-", "−")
            + "no p and no rule above knows of that, so a verdict on a smaller difference may turn round elsewhere.")


def _claims(ehanets: list[Result], results: list[Result], corrupted: dict[str, list[pd.DataFrame]]) -> list[dict]:
    """The rows of one data set: every claim once."""
    subject = ehanets[0]
    rivals = [row for row in results if row.method in COMPARED and _share(subject, row, FAIR) and row.began in (None, subject.began)]
    lacking = _lacking(rivals)
    rows = [_row(claim, score, subject, rivals, {row.label: row.frames for row in [subject, *rivals]}, lacking) for score, claim in SCORES.items()]
    decoders = [row for row in results if row.method in DECODERS and _share(subject, row, (*FAIR, *ENCODER))]
    if decoders:
        rows += [_row(claim, score, subject, decoders, {row.label: row.frames for row in [subject, *decoders]}) for score, claim in ON_ONE_ENCODER.items()]
    if subject.label in corrupted:
        there = [row for row in rivals if row.label in corrupted]
        rows.append(_row(ROBUST, "dice", subject, there, {row.label: corrupted[row.label] for row in [subject, *there]}, _lacking(there)))
    partners = [(one, {module: row for module, _, _ in MODULES if (row := without_part(one, results, module))}) for one in ehanets]
    whole, without = next((pair for pair in partners if pair[1]), (subject, {}))
    frames = {row.label: row.frames for row in [whole, *without.values()]}
    return rows + [_row(claim, score, whole, [without[module]], frames) for module, score, claim in MODULES if module in without]


def _lacking(rivals: list[Result]) -> str:
    """How many of the paper's methods are not among ``rivals``, in words; empty where none is missing."""
    missing = len(set(BUILDABLE) - {row.method for row in rivals})
    return f"{missing} of the paper's {len(BUILDABLE)} methods that can be built not compared on equal terms" if missing else ""


def _row(claim: str, score: str, subject: Result, rivals: list[Result], frames: dict[str, list[pd.DataFrame]], lacking: str = "") -> dict:
    """A claim against ``rivals``; p is corrected over all of ``frames``. ``lacking``: see ``decide``."""
    row = {"claim": claim, "paper": "not public", "mark": mark_of([subject]), "here": look(subject.label, subject.method).title, "against": "", "difference": None, "p": ""}
    if not rivals:
        return row | {"verdict": decide(row["mark"], subject.encoder, [], False)}
    scores, found = collect(frames, score), compare(frames, score, subject.label).set_index("method")
    strongest = max(rivals, key=lambda rival: found.loc[rival.label, "mean"])
    seed_means = dict(zip(scores.methods, scores.seed_means))
    tested = found.loc[[rival.label for rival in rivals]]
    own, significant = seed_means[subject.label], tested["p_holm"] < ALPHA
    better = bool(((tested["difference"] < 0) & significant).all()) and all(min(own) > max(seed_means[rival.label]) for rival in rivals)
    worse = any(significant[rival.label] and max(own) < min(seed_means[rival.label]) for rival in rivals)
    p = float(found.loc[strongest.label, "p_holm"])
    difference = paired_differences({label: frames[label] for label in (subject.label, strongest.label)}, score, strongest.label).loc[subject.label]
    return row | {"here": f"{row['here']}: {found.loc[subject.label, 'mean']:.3f}",
                  "against": f"{look(strongest.label, strongest.method).title}: {found.loc[strongest.label, 'mean']:.3f}"
                             + (f" (best of {len(rivals)})" if len(rivals) > 1 else ""),
                  "difference": Score(*map(float, difference)), "p": p_in_words(p),
                  "verdict": decide(row["mark"], subject.encoder, [len(frames[each.label]) for each in (subject, *rivals)], better, lacking,
                                    smallest_p(scores.clusters, len(frames) - 1), worse, group_word([subject]))}


def decide(mark: str, encoder: str, seeds: list[int], better: bool, lacking: str = "", reachable: float = 0.0, worse: bool = False,
           drawn: str = "images") -> str:
    """The verdict with its reason; see ``NOTES`` for the rule.

    Args:
        seeds: number of trainings of EHANet and of every rival; empty without rivals.
        better: EHANet leads every rival, each lead significant and its worst training above their best one.
        lacking: what a lead would have to hold against besides, in words.
        reachable: the smallest p that the number of images, or patients, allows after correction.
        worse: a rival leads EHANet so.
        drawn: what the tests draw, as :func:`~ehanet.reporting.wording.group_word` has it.
    """
    if mark == PHANTOM:
        return f"{UNDECIDED}: images drawn by code"
    if not seeds:
        return f"{UNDECIDED}: nothing compared on equal terms"
    if encoder.startswith("random"):
        return f"{UNDECIDED}: encoder from random weights, the paper's from ImageNet"
    said = "better" if better else "worse" if worse else "not clearly better"
    if min(seeds) < SEEDS:
        return f"{UNDECIDED}: {said}, but trained fewer than {SEEDS} times"
    if reachable >= ALPHA:
        return f"{UNDECIDED}: so few {drawn} that no difference is significant"
    if better and lacking:
        return f"{UNDECIDED}: {said}, but {lacking}"
    return SUPPORTED if better else f"{NOT_SUPPORTED}: worse" if worse else NOT_SUPPORTED


def _share(one: Result, other: Result, keys: Iterable[str]) -> bool:
    return all(setting(one, key) == setting(other, key) for key in keys)
