"""The two tracks: networks that began with random weights and networks whose encoder began trained are ranked and tested apart.

A network without an encoder, such as U-Net, has nothing that could have been trained before: it stands with the random ones where there are some, and
else with the trained ones, as in the paper's tables.
"""

from __future__ import annotations

import pandas as pd

from ehanet.metrics.statistics import compare, paired_differences
from ehanet.reporting.results import RANDOM, TRAINED, Result, find_reference
from ehanet.reporting.tables import Column, Score
from ehanet.reporting.wording import p_in_words

NOTE = "Two tracks, ranked and tested apart (column Track): all weights random at the start, or the encoder's trained beforehand."
TAKEN_OVER = "A start from a network that was itself trained from random weights counts as random, a teacher whose encoder was trained beforehand as a trained encoder."


def by_track(rows: list[Result]) -> dict[str, list[Result]]:
    """The rows with scores by their track, random weights first, each in the given order; one track "" where all began alike."""
    scored = [row for row in rows if row.frames]
    began = {row.began for row in scored} - {None}
    if len(began) < 2:
        return {"": scored} if scored else {}
    return {track: [row for row in scored if (row.began or RANDOM) == track] for track in (RANDOM, TRAINED)}


def tracks_of(rows: list[Result]) -> dict[str, str]:
    """Label -> track of each row with scores."""
    return {row.label: track for track, own in by_track(rows).items() for row in own}


def track_column(rows: list[Result]) -> Column:
    """The column of the tables, shown where there are two tracks."""
    return Column("track", "Track", shown=len(by_track(rows)) > 1)


def track_notes(rows: list[Result]) -> list[str]:
    """What the tracks are, for the notes below a table; none where all began alike."""
    if len(by_track(rows)) < 2:
        return []
    return [NOTE, TAKEN_OVER] if any(row.config.get(key) for row in rows if row.frames for key in ("initial_weights", "teacher")) else [NOTE]


def find_references(rows: list[Result]) -> dict[str, Result]:
    """Track -> the row that the others of the track are compared with, its EHANet where it has one."""
    return {track: find_reference(own) for track, own in by_track(rows).items()}


def reference_names(rows: list[Result]) -> str:
    """Whom the rows are compared with, "EHANet" or one a track, in words."""
    several = len(by_track(rows)) > 1
    return " or ".join(f"{row.title} ({track})" if several else row.title for track, row in find_references(rows).items())


def of_track(rows: list[Result]) -> str:
    """" of its track" where there are two."""
    return " of its track" if len(by_track(rows)) > 1 else ""


def compare_tracks(rows: list[Result], score: str) -> pd.DataFrame:
    """``ehanet.metrics.statistics.compare`` within each track against its reference; one table, indexed by label."""
    references = find_references(rows)
    return pd.concat([compare({row.label: row.frames for row in own}, score, references[track].label) for track, own in by_track(rows).items()]).set_index("method")


def against_references(rows: list[Result], score: str, table: pd.DataFrame | None = None) -> dict[str, tuple[Score, str]]:
    """Label -> the difference to the reference of its track with its 95 % interval, and its p after Holm's correction over the track in words; the references have none.

    Args:
        table: of :func:`compare_tracks` for these rows and this score, where it is at hand.
    """
    found, references = {}, find_references(rows)
    for track, own in by_track(rows).items():
        if len(own) > 1:
            table = compare_tracks(rows, score) if table is None else table
            for label, *difference in paired_differences({row.label: row.frames for row in own}, score, references[track].label).itertuples():
                found[label] = Score(*difference), p_in_words(table.loc[label, "p_holm"])
    return found
