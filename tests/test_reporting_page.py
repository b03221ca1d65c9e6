"""The report page: complete, self-contained, honest about marks, and made without torch, runs or data."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reporting_inputs import make_dataset, make_reports

from ehanet.reporting import comparison, data_sheet, report_page, side_by_side
from ehanet.reporting.__main__ import main
from ehanet.reporting.page import _warnings
from ehanet.reporting.sections import run_rows
from ehanet.reporting.wording import duration


class Page(HTMLParser):
    """References, ids, headings with what follows them, and the text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.references, self.ids, self.tags, self.words, self.headings = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.references += [found[name] for name in ("src", "href") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        if tag in ("h1", "h2", "h3"):
            self.headings.append([tag, "", False])
        elif self.headings and tag in ("p", "dl", "ul", "table", "img"):
            self.headings[-1][2] = True

    def handle_data(self, data):
        self.words.append(data)
        if self.headings and self.headings[-1][1] == "":
            self.headings[-1][1] = data.strip()

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A phantom and a real data set with every file but the notebooks; no runs folder."""
    root = tmp_path_factory.mktemp("page")
    for name, absent in (("phantom-polyp", ()), ("kvasir-seg", [("pranet", "not available: weights file x.pth not found")])):
        data = make_dataset(name)
        folder = make_reports(root, data, {"ehanet": 0.1, "lanet": 0.25}, absent=absent)
        data_sheet(data, folder / "data")
        comparison(folder, name)
        side_by_side(data, folder)
    (folder / "notebooks").mkdir()
    (folder / "notebooks/04_compare__kvasir-seg.html").write_text("<p>executed</p>")
    assert main([str(folder), "--title", "Two <sets> & more"]) == 0
    return folder


def test_nothing_from_outside_and_every_link_leads_somewhere(reports):
    text = (reports / "index.html").read_text()
    page = Page(text)
    assert "script" not in page.tags and "link" not in page.tags and "@import" not in text and "url(" not in text
    assert page.references and not [one for one in page.references if re.match(r"[a-z]+:|//|/|\.\.", one)]
    for reference in page.references:
        if reference.startswith("#"):
            assert reference[1:] in page.ids
        else:
            assert (reports / reference).is_file(), reference
    assert "notebooks/04_compare__kvasir-seg.html" in page.references
    assert not [one for one in page.references if "01_data" in one]  # not there, so not linked
    assert len(set(page.ids)) == len(page.ids)


def test_marks_warnings_and_gaps_are_on_the_page(reports):
    page = Page((reports / "index.html").read_text())
    for words in ("phantom data", "reproduced here", "not available: no public code or description found", "not available: weights file x.pth not found",
                  "not public; this place is kept for it", "a.zip is not the official file", "started from random weights", "published"):
        assert words in page.text, words
    assert "say nothing about patients" in page.text and "research only" in page.text


def test_rows_with_random_encoders_are_named():
    """The page's best row may have a trained one: the warning is about the others."""
    runs = [{"config": {"method": method, "label": label}, "data": {"name": "kvasir-seg"}, "warnings": [*warnings, "a.zip is not the official file"]} for method, label, warnings in (
        ("ehanet", "ehanet", ["encoder: random, trained"]), ("ehanet", "ehanet-mobilenetv1", []), ("lanet", "lanet", ["encoder: random, frozen"]), ("lanet", "lanet", ["encoder: random, frozen"]))]
    official, random = _warnings({}, runs)
    assert official == "Kvasir-SEG: a.zip is not the official file."
    assert "(column Encoder): EHANet; LANet. Scores of these rows are not those of pretrained networks" in random
    assert len(_warnings({}, runs[1:2])) == 1


def test_no_heading_is_empty(reports):
    page = Page((reports / "index.html").read_text())
    assert [head for head in page.headings if not head[1] or (head[0] != "h2" and not head[2])] == []
    assert {"Kvasir-SEG", "Phantom polyps", "How each number was made", "Machine and time"} <= {head[1] for head in page.headings}


def test_text_is_escaped(reports):
    text = (reports / "index.html").read_text()
    assert "Two &lt;sets&gt; &amp; more" in text and "<sets>" not in text


def test_numbers_on_the_page_are_those_of_the_csv(reports):
    import pandas as pd

    frame = pd.read_csv(reports / "tables/comparison_kvasir-seg.csv").set_index("label")
    page = Page((reports / "index.html").read_text())
    for label in ("ehanet", "lanet"):
        for score in ("dice", "iou", "boundary_f1"):
            assert f"{frame.loc[label, score]:.3f}" in page.text


def test_the_same_files_give_the_same_page(reports):
    before = (reports / "index.html").read_bytes()
    report_page(reports, "Two <sets> & more")
    assert (reports / "index.html").read_bytes() == before


def test_a_report_with_data_alone_has_only_what_it_has(reports, tmp_path):
    shutil.copytree(reports / "data", tmp_path / "data")
    page = Page(report_page(tmp_path).read_text())
    heads = [head[1] for head in page.headings]
    assert "Kvasir-SEG" in heads and "Comparison" not in heads and "How each number was made" not in heads and "Results at a glance" not in heads
    for reference in page.references:
        assert reference.startswith("#") and reference[1:] in page.ids or (tmp_path / reference).is_file()


def test_an_empty_folder_is_one_clear_line(tmp_path):
    done = subprocess.run([sys.executable, "-m", "ehanet.reporting", str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.strip().splitlines() == [f"error: {tmp_path} holds no data sets and no scores yet; run make paper first"]
    assert not (tmp_path / "index.html").exists()


def test_a_damaged_record_is_named(reports, tmp_path):
    shutil.copytree(reports / "data", tmp_path / "data")
    (tmp_path / "data/kvasir-seg.json").write_text("{")
    with pytest.raises(ValueError, match="kvasir-seg.json is damaged"):
        report_page(tmp_path)


def test_no_network_library_is_imported():
    code = ("import sys, ehanet.reporting as r; [getattr(r, name) for name in r.__all__]; import ehanet.reporting.__main__\n"
            "print([name for name in ('torch', 'timm', 'torchvision') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_a_study_appears_under_its_heading_and_a_file_of_no_heading_under_further(reports, tmp_path, monkeypatch):
    from ehanet.reporting import sections

    folder = tmp_path / "reports"
    shutil.copytree(reports, folder)
    for name in ("novel_phantom-polyp", "elsewhere"):
        shutil.copy(folder / "figures/scores_phantom-polyp.png", folder / f"figures/{name}.png")
    (folder / "notebooks/06_novel__phantom-polyp.ipynb").write_text("{}")
    monkeypatch.setattr(sections, "PARTS", [*sections.PARTS, sections.Part("Novel", {"tables/novel_{}": "", "figures/novel_{}": "A novelty."})])
    text = report_page(folder).read_text()
    page = Page(text)
    order = [head[1] for head in page.headings]
    assert order.count("Novel") == 1 and order.index("Phantom polyps") < order.index("Novel") < order.index("Further tables and figures")
    assert text.count('src="figures/novel_phantom-polyp.png"') == text.count('src="figures/elsewhere.png"') == 1
    assert page.references.count("notebooks/06_novel__phantom-polyp.ipynb") == 1


def test_a_training_whose_record_is_missing_is_known_by_its_scores(reports, tmp_path):
    folder = tmp_path / "reports"
    shutil.copytree(reports, folder)
    shutil.rmtree(folder / "runs/kvasir-seg")
    page = Page(report_page(folder).read_text())
    assert "scores/kvasir-seg/lanet__seed0.json" in page.references and "runs/kvasir-seg/lanet/seed0/record.json" not in page.references
    assert "runs/phantom-polyp/lanet/seed0/record.json" in page.references
    assert not [one for one in page.references if not one.startswith("#") and not (folder / one).is_file()]


def test_a_training_scored_on_several_data_sets_is_one_row(tmp_path):
    for name in ("phantom-nuclei", "phantom-polyp"):
        reports = make_reports(tmp_path, make_dataset(name, count=12, size=16), {"ehanet": 0.1}, dataset="universal")
    shutil.rmtree(reports / "runs/phantom-nuclei")
    (record, files), = run_rows(reports)
    assert record["kind"] == "run" and files.count("scores on Phantom") == 2 and files.count(">record<") == 1
    page = Page(report_page(reports).read_text()).text
    assert "Trainings 1, 62 s in all" in page
    shutil.rmtree(reports / "runs")
    make_reports(tmp_path, make_dataset("kvasir-seg", count=12, size=16), {"ehanet": 0.1})
    assert "Trainings 2; of 1 the record is here: 62 s in all" in Page(report_page(reports).read_text()).text


def test_a_training_on_an_archive_is_listed_by_its_data_set(tmp_path):
    reports = make_reports(tmp_path, make_dataset("polyps", count=12, size=16), {"ehanet": 0.1}, dataset="/d/polyps.zip")
    assert "polyps.zip" not in report_page(reports).read_text().replace("<wbr>", "")


@pytest.mark.parametrize(("seconds", "told"), [(None, "–"), (61.5, "62 s"), (6000, "100 min"), (7626, "2.1 h")])
def test_a_time_in_words(seconds, told):
    assert duration(seconds) == told


def test_the_table_of_data_sets_is_that_of_their_records_and_goes_with_them(tmp_path):
    from ehanet.reporting.datasets import write_datasets
    from ehanet.reporting.datasheet import data_sheet

    data = make_dataset("kvasir-seg")
    data_sheet(data, tmp_path / "data")
    row = write_datasets(tmp_path).rows[0]
    assert (row["images"], row["train"], row["val"], row["test"], row["empty"]) == (40, 16, 4, 20, 1)
    assert (row["dataset"], row["official"], row["mark"], row["size"]) == ("Kvasir-SEG", "no", "reproduced here", "32 × 32")
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    assert write_datasets(tmp_path) is None and not list((tmp_path / "tables").iterdir())
