"""Pages of the public functions from their docstrings, by pdoc: ``make docs`` writes docs/api/index.html. They load nothing from a network.

pdoc, because it reads the docstrings as they stand (sections and :func: roles), needs no configuration of its own and no build of a site.
"""

from __future__ import annotations

import inspect
import shutil
import sys
import tempfile
import typing
import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "api"
# What users call, and where the definitions stand; the other modules are for those who read the source.
PUBLIC = (
    "ehanet", "ehanet.models", "ehanet.models.pretrained", "ehanet.models.released", "ehanet.losses", "ehanet.config", "ehanet.training",
    "ehanet.data", "ehanet.data.edges", "ehanet.data.corruptions", "ehanet.metrics", "ehanet.metrics.regions", "ehanet.metrics.boundaries",
    "ehanet.metrics.saliency", "ehanet.explain", "ehanet.hub", "ehanet.export", "ehanet.interact",
)  # fmt: skip


def public_names(module: ModuleType) -> dict[str, object]:
    """What a module offers: its ``__all__`` without modules, else the classes and functions that it defines and does not hide."""
    if hasattr(module, "__all__"):
        found = {name: getattr(module, name) for name in module.__all__ if not name.startswith("_")}
        return {name: value for name, value in found.items() if not inspect.ismodule(value)}
    return {name: value for name, value in vars(module).items()
            if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__}


def write_docs(target: Path = TARGET, names: Iterable[str] = PUBLIC) -> Path:
    """Write a page a module, a search and index.html into ``target``, which is replaced whole; returns the index.

    Raises:
        RuntimeError: a name cannot be resolved, or an annotation not be read.
    """
    import pdoc.doc
    import pdoc.render

    from huggingface_hub import ModelHubMixin
    from pygments.formatters import HtmlFormatter
    from torch import nn

    ModelHubMixin.__new__.__doc__ = nn.Module.__init__.__doc__ = None  # else they stand in the place of the arguments of EHANet
    pdoc.render.configure(docformat="google", template_directory=ROOT / "docs" / "pages")
    pdoc.render.env.globals["dark_code"] = HtmlFormatter(style="github-dark", nobackground=True).get_style_defs(".pdoc-code")
    modules = {name: pdoc.doc.Module(_resolved(import_module(name))) for name in names}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".docs-") as folder, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for name, module in modules.items():
            page = Path(folder, target.name, *name.split(".")).with_suffix(".html")
            page.parent.mkdir(parents=True, exist_ok=True)
            try:
                page.write_text(pdoc.render.html_module(module, modules), encoding="utf-8")
            except UserWarning as warning:
                raise RuntimeError(f"{name}: {warning}") from warning
        Path(folder, target.name, "index.html").write_text(pdoc.render.html_index(modules), encoding="utf-8")
        Path(folder, target.name, "search.js").write_text(pdoc.render.search_index(modules), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        Path(folder, target.name).rename(target)
    return target / "index.html"


def _resolved(module: ModuleType) -> ModuleType:
    """The module with the names that it loads when first used, and the annotations of named tuples, as pdoc expects to find them."""
    for name in getattr(module, "__all__", ()):
        setattr(module, name, getattr(module, name))
    for value in public_names(module).values():
        if hasattr(value, "_fields"):
            value.__new__.__annotations__, value.__new__.__doc__ = typing.get_type_hints(value), None
    return module


if __name__ == "__main__":
    try:
        print(write_docs())
    except (RuntimeError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
