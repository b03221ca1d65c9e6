"""Studies: what a profile's key ``studies`` may say, and the steps that come of it."""

from pathlib import Path

import pytest

from ehanet.profiles import load_profile
from workflow import kinds
from workflow.kinds import notebook_of
from workflow.plan import make_plan

ROOT = Path(__file__).parent.parent
PROFILE = "title: t\ndatasets: [phantom-polyp, phantom-glioma]\nmethods: [ehanet]\nseeds: [0]\nsize: 64\n"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Plans a profile with two studies: one is made of the scores, the other needs the data alone."""
    monkeypatch.setattr(kinds, "STUDIES", {"scores": "04_compare", "images": "05_pictures"})
    monkeypatch.setattr(kinds, "NEEDS", {"images": "data"})
    for name in ("scores", "images"):
        monkeypatch.setitem(kinds.OUTPUTS, name, [f"tables/{name}_{{dataset}}.csv"])
        monkeypatch.setitem(kinds.STAMPS, name, f"{name}/{{dataset}}.json")
    monkeypatch.chdir(ROOT)

    def make(studies: str):
        (tmp_path / "own.yaml").write_text(f"{PROFILE}studies: {studies}\n")
        return make_plan(load_profile("own", folder=tmp_path), None)

    return make


def test_a_list_means_every_data_set(plan):
    steps = plan("[scores]")
    for dataset in ("phantom-polyp", "phantom-glioma"):
        step = steps[f"scores/{dataset}"]
        assert step.upstream == [f"evaluate/{dataset}"] and step.notebook.name == "04_compare.ipynb"
        assert step.parameters == {"dataset": dataset, "reports": "reports/own"}  # what its notebook has of what it could get
        assert step.id in steps["report"].upstream


def test_data_sets_and_parameters_of_a_study(plan):
    steps = plan("{images: [phantom-glioma]}")
    assert "images/phantom-polyp" not in steps and steps["images/phantom-glioma"].upstream == ["data/phantom-glioma"]


@pytest.mark.parametrize(("studies", "message"), [
    ("[nothing]", "unknown study 'nothing'; known: scores, images"),
    ("{scores: 3}", "'scores': datasets: expected a list, got 3"),
    ("{scores: {images: 8}}", "unknown parameter 'images'; known: dataset: str, reports: str"),
    ("{scores: {reports: elsewhere}}", "studies: scores: reports cannot be set here"),
    ("5", "studies: expected a list of names"),
])
def test_what_is_wrong_is_said_in_one_line(plan, studies, message):
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        plan(studies)
    assert message in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ("datasets: [universal-phantoms, phantom-polyp]\nstudies: {publish: [universal-phantoms]}", "publish: universal-phantoms holds phantom-polyp, which datasets names as well; give them"),
    ("datasets: [phantom-polyp]\nstudies: {robustness: {across: [phantom-polyp]}}", "'robustness': across: expected one data set's name or folder, got ['phantom-polyp']"),
])
def test_studies_that_cannot_be_are_refused_before_anything_runs(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(ROOT)
    (tmp_path / "own.yaml").write_text(f"methods: [ehanet]\nseeds: [0]\nsize: 64\n{text}\n")
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        make_plan(load_profile("own", folder=tmp_path), None)
    assert message in str(caught.value)


@pytest.mark.parametrize(("studies", "message"), [
    ("robustness: {corruptions: [hair, hairr]}", "robustness: corruptions: 'hairr' is unknown; known: noise, "),
    ("robustness: {methods: [ehanett]}", "robustness: methods: 'ehanett' is unknown; known: ehanet"),
    ("robustness: {images: 0}", "robustness: images: must be at least 1, got 0"),
    ("robustness: {images_across: -1}", "robustness: images_across: must be at least 1, got -1"),
    ("robustness: {across: phantom-nope}", "robustness: across: 'phantom-nope' is unknown; known: phantom-"),
    ("inside: {methods: 0}", "inside: methods: must be at least 1, got 0"),
    ("inside: {images: 0}", "inside: images: must be at least 1, got 0"),
])
def test_values_that_a_step_would_refuse_are_refused_before_anything_runs(tmp_path, monkeypatch, studies, message):
    monkeypatch.chdir(ROOT)
    (tmp_path / "own.yaml").write_text(f"{PROFILE}studies: {{{studies}}}\n")
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        make_plan(load_profile("own", folder=tmp_path), None)
    assert f"studies: {message}" in str(caught.value)


def test_a_study_passes_over_methods_that_are_not_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "own.yaml").write_text(PROFILE.replace("[ehanet]", "[ehanet, unet-32, {name: ehanet, label: trained, encoder_weights: gone.safetensors}]")
                                       + "studies: {robustness: {methods: [unet-32, trained, ehanet]}}\n")

    def chosen(overrides: str) -> list[str] | None:
        study = make_plan(load_profile("own", overrides, folder=tmp_path), None).get("robustness/phantom-polyp")
        return study and study.parameters["methods"]

    assert chosen("") == ["unet-32", "ehanet"], "the row without its weights file is absent"
    assert chosen("methods=[ehanet]") == ["ehanet"]
    assert chosen("methods=[lanet]") is None, "where none is left there is no study: without a choice it would be of every row"


def test_how_many_networks_are_looked_into_can_be_set(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "own.yaml").write_text(f"{PROFILE}studies: {{inside: {{methods: 4}}}}\nplugins: [notebooks/my_method.py]\n")
    assert make_plan(load_profile("own", folder=tmp_path), None)["inside/phantom-polyp"].parameters["methods"] == 4


@pytest.mark.parametrize("study", kinds.STUDIES)
def test_every_study_has_its_notebook_and_outputs(study):
    assert (ROOT / notebook_of(study)).is_file() and kinds.OUTPUTS[study] and kinds.NEEDS.get(study, "evaluate") in ("data", "evaluate")
