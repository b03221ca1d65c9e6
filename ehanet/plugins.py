"""Methods of your own: Python files that register networks, named by a profile's key ``plugins``; the package stays as it is.

    from torch import nn
    from ehanet import register

    @register("my-net")
    class MyNet(nn.Module):
        ...                                    # forward: (B, 3, H, W) in [0, 1] -> logits (B, 1, H, W)

Planning a report reads such a file as text, which needs no torch; it is imported where its network is built. What decides
a result is the file, the modules beside it that it imports, and what they use of this package.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ehanet.fingerprint import file_hash, imported_modules, is_method, module_hashes, read_tree, registered_names

_LOADED: dict[Path, str] = {}  # file -> its text when it was imported


def plugin_methods(paths: Sequence[str]) -> dict[str, str]:
    """Name of each method that the files register -> its file, in the order written.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file is no Python, registers nothing, or takes a name of the package or of another file.
    """
    found: dict[str, str] = {}
    for path in paths:
        names = registered_names(_tree(path))
        if not names:
            raise ValueError(f'plugins: {path} registers no method; write @register("my-net") above its class (from ehanet import register)')
        for name in names:
            if "*" in name:
                raise ValueError(f"plugins: {path}: write the name out, as in @register(\"my-net\"); {name!r} is computed")
            if is_method(name) or found.get(name, path) != path:
                raise ValueError(f"plugins: {path} registers {name!r}, a name that {found.get(name, 'this package')} has already; choose another")
            found[name] = path
    return found


def plugin_hashes(path: str) -> dict[str, str]:
    """sha256 by name: the file, the modules and packages beside it that it imports, and the modules of this package that they import."""
    file = _find(path)
    waiting, found, ours = [file], {}, []
    while waiting:
        one = waiting.pop()
        name = one.relative_to(file.parent).as_posix()
        if name in found:
            continue
        found[name] = file_hash(one)
        ours += imported_modules(_tree(one), "")
        waiting += [beside for name in _imports(_tree(one)) for beside in _beside(file.parent, name)]
    return found | module_hashes(ours, methods=[])


def _beside(folder: Path, name: str) -> list[Path]:
    """The files of the module ``name`` in a plugin's folder, all of a package's; none where it comes from elsewhere, or is this package."""
    if name == __package__:
        return []
    if (folder / name).is_dir():
        return sorted((folder / name).rglob("*.py"))
    return [module] if (module := folder / f"{name}.py").is_file() else []


def load_plugin(path: str | None) -> None:
    """Import the file, once a process, so that its methods are registered; None, for a method of the package, does nothing.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it fails; the message is one line with the place.
    """
    if path is None:
        return
    file = _find(path).resolve()
    text = file.read_text(encoding="utf-8")
    if _LOADED.get(file) == text:
        return
    spec = importlib.util.spec_from_file_location(f"ehanet_plugin_{file.stem}", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))  # for modules beside it
    there = set(sys.modules)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        place = f", line {lines[-1]}" if lines else ""
        del sys.modules[spec.name]
        raise ValueError(f"plugin {path}{place}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        sys.path.remove(str(file.parent))
        for name in set(sys.modules) - there - {spec.name}:  # another plugin may have a module of that name beside it
            if _beside(file.parent, name.partition(".")[0]):
                del sys.modules[name]
    _LOADED[file] = text


def _find(path: str | Path) -> Path:
    file = Path(os.path.expanduser(path))
    if not os.path.isfile(file):  # False, where Path.is_file raises, for a name longer than a file's can be
        raise FileNotFoundError(f"plugins: {path} not found; give the path of the Python file that registers your method, as seen from the folder you are in")
    return file


def _tree(path: str | Path) -> ast.Module:
    return read_tree(_find(path).resolve())


def _imports(tree: ast.Module) -> list[str]:
    """First part of each name that is imported absolutely."""
    nodes = list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return [name.split(".")[0] for name in names]
