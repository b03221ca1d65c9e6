"""The kinds of steps: the notebook of each, what it leaves in the report, and its stamp."""

from pathlib import Path

NOTEBOOKS = Path("notebooks/steps")
KINDS = {"data": "01_data", "train": "02_train", "evaluate": "03_evaluate", "compare": "04_compare", "pictures": "05_pictures", "report": None}
# Further looks at a data set, each a notebook, for the data sets that a profile's key ``studies`` names. A study gets those of the parameters
# dataset, size, source, runs, reports and rows that its notebook has, and runs after the evaluation, or after what NEEDS names.
STUDIES: dict[str, str] = {
    "costs": "06_costs",
    "edges": "07_edges",
    "inside": "08_inside",
    "failures": "09_failures",
    "ablations": "10_ablations",
    "robustness": "11_robustness",
    "protocol": "12_protocol",
    "leakage": "13_leakage",
    "publish": "14_publish",
    "ladder": "15_ladder",
}
OF_CHECKPOINTS = ("evaluate", "inside", "robustness", "publish")  # steps that read the trained networks
FROM_SCORES = ("ablations", "protocol", "ladder")  # studies whose notebooks read the CSV files of the report alone
NEEDS: dict[str, str] = {"leakage": "data"}


def _artefacts(*stems: str) -> list[str]:
    """The files of a study's tables ("tables/robustness") and figures, a data set each."""
    suffixes = {"tables": ("csv", "md", "tex"), "figures": ("png", "pdf")}
    return [f"{stem}_{{dataset}}.{suffix}" for stem in stems for suffix in suffixes[stem.split("/")[0]]]


# What each kind of step leaves in reports/<profile>/; the Snakefile takes its outputs from here.
OUTPUTS = {
    "data": ["data/{dataset}.json", "data/{dataset}.png", "data/{dataset}.split.csv", "notebooks/01_data__{dataset}.ipynb"],
    "train": ["runs/{dataset}/{label}/{seed}/record.json", "runs/{dataset}/{label}/{seed}/history.csv",
              "notebooks/02_train__{dataset}__{label}__{seed}.ipynb"],
    "evaluate": ["notebooks/03_evaluate__{dataset}.ipynb"],
    "compare": ["tables/comparison_{dataset}.csv", "tables/comparison_{dataset}.md", "tables/comparison_{dataset}.tex",
                "figures/scores_{dataset}.png", "figures/scores_{dataset}.pdf",
                "tables/score_choice_{dataset}.csv", "figures/score_choice_{dataset}.png", "figures/score_choice_{dataset}.pdf",
                "notebooks/04_compare__{dataset}.ipynb"],
    "pictures": ["figures/side_by_side_{dataset}.png", "figures/side_by_side_{dataset}.pdf", "notebooks/05_pictures__{dataset}.ipynb"],
    "costs": [*_artefacts("tables/cost", "figures/cost"), "notebooks/06_costs__{dataset}.ipynb"],
    "edges": [*_artefacts("tables/edges", "figures/edges", "figures/edge_distance"), "notebooks/07_edges__{dataset}.ipynb"],
    "inside": ["notebooks/08_inside__{dataset}.ipynb"],
    "failures": [*_artefacts("tables/failures", "tables/failure_kinds", "figures/failures", "figures/failure_kinds"),
                 "notebooks/09_failures__{dataset}.ipynb"],
    "ablations": [*_artefacts("tables/ablation_parts", "tables/ablation_choices", "figures/ablations"), "notebooks/10_ablations__{dataset}.ipynb"],
    "robustness": [*_artefacts("tables/robustness", "figures/robustness", "figures/corruptions"), "notebooks/11_robustness__{dataset}.ipynb"],
    "protocol": [*_artefacts("tables/protocol", "figures/protocol"), "notebooks/12_protocol__{dataset}.ipynb"],
    "leakage": [*_artefacts("tables/leakage", "figures/leakage"), "leakage/{dataset}.csv", "notebooks/13_leakage__{dataset}.ipynb"],
    "publish": ["notebooks/14_publish__{dataset}.ipynb"],
    "ladder": [*_artefacts("tables/ladder", "figures/ladder"), "notebooks/15_ladder__{dataset}.ipynb"],
    "report": ["index.html"],
}
# Outputs to the plan alone, as are the records beside tables and figures: Snakemake would remove them before the step. That keeps what they say of runs whose
# checkpoints are gone, or puts all of them in place at once, so that one that fails leaves the old ones.
KEPT_OUTPUTS = {"evaluate": [f"scores/{{dataset}}/{name}" for name in ("methods.json", "score_choice.csv", "score_choice.json")], "inside": _artefacts("tables/inside"), "robustness": ["robustness/{dataset}.csv"]}
STAMPS = {kind: f"{kind}/{{dataset}}/{{label}}/{{seed}}.json" if kind == "train" else f"{kind}/{{dataset}}.json" for kind in [*KINDS, *STUDIES]}
STAMPS["report"] = "report.json"


def notebook_of(kind: str) -> Path | None:
    """The notebook of a kind of step; the report has none."""
    name = {**KINDS, **STUDIES}[kind]
    return NOTEBOOKS / f"{name}.ipynb" if name else None
