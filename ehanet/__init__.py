"""EHANet: an edge-guided and hierarchical aggregation network for medical image segmentation, and its reproduction.

The names below load what they need when first used, so ``import ehanet`` alone costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "EHANet": "ehanet.models",
    "build_model": "ehanet.models",
    "list_models": "ehanet.models",
    "load_run": "ehanet.runs",
    "predict": "ehanet.inference",
    "register": "ehanet.models",
    "trace": "ehanet.reporting.trace",
}
_MODULES = ("data", "explain", "losses", "metrics", "models")  # offered whole
__all__ = ["EHANet", "__version__", "build_model", "list_models", "load_run", "predict", "register", "trace", *_MODULES]


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f"ehanet.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'ehanet' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
