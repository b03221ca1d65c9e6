"""Several reports beside each other: which rows and columns, which numbers, what is marked, and that the pages kept here are up to date."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reporting_inputs import make_dataset, make_reports

from ehanet.metrics.distances import surface
from ehanet.predictions import predictions_path, read_predictions, write_predictions
from ehanet.records import read_record
from ehanet.reporting import beside, comparison, edges_report
from ehanet.reporting.beside import write_beside
from ehanet.reporting.edges_beside import write_edges
from ehanet.reporting.forest import draw_forest
from ehanet.reporting.readme import marks
from ehanet.reporting.tables import read_table, write_table

ROOT = Path(__file__).parents[1]


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "docs" / "results.md"
    path.parent.mkdir()
    path.write_text("before\n" + "\nearlier\n".join(marks()) + "\nafter\n")
    return path


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def test_each_comparison_is_a_row_and_a_network_of_two_of_them_a_column(page, tmp_path):
    folders = {"plain": make_reports(tmp_path / "one", make_dataset(), {"ehanet": 0.1, "unet-32": 0.6, "lanet": 0.101}),
               "frozen": make_reports(tmp_path / "two", make_dataset(), {"ehanet": 0.2, "unet-32": 0.2, "pranet": 0.1})}
    make_reports(tmp_path / "one", make_dataset("phantom-nuclei"), {"ehanet": 0.1, "unet-32": 0.1})
    for folder, name in ((folders["plain"], "phantom-polyp"), (folders["plain"], "phantom-nuclei"), (folders["frozen"], "phantom-polyp")):
        comparison(folder, name)
    write_beside(page, folders)
    lines = page.read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "earlier" not in lines
    head = [index for index, line in enumerate(lines) if line.startswith("| Data set")]
    assert len(head) == 2 and [cells(lines[index]) for index in head] == 2 * [["Data set and setting", "EHANet", "U-Net (half width)"]], "LANet and PraNet are in one of them each"
    for start, score in zip(head, ("dice", "boundary_f1")):
        rows = [cells(line) for line in lines[start + 2:start + 5]]
        assert [row[0] for row in rows] == ["Phantom polyps, plain", "Phantom polyps, frozen", "Phantom nuclei, plain"], "the settings of a data set beside each other"
        for row, folder, name in zip(rows, ("plain", "frozen", "plain"), ("polyp", "polyp", "nuclei")):
            table = {one["label"]: one for one in read_table(folders[folder] / f"tables/comparison_phantom-{name}.csv").rows}
            assert [cell.rstrip("†") for cell in row[1:]] == [f"{table[label][score].mean:.3f}" for label in ("ehanet", "unet-32")]
        assert rows[0][2].endswith("†") and "†" not in rows[0][1], "the clear difference is marked, the reference never"
        assert cells(lines[start + 5]) == ["Clearly above / below EHANet", "–", "0 / 1"], "counted over the settings"
    assert not any("Standard deviation" in line for line in lines), "of one training there is none"
    assert [line for line in lines if line.startswith("- Within 2 px")], "the boundary's tolerance is said"
    assert "[reports/tables/comparison_phantom-polyp.md](../two/reports/tables/comparison_phantom-polyp.md)" in page.read_text(), "seen from the page"


def test_a_figure_has_a_panel_for_each_other_network_and_a_row_for_each_comparison(page, tmp_path, monkeypatch):
    folders = {"plain": make_reports(tmp_path / "one", make_dataset(), {"ehanet": 0.1, "unet-32": 0.6, "lanet": 0.101}),
               "frozen": make_reports(tmp_path / "two", make_dataset(), {"ehanet": 0.2, "unet-32": 0.2, "pranet": 0.1})}
    for folder in folders.values():
        comparison(folder, "phantom-polyp")
    drawn = []
    monkeypatch.setattr(beside, "draw_forest", lambda *given, **options: drawn.append(given) or draw_forest(*given, **options))
    write_beside(page, folders)
    for (changes, panels, heading, mark), score, words in zip(drawn, ("dice", "boundary_f1"), ("Mean Dice", "Boundary F1"), strict=True):
        assert panels == {"unet-32": "U-Net (half width)"} and words in heading and "EHANet" in heading and mark == "phantom data"
        assert [change.title for change in changes] == ["Phantom polyps, plain", "Phantom polyps, frozen"]
        for change, folder in zip(changes, folders.values()):
            means = {row["label"]: row[score].mean for row in read_table(folder / "tables/comparison_phantom-polyp.csv").rows if row[score]}
            found = change.differences["unet-32"]
            assert found.low <= found.mean <= found.high and found.mean == pytest.approx(means["unet-32"] - means["ehanet"], abs=1e-8)
        record = read_record(page.parent / "figures" / f"beside_{score}.json")
        assert set(record["inputs"]) == {read_record(path)["id"] for folder in folders.values() for path in folder.glob("scores/*/*.json") if path.stem != "methods"}
        assert record["id"].encode() in (page.parent / "figures" / f"beside_{score}.png").read_bytes()


def test_a_difference_within_chance_is_not_marked(page, tmp_path):
    folder = make_reports(tmp_path, make_dataset(), {"ehanet": 0.1, "unet-32": 0.1})
    comparison(folder, "phantom-polyp")
    write_beside(page, {"once": folder, "again": folder})
    p = next(row for row in read_table(folder / "tables/differences_phantom-polyp.csv").rows if row["label"] == "unet-32")["dice_p_holm_exact"]
    rows = [cells(line) for line in page.read_text().splitlines() if line.startswith("| Phantom polyps, ")]
    assert float(p) > 0.05 and "†" not in rows[0][2]


def test_the_spread_of_the_trainings_is_said(page, tmp_path):
    folder = make_reports(tmp_path, make_dataset(), {"ehanet": 0.1, "unet-32": 0.3}, seeds=(0, 1, 2))
    comparison(folder, "phantom-polyp")
    write_beside(page, {"once": folder, "again": folder})
    spread = [pd.Series([pd.read_csv(folder / f"scores/phantom-polyp/{label}__seed{seed}.csv")["dice"].mean() for seed in (0, 1, 2)]).std() for label in ("ehanet", "unet-32")]
    assert f"cell: {sum(spread) / 2:.3f} in the median, {max(spread):.3f} at most" in page.read_text()


def test_edge_maps_of_several_reports_training_by_training(tmp_path):
    data, folders = make_dataset(), {}
    labels = data.masks[data.splits["test"]].astype(bool)
    contours = np.stack([surface(mask) for mask in labels])
    for setting, maps in (("small", {"ehanet": (contours, labels), "ehanet-no-efa": (contours, contours)}), ("large", {"ehanet": (labels, labels)})):
        folders[setting] = make_reports(tmp_path / setting, data, dict.fromkeys([*maps, "unet-32"], 0.1), seeds=(0, 1))
        for label, seeds in maps.items():
            for seed, edges in enumerate(seeds):
                path = predictions_path(folders[setting], data.name, label, seed)
                write_predictions(path, dataclasses.replace(read_predictions(path), edges=edges.astype(float)))
        edges_report(data, folders[setting])
    page = tmp_path / "results.md"
    page.write_text("\n".join(["before", *marks(), "between", *marks("edges"), "after"]))
    write_edges(page, folders)
    filled = read_table(folders["small"] / f"tables/edges_{data.name}.csv").rows[0]["filled"].mean
    lines = page.read_text().splitlines()
    assert lines[:4] == ["before", *marks(), "between"] and lines[-1] == "after", "other marks keep their text"
    assert [cells(line) for line in lines if line.startswith(("| Data set", "| Phantom"))] == [
        ["Data set and setting", "Filled objects", "EHANet"],
        ["Phantom polyps, small", f"{filled:.3f}", f"1.000 (0 %), {filled:.3f} (100 %)"],
        ["Phantom polyps, large", f"{filled:.3f}", f"{filled:.3f} (100 %), {filled:.3f} (100 %)"]], "one of them alone has EHANet without EFA"
    with pytest.raises(FileNotFoundError, match="no tables of edges; run make paper"):
        write_edges(page, {"none": tmp_path})
    path = folders["large"] / f"tables/edges_{data.name}.csv"
    table = read_table(path)
    write_table(dataclasses.replace(table, columns=[column for column in table.columns if column.key not in ("each", "filled")]), path.parent, ["ehanet.reporting.edges"], inputs=[])
    with pytest.raises(ValueError, match="edges_phantom-polyp.csv is an older table, .*; run its edges step again"):
        write_edges(page, folders)


def test_a_folder_without_a_comparison_is_named(page, tmp_path):
    done = subprocess.run([sys.executable, "-m", "ehanet.reporting.beside", str(page), f"some=setting={tmp_path}"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "holds no comparison" in done.stderr and "earlier" in page.read_text()


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
def test_the_pages_kept_here_are_those_of_the_reports(name, tmp_path):
    """As ``make readme`` writes them."""
    recipe = (ROOT / "Makefile").read_text().replace("\\\n", " ").splitlines()
    command = next(line for line in recipe if f" {name} " in line and "ehanet.reporting" in line)
    (tmp_path / "reports").symlink_to(ROOT / "reports")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["sh", "-c", command.strip().lstrip("@").replace("$(PY)", sys.executable).replace("$$", "$")], cwd=tmp_path, check=True, env={"PYTHONPATH": str(ROOT)})
    assert (tmp_path / name).read_text() == (ROOT / name).read_text()
    for path in (tmp_path / "docs" / "figures").glob("*.json"):
        assert read_record(path)["inputs"] == read_record(ROOT / "docs" / "figures" / path.name)["inputs"], "the figures kept here are those of the reports too"
