"""The two tracks: networks that began with random weights and networks whose encoder began trained are ranked and tested apart."""

from __future__ import annotations

import pandas as pd

from ehanet.metrics.statistics import compare
from ehanet.reporting.results import RANDOM, TRAINED, Result, find_reference


def by_track(rows: list[Result]) -> dict[str, list[Result]]:
    """The rows with scores by their track, random weights first, each in the given order."""
    scored = [row for row in rows if row.frames]
    return {track: own for track in (RANDOM, TRAINED) if (own := [row for row in scored if row.track == track])}


def find_references(rows: list[Result]) -> dict[str, Result]:
    """Track -> the row that the others of the track are compared with, its EHANet where it has one."""
    return {track: find_reference(own) for track, own in by_track(rows).items()}


def compare_tracks(rows: list[Result], score: str) -> pd.DataFrame:
    """``ehanet.metrics.statistics.compare`` within each track against its reference; one table, indexed by label."""
    references = find_references(rows)
    return pd.concat([compare({row.label: row.frames for row in own}, score, references[track].label) for track, own in by_track(rows).items()]).set_index("method")
