"""The README's results table: made by code, and only between its marks."""

import pytest
from reporting_inputs import make_dataset, make_reports

from ehanet.reporting import comparison
from ehanet.reporting.readme import BEGIN, END, write_results


@pytest.fixture
def reports(tmp_path):
    folder = make_reports(tmp_path, make_dataset(), {"ehanet": 0.1, "unet-32": 0.3})
    comparison(folder, "phantom-polyp")
    return folder


def test_only_the_text_between_the_marks_changes(reports, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        write_results(readme, reports)
        text = readme.read_text()
        assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n") and "old" not in text
        assert text.count("| EHANet |") == 1 and "phantom data" in text and "LW-MHFI-Net" in text
        assert "(reports/reports/tables/comparison_phantom-polyp.md)" in text


def test_marks_and_tables_must_be_there(reports, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="README.md: expected the lines"):
        write_results(readme, reports)
    readme.write_text(f"{BEGIN}\n{END}\n")
    with pytest.raises(FileNotFoundError, match="holds no comparison"):
        write_results(readme, tmp_path / "nothing")


def test_the_readme_has_its_marks():
    from pathlib import Path

    text = (Path(__file__).parents[1] / "README.md").read_text()
    assert text.count(BEGIN) == 1 and text.count(END) == 1
