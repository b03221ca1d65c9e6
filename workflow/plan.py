"""The steps of a profile, what each depends on by content, and which of them have to run.

A step that has finished leaves a stamp, a small JSON file below ``runs/<profile>/.steps``, with all that decided its result:
parameters, the notebook's code, the modules used, the source files, the steps before it. It has to run when its stamp or one of
its outputs is missing, when the stamp says something else than the plan, or when a step before it runs.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ehanet.config import WEIGHT_FILES, RunConfig, find_weights
from ehanet.data.catalogue import CATALOGUE, UNIONS, parts_of
from ehanet.data.sources import describe, locate, own_path, split_folder
from ehanet.files import write_atomically
from ehanet.fingerprint import REGISTRY, digest, module_hashes, notebook_hashes
from ehanet.plugins import plugin_hashes
from ehanet.profiles import Profile, dataset_key, is_phantom
from workflow import kinds
from workflow.kept import kept_id
from workflow.studies import study_parameters

PAGE = "ehanet.reporting.__main__"  # makes index.html
SHIPPED = "universal"  # the profile whose checkpoint is the shipped one; any other, an override of it included, publishes below its report


@dataclass(frozen=True)
class Step:
    """One step of the plan.

    Attributes:
        id: kind and names, as in "train/kvasir-seg/ehanet/seed0".
        parameters: for the notebook. outputs, stamp: paths. upstream: ids of the steps whose results it reads.
        code: which methods' modules and plugins count, and which packages cannot matter (see :func:`code_hashes`).
        parts: all that decides the result; what changed in them is the reason to run again.
    """

    id: str
    kind: str
    parameters: dict
    outputs: list[str]
    stamp: str
    upstream: list[str]
    code: dict
    parts: dict

    @property
    def notebook(self) -> Path | None:
        """The step's notebook; the report has none."""
        return kinds.notebook_of(self.kind)

    @property
    def executed(self) -> Path | None:
        """Where the executed notebook goes."""
        return next((Path(path) for path in self.outputs if path.endswith(".ipynb")), None)


def make_plan(profile: Profile, source: str | None, keep: bool = False) -> dict[str, Step]:
    """Every step of a profile, in order; reads sources and code, changes nothing.

    Args:
        keep: runs of the same settings whose record and predictions the report holds are not trained again, whatever code made them.

    Raises:
        FileNotFoundError, ValueError: a data set's archives are missing, a module or notebook cannot be read.
    """
    for study in profile.studies:
        if study not in kinds.STUDIES:
            raise ValueError(f"studies: unknown study {study!r}; known: {', '.join(kinds.STUDIES) or 'none'}")
    to_publish = profile.studies.get("publish", ([], {}))[0]
    if len(to_publish) > 1:
        raise ValueError(f"studies: publish: {', '.join(to_publish)} would write one checkpoint; name one data set, publish: [{to_publish[0]}]")
    for union in to_publish:
        if both := {*parts_of(union)} & {*profile.datasets} - {union}:  # publishing scores the parts, where their own rows' scores would lie
            raise ValueError(f"studies: publish: {union} holds {', '.join(sorted(both))}, which datasets names as well; give them a profile of their own")
    steps: dict[str, Step] = {}
    reports, runs_folder = f"reports/{profile.name}", f"runs/{profile.name}"
    for dataset in profile.datasets:
        key, runs = dataset_key(dataset), profile.runs_on(dataset)
        files = source_files(dataset, source)
        code = {"methods": sorted({run.method for run in runs}), "plugins": _plugins(runs),
                "without": [] if any(is_phantom(part) for part in parts_of(dataset)) else ["ehanet.data.phantoms"]}
        common = {"dataset": dataset, "size": profile.size, "source": source if any(part in CATALOGUE for part in parts_of(dataset)) else None, "reports": reports}
        folders = {"runs": f"{runs_folder}/{key}", "reports": reports}
        published = {"target": f"{'weights' if profile.name == SHIPPED else reports}/ehanet-{profile.name}.safetensors"}

        def add(kind: str, parameters: dict, upstream: list[str], files=(), **names) -> str:
            step = _step(profile.name, kind, {"dataset": key, **names}, parameters, [steps[id] for id in upstream], code, list(files))
            steps[step.id] = step
            return step.id

        before = {"data": add("data", common, [], files)}
        trained, rows = [], []
        for run in runs:
            place = f"{key}/{run.label}/seed{run.seed}"
            rows.append({"method": run.method, "label": run.label, "seed": run.seed})
            if keep and (record := kept_id(reports, key, run)):
                rows[-1]["kept"] = record  # the row changes with the run that the report holds
                continue
            parameters = {"config": _written_out(run), "source": common["source"], "run_dir": f"{runs_folder}/{place}",
                          "report_dir": f"{reports}/runs/{place}"}
            trained.append(add("train", parameters, [], files + _weights(run, profile.weights), label=run.label, seed=f"seed{run.seed}"))
        absent = [{"method": row.method, "label": row.label, "reason": row.reason} for row in profile.absent if row.dataset == dataset and row.label not in {run.label for run in runs}]
        if rows:
            before["evaluate"] = add("evaluate", {**common, **folders, "rows": rows, "absent": absent}, trained, files)
            add("compare", {"dataset": key, "reports": reports}, [before["evaluate"]])
            add("pictures", common, [before["evaluate"]])
        for study, (datasets, own) in profile.studies.items():
            needed = kinds.NEEDS.get(study, "evaluate")
            if dataset in datasets and needed in before:
                labels, across = {run.label: bool(run.plugin) for run in runs}, own.get("across")
                given = {**common, **folders, **published, "rows": rows} | ({"source": source} if across in CATALOGUE else {})
                if parameters := study_parameters(study, given, own, labels, profile.labels):
                    add(study, parameters, [before[needed]], source_files(across, source) if across else ())
    last = _step(profile.name, "report", {}, {"reports": reports, "title": profile.title}, list(steps.values()), {}, [])
    return {**steps, last.id: last}


def write_plan(path: str | Path, profile: Profile, steps: dict[str, Step], cores: int = 1) -> None:
    """The plan as JSON, for the Snakefile and for each step's process.

    Trainings side by side on few threads use the ``cores`` better than one at a time on all. Counted over the whole plan and not over what runs now, so that
    a run that is made again gets the same number of threads, and with it the same numbers; kept runs are in no plan.
    """
    trainings = sum(step.kind == "train" for step in steps.values())
    plan = {
        "training_threads": max(1, cores // max(1, trainings)),
        "profile": profile.name, "runs": f"runs/{profile.name}", "reports": f"reports/{profile.name}",
        "outputs": kinds.OUTPUTS, "stamps": kinds.STAMPS, "studies": list(profile.studies),
        "steps": {id: {**asdict(step), "fingerprint": digest(step.parts)} for id, step in steps.items()},
    }
    write_atomically(Path(path), json.dumps(plan, indent=1) + "\n")


def read_plan(path: str | Path) -> dict[str, Step]:
    """The steps of a written plan, by id."""
    entries = json.loads(Path(path).read_text())["steps"]
    return {id: Step(**{key: value for key, value in entry.items() if key != "fingerprint"}) for id, entry in entries.items()}


def source_files(dataset: str, source: str | None) -> list[dict]:
    """Name, bytes and sha256 of each file that a data set is read from, its split file included; none for phantoms."""
    if dataset in UNIONS:
        return [file for part in UNIONS[dataset] for file in source_files(part, source)]
    if is_phantom(dataset):
        return []
    if dataset in CATALOGUE:
        entry = CATALOGUE[dataset]
        root = Path(os.path.expanduser(source)) if source else None
        files = [describe(path, archive) for path, archive in zip(locate(entry, root), entry.archives)]
        folders = [split_folder(dataset, root)]
    else:
        path = own_path(dataset)
        if not path.exists():
            raise FileNotFoundError(f"data set {dataset!r} is neither a name ({', '.join(CATALOGUE)}, phantom-...) nor a folder or archive")
        files, folders = [describe(path, None)], [path, path.parent]
    splits = [folder / f"{dataset_key(dataset)}.split.csv" for folder in folders]
    return files + [describe(split, None) for split in splits if split.is_file()][:1]


def published_sets(profile: Profile) -> list[str]:
    """The data sets of the catalogue that a profile trains on or crosses over to."""
    names = [part for dataset in profile.datasets for part in parts_of(dataset)] + [own.get("across") for _, own in profile.studies.values()]
    return [name for name in dict.fromkeys(names) if name in CATALOGUE]


def to_run(steps: dict[str, Step], also: dict[str, str] | None = None) -> dict[str, str]:
    """Id -> reason, for the steps that have to run, in order; ``also``, reasons found otherwise.

    A checkpoint may be removed once all is made of it. A training whose checkpoint is gone runs again where a step that reads it has to run.
    """
    reasons: dict[str, str] = {}
    for step in steps.values():
        before = [id for id in step.upstream if id in reasons]
        reason = _reason(step) or (also or {}).get(step.id) or (f"follows {before[0]}" + (f" and {len(before) - 1} more" if before[1:] else "") if before else None)
        if reason:
            reasons[step.id] = reason
    gone = {id: f"{path} is missing" for id, step in steps.items() if step.kind == "train" and id not in reasons and not (path := Path(step.parameters["run_dir"], "best.pt")).is_file()}
    if needed := {id for id in gone for reader in reasons if steps[reader].kind in kinds.OF_CHECKPOINTS and id in _trainings(steps, reader)}:
        return to_run(steps, (also or {}) | {id: gone[id] for id in needed})
    return reasons


def _trainings(steps: dict[str, Step], id: str) -> set[str]:
    """The trainings that a step reads the checkpoints of: those before it, or before its evaluation."""
    return {one for before in (id, *steps[id].upstream) for one in steps[before].upstream if steps[one].kind == "train"}


def _reason(step: Step) -> str | None:
    try:
        done = json.loads(Path(step.stamp).read_text())["parts"]
    except FileNotFoundError:
        return "no finished result yet"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{step.stamp} cannot be read"
    if done != json.loads(json.dumps(step.parts)):
        return _difference(done, step.parts)
    missing = [path for path in step.outputs if not Path(path).is_file()]
    return f"{missing[0]} is missing" if missing else None


def _difference(old: dict, new: dict) -> str:
    """Why two sets of parts differ, in words."""
    said = []
    for name, words in (("parameters", "parameters changed"), ("modules", "code changed"), ("notebook", "notebook changed"),
                        ("files", "source files changed"), ("upstream", "earlier steps changed")):
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
            short = [key.removeprefix("ehanet.") for key in keys]
            words += ": " + ", ".join(short[:3]) + (" and more" if short[3:] else "")
        said.append(words)
    return "; ".join(said) or "changed"


def _step(profile: str, kind: str, names: dict, parameters: dict, upstream: list[Step], code: dict, files: list[dict]) -> Step:
    if kind == "train":
        run = RunConfig.from_dict(parameters["config"])
        code = {**code, "methods": sorted({run.method, *(["ehanet"] if run.teacher else [])}), "plugins": _plugins([run])}
    notebook, modules = code_hashes(kind, **code)
    parts = {"parameters": _deciding(parameters), "notebook": notebook, "modules": modules, "files": files,
             "upstream": {step.id: digest(step.parts)[:16] for step in upstream}}
    outputs = [f"reports/{profile}/{pattern.format(**names)}" for pattern in [*kinds.OUTPUTS[kind], *kinds.KEPT_OUTPUTS.get(kind, [])]]
    if kind == "evaluate":
        for row in parameters["rows"]:
            outputs += [f"reports/{profile}/{folder}/{names['dataset']}/{row['label']}__seed{row['seed']}.{suffix}"
                        for folder, suffix in (("scores", "csv"), ("scores", "json"), ("predictions", "npz"))]
    outputs += [f"{stem}.json" for stem, suffix in map(os.path.splitext, outputs) if "/tables/" in stem and suffix == ".csv" or "/figures/" in stem and suffix == ".png"]
    outputs += [parameters["target"]] if kind == "publish" else []
    return Step("/".join([kind, *names.values()]), kind, parameters, outputs, f"runs/{profile}/.steps/{kinds.STAMPS[kind].format(**names)}",
                [step.id for step in upstream], code, parts)


def code_hashes(kind: str, methods: list[str] = (), plugins: list[str] = (), without: list[str] = ()) -> tuple[str | None, dict[str, str]]:
    """Hash of the notebook of a kind of step, and of each module and plugin it uses; shortened, they serve comparison only."""
    if kinds.notebook_of(kind) is None:
        notebook, modules = None, module_hashes([PAGE], methods=[])
    else:
        notebook, modules = notebook_hashes(kinds.notebook_of(kind), methods, tuple(without))
    if REGISTRY in modules:
        for path in plugins:
            modules |= plugin_hashes(path)
    return notebook, {name: value[:16] for name, value in modules.items()}


def _deciding(parameters: dict) -> dict:
    """Parameters without what decides no result: where files lie, on which device."""
    kept = {key: value for key, value in parameters.items() if key != "source"}
    if "config" in kept:
        config = {key: value for key, value in kept.pop("config").items() if key != "device"}
        for file in (*WEIGHT_FILES, "plugin"):
            if config.get(file):
                config[file] = Path(config[file]).name
        kept |= config
    return kept


def _written_out(run: RunConfig) -> dict:
    """The settings of a run that differ from the defaults, its names and its size."""
    default = RunConfig().to_dict()
    keep = ("method", "dataset", "label", "seed", "size")
    return {key: value for key, value in run.to_dict().items() if key in keep or value != default[key]}


def _plugins(runs: list[RunConfig]) -> list[str]:
    return sorted({run.plugin for run in runs if run.plugin})


def _weights(run: RunConfig, folder: Path | None) -> list[dict]:
    return [describe(find_weights(file, folder), None) for name in WEIGHT_FILES if (file := getattr(run, name))]
