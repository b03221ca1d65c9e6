"""Scores of segmentations: overlap, boundaries, saliency, edges, thresholds, calibration, and statistics over images.

The names below load their module when first used, so that training, which needs only ``regions``, needs no pandas or scipy.
"""

from importlib import import_module

_HOMES = {
    "score_masks": "ehanet.metrics.scores",
    "summarise": "ehanet.metrics.scores",
    "read_scores": "ehanet.metrics.scores",
    "score_volumes": "ehanet.metrics.volumes",
    "edge_f1": "ehanet.metrics.edges",
    "dice_over_thresholds": "ehanet.metrics.thresholds",
    "calibration": "ehanet.metrics.reliability",
    "compare": "ehanet.metrics.statistics",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'ehanet.metrics' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
