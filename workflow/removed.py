"""What a profile has no more leaves its report: pages, claims and figures would go on showing it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ehanet.data.catalogue import parts_of
from ehanet.files import clear_parts
from ehanet.profiles import Profile, dataset_key
from ehanet.reporting.artefacts import SUFFIXES, discard
from workflow.kinds import KEPT_OUTPUTS, OUTPUTS, STUDIES
from workflow.plan import Step

# Tables and figures of a study beside those that the plan knows, which are made only where there is enough for them.
FURTHER = {"edges": ["tables/iem_{dataset}", "figures/iem_{dataset}"], "inside": ["figures/grad_cam_{dataset}", "figures/outputs_{dataset}", "figures/gates_{dataset}"],
           "robustness": ["tables/cross_{dataset}", "figures/cross_{dataset}"]}


def forget_removed(profile: Profile, steps: dict[str, Step]) -> None:
    """Remove from the report what belongs to data sets, studies and methods that the profile has no more. What cannot be trained here, for want of a weights
    file, stays, and so do the scores that publishing a union of data sets makes of its parts."""
    reports = Path("reports", profile.name)
    own = {dataset_key(dataset) for dataset in profile.datasets}
    wanted = own | {part for dataset in profile.datasets for part in parts_of(dataset)}
    for dataset in {path.stem for path in reports.glob("data/*.json")} | {path.parent.name for path in reports.glob("scores/*/methods.json")}:
        if dataset not in wanted:
            _forget_dataset(reports, dataset, wanted)
    for study in STUDIES:
        datasets, _ = profile.studies.get(study, ([], {}))
        for dataset in own - {dataset_key(name) for name in datasets}:
            stems = [pattern.rpartition(".")[0] for pattern in [*OUTPUTS[study], *KEPT_OUTPUTS.get(study, [])]] + FURTHER.get(study, [])
            discard(*(reports / stem.format(dataset=dataset) for stem in dict.fromkeys(stems)))
            if study == "robustness":
                _forget_robustness(reports, dataset)
    _forget_methods(profile, reports, {path for step in steps.values() for path in step.outputs})


def _forget_dataset(reports: Path, dataset: str, others: Iterable[str]) -> None:
    for folder in ("scores", "predictions", "runs"):
        shutil.rmtree(reports / folder / dataset, ignore_errors=True)
    longer = tuple(f"_{name}" for name in others if name.endswith(f"_{dataset}"))  # of a data set whose name ends like this one
    for folder in ("tables", "figures"):
        for left in reports.glob(f"{folder}/*_{dataset}.*"):
            if left.suffix[1:] in SUFFIXES and left.stem.endswith(f"_{dataset}") and not left.stem.endswith(longer):
                left.unlink()
    discard(*(reports / place / dataset for place in ("data", "leakage")), reports / "data" / f"{dataset}.split")
    _forget_robustness(reports, dataset)


def _forget_robustness(reports: Path, dataset: str) -> None:
    table = reports / "robustness" / f"{dataset}.csv"
    clear_parts(table, 1)
    discard(table.with_suffix(""))
    for crossed in reports.glob(f"robustness/{dataset}__on__*"):
        crossed.unlink()


def _forget_methods(profile: Profile, reports: Path, wanted: set[str]) -> None:
    for run in [*profile.runs, *(run for row in profile.absent for run in row.runs)]:
        names = {"dataset": dataset_key(run.dataset), "label": run.label, "seed": f"seed{run.seed}"}
        wanted |= {str(reports / pattern.format(**names)) for pattern in OUTPUTS["train"]}
    for record in reports.glob("runs/*/*/seed*/record.json"):
        if str(record) not in wanted:
            shutil.rmtree(record.parent)
    for notebook in reports.glob("notebooks/*__*.ipynb"):
        if str(notebook) not in wanted and not notebook.stem.endswith(".failed"):
            notebook.unlink()
