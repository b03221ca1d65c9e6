"""A profile: which data sets, methods, seeds and training settings one report is made of; a YAML file of ``config/``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import shorten

from ehanet.config import WEIGHT_FILES, RunConfig, find_weights, package_advice
from ehanet.data.dataset import list_datasets
from ehanet.data.sources import own_name
from ehanet.fingerprint import digest, method_modules
from ehanet.overrides import check_known, parse_overrides, read_yaml
from ehanet.plugins import plugin_methods

PER_RUN = ("method", "plugin", "dataset", "label", "seed")
SETTINGS = [field.name for field in fields(RunConfig) if field.name not in PER_RUN]
KEYS = ["title", "datasets", "methods", "plugins", "seeds", "studies", *SETTINGS]
METHOD_KEYS = ["name", "label", "datasets", *(key for key in SETTINGS if key != "size")]  # one data set of one size for all rows of a table
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
MAX_BYTES = 100_000  # of a profile: a larger file is none


@dataclass(frozen=True)
class Absent:
    """A row that a table shows without numbers, and why.

    Attributes:
        runs: its trainings, one a seed. place: how many of the profile's runs come before them.
    """

    dataset: str
    label: str
    method: str
    reason: str
    runs: tuple[RunConfig, ...] = ()
    place: int = 0


@dataclass(frozen=True)
class Profile:
    """A resolved profile.

    Attributes:
        name: the folder below ``runs`` and ``reports``: the file's name, with the overrides where there are any. title: of the report, with them too.
        runs: every training, in the order of the tables. absent: rows that cannot be trained here.
        studies: further looks, name -> (its data sets, its parameters). labels: of all rows, those that an override leaves out included.
        settings: what was asked for, before it was resolved. weights: the folder where ``encoder_weights`` are found.
    """

    name: str
    title: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[RunConfig, ...]
    absent: tuple[Absent, ...]
    studies: dict[str, tuple[list[str], dict]]
    labels: tuple[str, ...]
    settings: dict
    weights: Path | None

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.settings.get("size", RunConfig.size)

    def runs_on(self, dataset: str) -> list[RunConfig]:
        """The trainings of one data set."""
        return [run for run in self.runs if run.dataset == dataset]

    def with_kept(self, is_kept: Callable[[RunConfig], bool]) -> Profile:
        """The profile with those runs of absent rows back in their places that ``is_kept`` finds finished: what is kept needs no weights file. Their other
        seeds stay absent."""
        runs, absent = list(self.runs), []
        for row in reversed(self.absent):
            kept = [run for run in row.runs if is_kept(run)]
            runs[row.place:row.place] = kept
            if not kept:
                absent.insert(0, row)
            elif left := tuple(run for run in row.runs if run not in kept):
                absent.insert(0, replace(row, runs=left, reason=f"{row.reason}; not trained: seed{'s' * (len(left) > 1)} {', '.join(str(run.seed) for run in left)}"))
        return replace(self, runs=tuple(runs), absent=tuple(absent))


def load_profile(name: str, overrides: str = "", weights: str | Path | None = None, folder: str | Path = "config") -> Profile:
    """Read ``folder``/``name``.yaml, apply ``overrides`` ("epochs=3 seeds=[0,1]") and resolve it into runs.

    Args:
        weights: folder where a file named by ``encoder_weights`` is looked for first.

    Raises:
        FileNotFoundError: no such profile; the message names those there are.
        ValueError: an unknown key, a wrong type, an unknown method; the message names the known ones.
    """
    path = Path(folder) / f"{name}.yaml"
    if not path.is_file() or not LABEL.fullmatch(name):
        known = ", ".join(sorted(found.stem for found in Path(folder).glob("*.yaml"))) or "none"
        raise FileNotFoundError(f"profile {name!r} not found; there are: {known}")
    written, changes = _parse(path), parse_overrides(overrides, KEYS)
    settings = written | changes
    try:
        _check(settings)
        places = {*list_datasets(), *settings["datasets"], *written.get("datasets", [])}  # those that an override leaves out keep their rows and studies right
        runs, absent = _resolve(settings, Path(weights) if weights else None, places)
        studies = _studies(settings.get("studies", []), settings["datasets"], places)
        labels = tuple(dict.fromkeys([row.label for row in (*runs, *absent)] + _labels(written.get("methods"))))
    except ValueError as error:
        raise ValueError(f"profile {name}: {error}") from None
    return Profile(name + _suffix(changes), settings.get("title", name) + _in_brackets(changes), tuple(settings["datasets"]), tuple(settings["seeds"]),
                   tuple(runs), tuple(absent), studies, labels, settings, Path(weights) if weights else None)


def dataset_key(dataset: str) -> str:
    """A data set's name as part of file names; a folder or archive of the user's own goes by the last part of its path."""
    key = dataset and own_name(dataset)  # an empty name would be the folder we are in
    if not LABEL.fullmatch(key):
        raise ValueError(f"datasets: {dataset!r} cannot name files; use letters, digits, '.', '_', '+' and '-'")
    return key


def is_phantom(dataset: str) -> bool:
    """Whether a data set is made by code."""
    return dataset.startswith("phantom-")


def _parse(path: Path) -> dict:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES} bytes; a profile is a short YAML file")
    try:
        settings = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error.reason})") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected 'key: value' lines")
    for key in settings:
        check_known(key, KEYS, str(path))
    return settings


def _check(settings: dict) -> None:
    for key, value in settings.items():
        try:
            digest(value)
        except TypeError:  # a date, or keys of several types, which YAML knows and no record holds
            raise ValueError(f"{key}: expected text, numbers, lists or mappings of them by name, got {value!r}") from None
    for key in ("datasets", "methods", "seeds"):
        studied = key == "methods" and settings.get("studies")  # of the images alone
        if not isinstance(settings.get(key), list) or not (settings[key] or studied):
            value = settings.get(key)
            way = f"; write [{value}]" if isinstance(value, (str, int)) else ""
            raise ValueError(f"{key}: expected a list with at least one entry, got {value!r}{way}")
    for key, kind in (("datasets", str), ("seeds", int)):
        if any(not isinstance(value, kind) or isinstance(value, bool) for value in settings[key]):
            raise ValueError(f"{key}: expected a list of {kind.__name__}, got {settings[key]!r}")
        if len(set(settings[key])) < len(settings[key]):
            raise ValueError(f"{key}: {settings[key]!r} names something twice")
    plugins = settings.get("plugins", [])
    if not isinstance(plugins, list) or any(not isinstance(path, str) or not path.isprintable() for path in plugins):
        raise ValueError(f"plugins: expected a list of Python files, got {plugins!r}")
    if not isinstance(settings.get("title", ""), str) or not settings.get("title", "").isprintable():
        raise ValueError(f"title: expected one line of text, got {settings['title']!r}")
    if any(seed < 0 for seed in settings["seeds"]):
        raise ValueError(f"seeds: must be 0 or above, got {settings['seeds']!r}")
    for dataset in settings["datasets"]:
        if is_phantom(dataset) and dataset not in list_datasets():
            raise ValueError(f"datasets: unknown phantom {dataset!r}; known: {', '.join(filter(is_phantom, list_datasets()))}")
    keys = [dataset_key(dataset) for dataset in settings["datasets"]]
    if len(set(keys)) < len(keys):
        raise ValueError(f"datasets: two folders share one name in {settings['datasets']!r}; rename one")


def _resolve(settings: dict, weights: Path | None, places: set[str]) -> tuple[list[RunConfig], list[Absent]]:
    common = {key: settings[key] for key in SETTINGS if key in settings}
    plugins = plugin_methods(settings.get("plugins", []))
    known = sorted({*plugins, *(name for names in method_modules().values() for name in names)})
    runs, absent, taken = [], [], set()
    entries = [_entry(entry, settings["datasets"], known, places) for entry in settings["methods"]]
    listed = {method for method, *_ in entries}
    entries += [_entry(method, settings["datasets"], known, places) for method in plugins if method not in listed]
    for dataset in settings["datasets"]:
        for method, label, _, own in (entry for entry in entries if dataset in entry[2]):
            if (dataset, label) in taken:
                raise ValueError(f"methods: label {label!r} is used twice on {dataset}; give one of them another label")
            taken.add((dataset, label))
            values = {**common, **({"pretrained": False} if own.get("encoder_weights") else {}), **own}  # a row's own file comes before timm's weights
            configs = [RunConfig.from_dict({**values, "method": method, "plugin": plugins.get(method), "label": label, "dataset": dataset, "seed": seed})
                       for seed in settings["seeds"]]
            missing = [file for file in map(values.get, WEIGHT_FILES) if file and not _is_there(file, weights)]
            if missing:
                absent.append(Absent(dataset, label, method, f"not available: weights file {missing[0]} not found (give WEIGHTS=folder{package_advice(missing[0])})", tuple(configs), len(runs)))
                continue
            runs += configs
    return runs, absent


def _studies(studies, datasets: list[str], places: set[str]) -> dict[str, tuple[list[str], dict]]:
    """``[edges]``, ``{edges: [phantom-polyp]}`` or ``{edges: {datasets: [phantom-polyp], images: 8}}`` -> data sets and parameters."""
    if isinstance(studies, list) and all(isinstance(name, str) for name in studies):
        studies = {study: datasets for study in studies}
    if not isinstance(studies, dict) or any(not isinstance(name, str) for name in studies):
        raise ValueError(f"studies: expected a list of names, or name: data sets, got {studies!r}")
    found = {}
    for name, value in studies.items():
        own = dict(value) if isinstance(value, dict) else {"datasets": value}
        if not isinstance(own.get("across", ""), str):
            raise ValueError(f"studies: {name!r}: across: expected one data set's name or folder, got {own['across']!r}")
        found[name] = (_wanted(f"studies: {name!r}", own.pop("datasets", datasets), places), own)
    return found


def _wanted(owner: str, names, places: set[str]) -> list[str]:
    """The data sets that a method or a study names; a misspelt one would leave it out without a word."""
    if not isinstance(names, list):
        raise ValueError(f"{owner}: datasets: expected a list, got {names!r}")
    for name in names:
        if not isinstance(name, str) or name not in places:
            raise ValueError(f"{owner}: datasets: unknown data set {name!r}; known: {', '.join(sorted(places))}")
    return names


def _entry(entry, datasets: list[str], known: list[str], places: set[str]) -> tuple[str, str, list[str], dict]:
    """A method's line of the profile -> (method, label, its data sets, its own settings)."""
    entry = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError(f"methods: expected a name, or a mapping with 'name', got {entry!r}")
    for key in entry:
        check_known(key, METHOD_KEYS, f"methods: {entry['name']}")
    if not any(fnmatchcase(entry["name"], pattern) for pattern in known):
        raise ValueError(f"methods: unknown method {entry['name']!r}; known: {', '.join(known)}")
    label = entry.get("label", entry["name"])
    if not isinstance(label, str) or not LABEL.fullmatch(label):
        raise ValueError(f"methods: label {label!r} names files; use letters, digits, '.', '_', '+' and '-'")
    wanted = _wanted(f"methods: {label}", entry.get("datasets", datasets), places)
    return entry["name"], label, wanted, {key: entry[key] for key in SETTINGS if key in entry}


def _is_there(file: str, weights: Path | None) -> bool:
    try:
        return bool(find_weights(file, weights))
    except FileNotFoundError:
        return False


def _in_brackets(changes: dict) -> str:
    """" (epochs=3)" for the report's title; without data sets and plugins, which the page shows anyway and which may be paths of this machine."""
    told = ", ".join(f"{key}={changes[key]}" for key in sorted(changes.keys() - {"title", "datasets", "plugins"}))
    return f" ({shorten(told, 80, placeholder=' …')})" if told else ""


def _suffix(changes: dict) -> str:
    """"-epochs-3" for the folder's name, so that no override writes over another configuration's results."""
    text = re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(f"{key} {changes[key]}" for key in sorted(changes))).strip("-.").lower()
    plain = all(re.fullmatch(r"[a-z0-9.]+|True|False|None", str(value)) for value in changes.values())  # other values may share their letters
    if len(text) > 48 or not plain:
        text = f"{text[:40].strip('-.')}-{digest(changes)[:6]}"
    return f"-{text}" if text else ""


def _labels(methods) -> list[str]:
    """The labels of a profile's ``methods``, as far as they can be read: those that an override replaces were not checked."""
    named = [entry.get("label", entry.get("name")) if isinstance(entry, dict) else entry for entry in methods] if isinstance(methods, list) else []
    return [label for label in named if isinstance(label, str)]
