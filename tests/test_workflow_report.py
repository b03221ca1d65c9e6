"""``make report``: which tables are made again from the CSV files of a report, and which are left as they are."""

from types import SimpleNamespace

import pytest

from workflow.paper import report

PROFILE = SimpleNamespace(name="laptop", title="Two data sets")


def test_the_studies_that_need_scores_alone_are_made_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("scores/dsb2018/methods.json", "scores/kvasir-seg/methods.json", "tables/protocol_kvasir-seg.csv", "tables/ladder_dsb2018.csv",
                 "tables/edges_kvasir-seg.csv", "tables/robustness_kvasir-seg.csv", "robustness/kvasir-seg.csv", "robustness/kvasir-seg__on__phantom-polyp-seed1.json"):
        (tmp_path / "reports/laptop" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "reports/laptop" / path).write_text("[]")
    done = []
    monkeypatch.setattr("ehanet.steps.run_step", lambda notebook, parameters, executed: done.append((notebook.stem, parameters["dataset"])) or 0.0)
    monkeypatch.setattr("ehanet.reporting.robustness_report", lambda reports, dataset: done.append(("robustness", dataset)), raising=False)
    monkeypatch.setattr("ehanet.reporting.cross_report", lambda reports, dataset, other: done.append(("cross", dataset, other)), raising=False)
    monkeypatch.setattr("workflow.step.make_page", lambda reports, title: done.append((reports, title)))
    assert report(PROFILE) == 0
    assert done == [("04_compare", "dsb2018"), ("15_ladder", "dsb2018"), ("04_compare", "kvasir-seg"), ("12_protocol", "kvasir-seg"), ("robustness", "kvasir-seg"),
                    ("cross", "kvasir-seg", "phantom-polyp-seed1"), ("reports/laptop", "Two data sets")]


def test_a_report_without_scores_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="reports/laptop/scores holds no scores; run make paper PROFILE=laptop first"):
        report(PROFILE)
