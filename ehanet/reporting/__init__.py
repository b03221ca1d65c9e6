"""Tables, figures and the report page, made from result files only: nothing here trains, predicts or imports torch.

The names below load what they need when first used, so a page needs no plotting and a table no pictures.
"""

from importlib import import_module

_HOMES = {
    "ablation_report": "ehanet.reporting.ablations",
    "ablation_rows": "ehanet.reporting.ablations",
    "comparison": "ehanet.reporting.compare",
    "configurations": "ehanet.reporting.costs",
    "corruption_sheet": "ehanet.reporting.robustness",
    "cost_report": "ehanet.reporting.costs",
    "cross_report": "ehanet.reporting.cross",
    "data_sheet": "ehanet.reporting.datasheet",
    "edges_report": "ehanet.reporting.edges",
    "failures_report": "ehanet.reporting.failures",
    "iem_report": "ehanet.reporting.iem",
    "inside_report": "ehanet.reporting.inside",
    "ladder_report": "ehanet.reporting.ladder",
    "leakage_report": "ehanet.reporting.leakage",
    "protocol_report": "ehanet.reporting.protocol",
    "repeated_report": "ehanet.reporting.repeated",
    "report_page": "ehanet.reporting.page",
    "robustness_report": "ehanet.reporting.robustness",
    "score_choice_report": "ehanet.reporting.score_choice",
    "side_by_side": "ehanet.reporting.pictures",
    "training_curve": "ehanet.reporting.curves",
    "training_overview": "ehanet.reporting.curves",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'ehanet.reporting' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
