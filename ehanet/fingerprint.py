"""What code decides a result: the content of modules and notebooks, without comments, docstrings and layout.

A step of the workflow runs again when this content changes, and records keep its hash. Imports are found in the source,
never by importing, so nothing heavy is loaded; imports inside functions count like others. Two rules keep it exact:

* A package's ``__init__`` only passes names on. ``from ehanet.metrics import score_masks`` depends on the module that
  defines ``score_masks``; a module imported beside it for other names decides nothing here.
* Networks register themselves, so what builds a network by name depends on the registry and on the modules of the
  methods asked for: a change of one network leaves the runs of the others alone.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

PACKAGE = "ehanet"
ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "ehanet.models.registry"
DATA_SUFFIXES = (".csv", ".json", ".yaml", ".txt", ".html", ".css")
LAZY_NAMES = "_HOMES"  # the dictionary, name -> module, of a package that imports its names when first used


def modules_sha256(names: Iterable[str]) -> str:
    """One hash of these package modules and of all that they import."""
    return digest(module_hashes(names))


def digest(value) -> str:
    """sha256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def module_hashes(names: Iterable[str], methods: Iterable[str] | None = None, without: tuple[str, ...] = ()) -> dict[str, str]:
    """The package modules that ``names`` import, directly or not, themselves included: name -> sha256 of the content.

    Args:
        methods: the networks that will be built, where the registry is among the modules; None counts every network.
        without: packages that cannot matter here (the phantoms, to a run on real images).

    Raises:
        ValueError: a module is missing or is not valid Python; the message names it.
    """
    waiting, found = list(names), {}
    methods = None if methods is None else list(methods)
    while waiting:
        name = waiting.pop()
        if name in found or name in (PACKAGE, __name__) or name.startswith(tuple(without)):  # names and version; a changed way to hash changes every hash
            continue
        found[name], imports = _content(name)
        found |= _data_files(_path(name).parent)
        waiting += imports
        if name == REGISTRY:
            waiting += [module for module, patterns in method_modules().items()
                        if methods is None or any(fnmatchcase(method, pattern) for method in methods for pattern in patterns)]
    return dict(sorted(found.items()))


def notebook_hashes(path: str | Path, methods: Iterable[str] | None = None, without: tuple[str, ...] = ()) -> tuple[str, dict[str, str]]:
    """sha256 of a notebook's code cells, and :func:`module_hashes` of the package modules they import."""
    code, imports = _cells(Path(path))
    return code, module_hashes(imports, methods, without)


def forget() -> None:
    """Read every source file again when it is next needed; within one process files are read once."""
    for cached in (_cells, _content, read_tree, _data_files, method_modules):
        cached.cache_clear()


@lru_cache(maxsize=None)
def _cells(path: Path) -> tuple[str, list[str]]:
    """sha256 of a notebook's code, and the modules it imports."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        trees = [_strip(ast.parse("".join(cell["source"]))) for cell in cells if cell["cell_type"] == "code"]
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, SyntaxError) as error:
        raise ValueError(f"notebook {path} cannot be read ({type(error).__name__}: {error})") from error
    return digest([ast.unparse(tree) for tree in trees]), [module for tree in trees for module in imported_modules(tree, "")]


@lru_cache(maxsize=None)
def _content(module: str) -> tuple[str, list[str]]:
    """sha256 of a module's code, and the modules it imports."""
    return file_hash(_path(module)), imported_modules(read_tree(_path(module)), module)


def file_hash(path: Path) -> str:
    """sha256 of a Python file's code."""
    return hashlib.sha256(ast.unparse(read_tree(path)).encode()).hexdigest()


@lru_cache(maxsize=None)
def method_modules() -> dict[str, list[str]]:
    """Module of ``ehanet.models`` -> names of the methods it registers, with * for what is not written out."""
    found = {}
    for path in sorted((ROOT / PACKAGE / "models").glob("*.py")):
        names = registered_names(read_tree(path))
        if names and f"{PACKAGE}.models.{path.stem}" != REGISTRY:
            found[f"{PACKAGE}.models.{path.stem}"] = names
    return found


def registered_names(tree: ast.AST) -> list[str]:
    """Names of the methods that the source registers, with * for what is not written out."""
    return [_pattern(node.args[0]) for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == "register" and node.args]


def is_method(name: str) -> bool:
    """Whether a module of ``ehanet.models`` registers this name."""
    return any(fnmatchcase(name, pattern) for patterns in method_modules().values() for pattern in patterns)


def imported_modules(tree: ast.AST, importer: str) -> list[str]:
    """Package modules that define what the source imports; ``importer`` is its own name, for relative imports."""
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names if _ours(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, importer)
            if _ours(source):
                modules += [home for alias in node.names for home in _homes(source, alias.name)]
        elif isinstance(node, ast.Call) and _called(node) == "import_module" and node.args:
            target = _constant(node.args[0])
            modules += [target] if target and _ours(target) else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == PACKAGE:
            modules += _homes(PACKAGE, node.attr)  # import ehanet; ehanet.predict(...)
    return modules


def _homes(package: str, name: str) -> list[str]:
    """The modules to count for ``from package import name``."""
    if _exists(f"{package}.{name}"):
        return [f"{package}.{name}"]
    path = _path(package)
    if path.name != "__init__.py" or name == "*":
        return [package]
    for node in read_tree(path).body:
        if isinstance(node, ast.ImportFrom):
            source = _absolute(node, f"{package}.__init__")
            for alias in node.names:
                if (alias.asname or alias.name) == name and _ours(source):
                    return _homes(source, alias.name)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == LAZY_NAMES:
            homes = ast.literal_eval(node.value)
            if name in homes:
                return _homes(homes[name], name)
    return [package]  # defined in the package's own __init__


@lru_cache(maxsize=None)
def _data_files(folder: Path) -> dict[str, str]:
    """Tables and texts that lie in a package beside its modules, and decide as much as they do; not commit.txt, which differs between a clone and
    a downloaded archive of the same code."""
    files = [path for path in folder.iterdir() if path.suffix in DATA_SUFFIXES and path.name != "commit.txt"]
    return {str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _absolute(node: ast.ImportFrom, importer: str) -> str:
    if not node.level:
        return node.module or ""
    parts = importer.split(".")
    if importer and _exists(importer) and _path(importer).name == "__init__.py":
        parts.append("__init__")
    return ".".join(parts[:-node.level] + ([node.module] if node.module else []))


def _ours(module: str) -> bool:
    return module.split(".")[0] == PACKAGE


def _exists(module: str) -> bool:
    base = ROOT.joinpath(*module.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


def _path(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    raise ValueError(f"module {module} is imported but not in the package")


@lru_cache(maxsize=None)
def read_tree(path: Path) -> ast.Module:
    """The source of a file without docstrings; a ``ValueError`` names the line that is no Python."""
    try:
        return _strip(ast.parse(path.read_text(encoding="utf-8")))
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from error


def _strip(tree: ast.Module) -> ast.Module:
    """Remove docstrings; comments and layout are gone with parsing."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node, False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _called(node: ast.Call) -> str:
    """Name of what is called: f(...) and a.f(...) -> "f"."""
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _pattern(node: ast.expr) -> str:
    """A string as written; f"mobilevit-{name}" -> "mobilevit-*"."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(_constant(part) or "*" for part in parts)
