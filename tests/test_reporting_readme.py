"""The README's results table: made by code, and only between its marks."""

import pytest
from reporting_inputs import make_dataset, make_reports

from ehanet.records import read_record
from ehanet.reporting import comparison
from ehanet.reporting.readme import marks, write_results
from ehanet.reporting.tables import read_table

BEGIN, END = marks()


@pytest.fixture
def reports(tmp_path):
    folder = make_reports(tmp_path, make_dataset(), {"ehanet": 0.1, "unet-32": 0.3})
    comparison(folder, "phantom-polyp")
    return folder


def test_only_the_text_between_the_marks_changes(reports, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nearlier\n{END}\nafter\n")
    for _ in range(2):
        write_results(readme, reports)
        text = readme.read_text()
        assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n") and "earlier" not in text
        assert text.count("| EHANet |") == 1 and "phantom data" in text and "LW-MHFI-Net" in text
        assert "(reports/tables/comparison_phantom-polyp.md)" in text


def test_several_data_sets_share_a_table_and_images_without_an_object_get_a_column(tmp_path):
    """Five test images of the second set have none."""
    folder = make_reports(tmp_path, make_dataset(), {"ehanet": 0.1, "unet-32": 0.3})
    other = make_dataset("phantom-nuclei")
    other.masks[other.splits["test"][:5]] = 0
    make_reports(tmp_path, other, {"ehanet": 0.1})
    for name in ("phantom-polyp", "phantom-nuclei"):
        comparison(folder, name)
    tables = {name: read_table(folder / f"tables/comparison_{name}.csv") for name in ("phantom-polyp", "phantom-nuclei")}
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    write_results(readme, folder)
    lines = readme.read_text().splitlines()
    head = next(line for line in lines if line.startswith("| Method"))
    assert head == "| Method | Phantom polyps (phantom) | Phantom nuclei (phantom) | Phantom nuclei (phantom), objects |"
    row = next(line for line in lines if line.startswith("| EHANet |")).split(" | ")
    found = {one["label"]: one for one in tables["phantom-nuclei"].rows}["ehanet"]
    assert row[2].startswith(f"{found['dice'].mean:.3f}") and row[3].startswith(f"{found['dice_object'].mean:.3f}") and row[2] != row[3]
    assert next(line for line in lines if line.startswith("| U-Net")).endswith("| – | – |")
    for name, table in tables.items():
        record = read_record(folder / f"tables/comparison_{name}.json")["id"]
        assert f"- {table.caption}: [reports/tables/comparison_{name}.md](reports/tables/comparison_{name}.md), record {record}." in lines


def test_marks_and_tables_must_be_there(reports, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="README.md: expected the lines"):
        write_results(readme, reports)
    readme.write_text(f"{BEGIN}\n{END}\n")
    with pytest.raises(FileNotFoundError, match="holds no comparison"):
        write_results(readme, tmp_path / "nothing")
