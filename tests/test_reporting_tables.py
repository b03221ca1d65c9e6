"""Tables: hand-computed cells, marks, notes, and the three ways of writing them."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess

import pandas as pd
import pytest
from reporting_inputs import make_dataset, make_reports

from ehanet.metrics.scores import COLUMNS
from ehanet.records import read_record, write_record
from ehanet.reporting import comparison
from ehanet.reporting.glance import card
from ehanet.reporting.results import Result, published, read_results
from ehanet.reporting.tables import Column, Score, Table, read_table, write_table
from ehanet.reporting.tracks import against_references, of_track, reference_names
from ehanet.reporting.wording import group_word, p_in_words
from ehanet.reporting.writers import breakable, to_html, to_latex, to_markdown

MANIFEST = {"name": "kvasir-seg", "modality": "colonoscopy", "warnings": ["a.zip is not the official file"], "content": "c" * 64, "split": {"sha256": "5" * 64}}


def write_scores(root, rows, absent=(), manifest=MANIFEST, **settings):
    """A reports folder from lists of Dice by method; an empty label where Dice is None, with a prediction."""
    folder = root / "scores" / manifest["name"]
    folder.mkdir(parents=True)
    for label, values in rows.items():
        frame = pd.DataFrame({name: [0.0] * len(values) for name in COLUMNS})
        frame["image"] = frame["group"] = [f"i{number}" for number in range(len(values))]
        frame["dice"] = [value or 0.0 for value in values]
        frame["recall"] = [math.nan if value is None else value for value in values]
        frame["gt_empty"] = [value is None for value in values]
        frame["pred_empty"] = [value == 0 for value in values]
        frame.to_csv(folder / f"{label}__seed0.csv", index=False)
        config = {"method": label, "label": label, "dataset": manifest["name"], "seed": 0, "size": 256, "epochs": 50, "protocol": "corrected",
                  **settings.get(label, {})}
        write_record(folder / f"{label}__seed0.json", "scores", **settings.get("trained", {}).get(label, {}), config=config, data=manifest, encoder=settings.get("encoders", {}).get(label, "random, trained"),
                     seed=0, inputs=[], warnings=manifest["warnings"])
    listing = [{"method": label, "label": label, "seeds": [0], "reason": ""} for label in rows]
    listing += [{"method": label, "label": label, "seeds": [], "reason": reason} for label, reason in absent]
    (folder / "methods.json").write_text(json.dumps(listing))
    return root


DICE = {"ehanet": [0.9, 0.8, 1.0, None], "lanet": [0.5, 0.0, 0.7, None]}


def row(table, label):
    return next(row for row in table.rows if row["label"] == label)


def test_cells_by_hand(tmp_path):
    tables = comparison(write_scores(tmp_path, DICE), "kvasir-seg")
    table = tables["comparison_kvasir-seg"]
    ehanet, lanet = row(table, "ehanet"), row(table, "lanet")
    assert ehanet["dice"].mean == pytest.approx((0.9 + 0.8 + 1.0 + 0.0) / 4)
    assert lanet["recall"].mean == pytest.approx((0.5 + 0.0 + 0.7) / 3)  # the undefined one is left out
    assert lanet["recall_left_out"] == 1 and any("left out" in note for note in table.notes)
    assert (ehanet["missed"], ehanet["spurious"]) == (0, 1)
    assert (lanet["missed"], lanet["spurious"]) == (1, 1)
    assert ehanet["dice"].low <= ehanet["dice"].mean <= ehanet["dice"].high
    difference = row(tables["differences_kvasir-seg"], "lanet")["dice_difference"].mean
    assert difference == pytest.approx(((0.5 - 0.9) + (0.0 - 0.8) + (0.7 - 1.0) + 0.0) / 4)
    assert row(tables["differences_kvasir-seg"], "ehanet")["dice_difference"] is None


def test_four_images_make_nothing_bold_thirty_do(tmp_path):
    few = comparison(write_scores(tmp_path / "few", DICE), "kvasir-seg")["comparison_kvasir-seg"]
    assert not any(cell.bold for row in few.rows for cell in row.values() if isinstance(cell, Score))
    assert "**0." not in (tmp_path / "few/tables/comparison_kvasir-seg.md").read_text()
    many = {"ehanet": [0.9 + 0.001 * number for number in range(30)], "lanet": [0.7 + 0.002 * number for number in range(30)]}
    table = comparison(write_scores(tmp_path / "many", many), "kvasir-seg")["comparison_kvasir-seg"]
    assert row(table, "ehanet")["dice"].bold and not row(table, "lanet")["dice"].bold
    assert "**0.914**" in (tmp_path / "many/tables/comparison_kvasir-seg.md").read_text()
    assert r"\textbf{0.914}" in (tmp_path / "many/tables/comparison_kvasir-seg.tex").read_text()


def test_every_row_has_its_mark(tmp_path):
    reports = write_scores(tmp_path, DICE, absent=[("pranet", "not available: weights file x.pth not found")])
    tables = comparison(reports, "kvasir-seg")
    marks = {row["label"]: row["mark"] for row in tables["comparison_kvasir-seg"].rows}
    assert marks == {"ehanet": "reproduced here", "lanet": "reproduced here", "pranet": "not available: weights file x.pth not found",
                     "lw-mhfi-net": "not available: no public code or description found"}
    *others, last = tables["published_kvasir-seg"].rows
    assert {row["mark"] for row in others} == {"published"} and last["mark"] == marks["lw-mhfi-net"]
    for path in (reports / "tables").glob("comparison_*"):
        assert "no public code or description found" in path.read_text() or path.suffix == ".json"
    assert read_record(reports / "tables/comparison_kvasir-seg.json")["inputs"] == [
        read_record(reports / f"scores/kvasir-seg/{label}__seed0.json")["id"] for label in DICE]


def test_phantom_data_say_so_and_have_no_published_table(tmp_path):
    reports = write_scores(tmp_path, DICE, manifest={"name": "phantom-polyp", "modality": "phantom", "warnings": [], "content": "c" * 64, "split": {"sha256": "5" * 64}})
    tables = comparison(reports, "phantom-polyp")
    assert set(tables) == {"comparison_phantom-polyp", "differences_phantom-polyp"}
    for name in tables:
        for suffix in (".md", ".tex"):
            assert "phantom data" in (reports / "tables" / f"{name}{suffix}").read_text()
    assert "phantom data" in (reports / "tables/comparison_phantom-polyp.csv").read_text()
    assert read_record(reports / "figures/scores_phantom-polyp.json")["mark"] == "phantom data"


def test_published_numbers_stay_apart(tmp_path):
    tables = comparison(write_scores(tmp_path, DICE), "kvasir-seg")
    place = tables["published_kvasir-seg"].rows[0]
    assert place["title"] == "EHANet" and not place.get("dice") and "not public" in place["source"]
    anchors = published("kvasir-seg")
    assert [(a["mdice"], a["miou"]) for a in anchors if a["method"] == "LANet"] == [("0.911", "0.851")]
    assert all(a["source"] and a["setting"] not in ("", "same") for name in ("kvasir-seg", "dsb2018", "isic2018", "lgg") for a in published(name))
    text = (tmp_path / "tables/comparison_kvasir-seg.md").read_text()
    assert "EffiSegNet" not in text and "0.911" not in text


def test_unequal_terms_and_warnings_are_said(tmp_path):
    reports = write_scores(tmp_path, DICE, lanet={"epochs": 30}, encoders={"lanet": "mobilevit_s.pt, fine-tuned"})
    notes = " ".join(comparison(reports, "kvasir-seg")["comparison_kvasir-seg"].notes)
    assert "Not on equal terms in epochs" in notes and "LANet 30" in notes
    assert "Two tracks, ranked and tested apart" in notes and "teacher" not in notes
    assert "a.zip is not the official file" in notes
    table = read_table(reports / "tables/comparison_kvasir-seg.csv")
    assert next(column for column in table.columns if column.key == "epochs").shown  # differs, so it stands in the table


def test_what_the_rows_were_computed_in_and_on_is_no_equal_terms_where_it_differs(tmp_path):
    """All ask for "auto", which one processor answers with bfloat16."""
    devices = {"ehanet": {"precision": "bfloat16", "device": {"type": "cpu", "name": "AMD EPYC"}}, "lanet": {"precision": "float32", "device": {"type": "cuda", "name": "NVIDIA H200"}}}
    notes = comparison(write_scores(tmp_path / "two", DICE, trained=devices), "kvasir-seg")["comparison_kvasir-seg"].notes
    assert "Not on equal terms in precision: bfloat16, but LANet float32." in notes
    assert "Trained on several machines: AMD EPYC (EHANet); NVIDIA H200 (LANet)." in notes
    alike = comparison(write_scores(tmp_path / "one", DICE, trained=dict.fromkeys(DICE, devices["lanet"])), "kvasir-seg")["comparison_kvasir-seg"].notes
    assert not any("precision" in note or "machines" in note for note in alike)


def test_a_row_that_is_left_alone_takes_the_table_of_differences_away(tmp_path):
    comparison(write_scores(tmp_path, DICE), "kvasir-seg")
    assert (tmp_path / "tables/differences_kvasir-seg.csv").is_file()
    index = tmp_path / "scores/kvasir-seg/methods.json"
    index.write_text(json.dumps(json.loads(index.read_text())[:1]))
    comparison(tmp_path, "kvasir-seg")
    assert not list((tmp_path / "tables").glob("differences_*")) and (tmp_path / "tables/comparison_kvasir-seg.csv").is_file()


def test_a_loss_that_is_not_the_released_one_is_said(tmp_path):
    reports = write_scores(tmp_path, DICE, ehanet={"loss_options": {"edge_loss": "bce", "per_image": True}})
    assert "Loss not as released: EHANet (edge_loss bce, per_image yes)." in comparison(reports, "kvasir-seg")["comparison_kvasir-seg"].notes
    assert not any("Loss" in note for note in comparison(write_scores(tmp_path / "released", DICE), "kvasir-seg")["comparison_kvasir-seg"].notes)


def test_empty_images_and_the_distances_they_give_are_said(tmp_path):
    table = comparison(write_scores(tmp_path / "some", DICE), "kvasir-seg")["comparison_kvasir-seg"]
    column = next(column for column in table.columns if column.key == "dice_object")
    assert column.shown and [row(table, label)["dice_object"].mean for label in DICE] == pytest.approx([0.9, 0.4])
    assert "1 of the 4 test images hold no object: there Dice, IoU and the edge scores are 1 where nothing is drawn, so that empty predictions alone reach 0.250" in " ".join(table.notes)
    assert "HD95 of an image where the label alone or the prediction alone is empty is the diagonal, 362 px; where both are, it is 0." in table.notes
    found = {label: [0.5, 0.25] for label in DICE}
    table = comparison(write_scores(tmp_path / "none", found), "kvasir-seg")["comparison_kvasir-seg"]
    assert not next(column for column in table.columns if column.key == "dice_object").shown
    assert not any("no object" in note or "diagonal" in note for note in table.notes)


def test_why_no_cell_is_bold(tmp_path):
    same = [0.5, 0.25]
    notes = comparison(write_scores(tmp_path, {label: same for label in ("ehanet", "lanet")}), "kvasir-seg")["comparison_kvasir-seg"].notes
    assert any("No cell is bold: no row beats every other one significantly. With so few images and as many rows the smallest possible p is 0.500." in note for note in notes)


def test_file_names_break_between_their_words():
    assert breakable("mobilenetv1_100.imagenet.safetensors, fine-tuned") == "mobilenetv1_100.<wbr>imagenet.<wbr>safetensors, fine-tuned"
    assert breakable("0.930 (6 %), 2 of 3 (x)") == "0.930\N{NO-BREAK SPACE}(6\N{NO-BREAK SPACE}%), 2 of 3 (x)"
    assert breakable("0.85 < 1.25 e.g.") == "0.85 &lt; 1.25 e.g."


def test_differences_stay_within_a_track(tmp_path):
    more = {"pranet": [0.7, 0.6, 0.9, None], "canet": [0.2, 0.1, 0.4, None]}
    rows = read_results(write_scores(tmp_path, DICE | more, encoders={"lanet": "mobilevit_s.pt, fine-tuned"}), "kvasir-seg")
    tested = against_references(rows, "dice")
    assert set(tested) == set(more), "LANet is alone in its track"
    assert tested == against_references([row for row in rows if row.label != "lanet"], "dice"), "Holm's correction counts the rows of the track"
    assert tested["canet"][0].mean == pytest.approx(sum(b - a for a, b in zip(DICE["ehanet"][:3], more["canet"])) / 4)
    assert reference_names(rows) == "EHANet (random weights) or LANet (trained encoder)" and of_track(rows) == " of its track"


def test_what_a_row_took_over_is_said_with_the_tracks(tmp_path):
    reports = write_scores(tmp_path, DICE, lanet={"teacher": "weights/a.safetensors"}, encoders={"lanet": "teacher a.safetensors, random, trained"})
    table = comparison(reports, "kvasir-seg")["comparison_kvasir-seg"]
    assert {row["label"]: row["track"] for row in table.rows if "track" in row}["lanet"] == "trained encoder"
    assert any("a teacher whose encoder was trained beforehand as a trained encoder" in note for note in table.notes)
    assert any("Not on equal terms in teacher: nothing, but LANet a.safetensors" in note for note in table.notes)


def test_starts_of_one_file_name_in_two_folders_are_no_equal_terms(tmp_path):
    reports = write_scores(tmp_path, DICE, **{label: {"initial_weights": f"{label}/x.safetensors"} for label in DICE})
    notes = comparison(reports, "kvasir-seg")["comparison_kvasir-seg"].notes
    assert any(note.startswith("Not on equal terms in starts from: x.safetensors, but ") and " x.safetensors" in note.partition(", but ")[2] for note in notes)


def test_transformers_that_begin_at_zero_are_no_equal_terms(tmp_path):
    reports = write_scores(tmp_path, DICE, lanet={"zero_init": True}, encoders={"lanet": "random, transformers at zero, trained"})
    table = comparison(reports, "kvasir-seg")["comparison_kvasir-seg"]
    assert any("Not on equal terms in transformers begin at zero: no, but LANet yes" in note for note in table.notes)


def test_networks_with_trained_and_random_encoders_are_never_ranked_together(tmp_path):
    many = {"ehanet": [0.5 + 0.001 * number for number in range(30)], "lanet": [0.9 + 0.001 * number for number in range(30)],
            "mobilevit-unet": [0.4 + 0.002 * number for number in range(30)], "unet": [0.45 + 0.001 * number for number in range(30)]}
    reports = write_scores(tmp_path, many, absent=[("pranet", "not trained yet")], encoders={"lanet": "a.safetensors, fine-tuned", "unet": "none"})
    tables = comparison(reports, "kvasir-seg")
    table, differences = tables["comparison_kvasir-seg"], tables["differences_kvasir-seg"]
    assert [(row["label"], row.get("track")) for row in table.rows] == [
        ("ehanet", "random weights"), ("mobilevit-unet", "random weights"), ("unet", "random weights"), ("lanet", "trained encoder"), ("pranet", None), ("lw-mhfi-net", None)]
    assert next(column for column in table.columns if column.key == "track").shown
    # EHANet leads its track significantly although LANet's mean is higher; LANet is alone in its own and leads nobody
    assert row(table, "ehanet")["dice"].bold and not row(table, "lanet")["dice"].bold
    assert row(differences, "lanet")["dice_difference"] is None and row(differences, "lanet")["dice_first_share"] == ""
    assert row(differences, "unet")["dice_difference"].mean == pytest.approx(-0.05)
    for name in ("comparison", "differences"):
        line = next(line for line in (reports / f"tables/{name}_kvasir-seg.md").read_text().splitlines() if line.startswith("| PraNet"))
        cells = line.strip("| ").split(" | ")
        assert cells[1] == "–" and cells[-1] == "not available: not trained yet", "the reason stands under Mark, not under Track"
    assert "of its track" in " ".join(table.notes) and "EHANet (random weights) or LANet (trained encoder)" in differences.caption
    compared = card(reports, "kvasir-seg", read_table(reports / "tables/comparison_kvasir-seg.csv"))
    assert compared["lines"][0] == "Rank 1 of 3 that began with random weights by mDice. Significantly below it: 2 of 2 methods; above: 0."
    old = dataclasses.replace(table, rows=[{key: value for key, value in row.items() if key != "track"} | {"dice": row.get("dice")} for row in table.rows])
    assert card(reports, "kvasir-seg", old)["lines"][0].startswith("Rank 2 of 4 by mDice."), "a table of before the tracks"


def test_one_track_has_no_column_for_it(tmp_path):
    tables = comparison(write_scores(tmp_path, DICE), "kvasir-seg")
    assert not any(column.key == "track" and column.shown for table in tables.values() for column in table.columns)
    assert "of its track" not in " ".join(tables["comparison_kvasir-seg"].notes)
    assert {row["track"] for row in tables["comparison_kvasir-seg"].rows if row.get("dice")} == {""}


def test_the_usual_recipe_is_not_called_a_deviation(tmp_path):
    same = {"size": 256, "epochs": 50, "batch_size": 16, "optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 0.0, "schedule": "constant",
            "augmentation": "released", "freeze_encoder": "pretrained"}
    notes = " ".join(comparison(write_scores(tmp_path, DICE, ehanet=same, lanet=same), "kvasir-seg")["comparison_kvasir-seg"].notes)
    assert "recipe (in brackets): 1 seed (at least 3)." in notes


def test_read_back_what_was_written(tmp_path):
    data = make_dataset("kvasir-seg")
    reports = make_reports(tmp_path, data, {"ehanet": 0.1, "lanet": 0.3}, seeds=(0, 1))
    for name, table in comparison(reports, "kvasir-seg").items():
        again = read_table(reports / "tables" / f"{name}.csv")
        assert (again.caption, again.mark, again.notes, again.columns) == (table.caption, table.mark, table.notes, table.columns)
        assert to_html(again) == to_html(table)
    sd = pd.read_csv(reports / "tables/comparison_kvasir-seg.csv").set_index("label").loc["ehanet", "dice_sd_seeds"]
    means = [pd.read_csv(reports / f"scores/kvasir-seg/ehanet__seed{seed}.csv")["dice"].mean() for seed in (0, 1)]
    assert sd == pytest.approx(abs(means[0] - means[1]) / math.sqrt(2), rel=1e-4)


AWKWARD = Table("awkward_1", "50 % of R&D_x #1 {a} ~ ^ \\ $", "phantom data",
                [Column("title", "Me_thod & co"), Column("dice", "Dice %", "score"), Column("n", "n", "count"), Column("mark", "Mark")],
                [{"title": "a_b|c & 5 % <script>", "dice": Score(0.5, 0.4, 0.6, True), "n": 3, "mark": "phantom data"},
                 {"title": "[x]", "dice": Score(-0.25, -0.5, 0.1), "n": 0, "mark": "phantom data"},
                 {"title": "none", "mark": "not available: a_b"}], ["100 % sure & < 1"])


def test_latex_is_escaped_and_rectangular():
    text = to_latex(AWKWARD, "0" * 16)
    body = text[text.index(r"\toprule"):text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\") or line.endswith("[2pt]")]
    assert len(lines) == 1 + 2 * 2 + 1
    for line in lines:
        cells = line.replace(r"\&", "").count("&") + 1
        assert cells == 4 or (cells == 2 and r"\multicolumn{3}" in line)
    assert r"a\_b|c \& 5 \% \textless{}script\textgreater{}" in text and r"\textbf{0.500}" in text and "$-$0.250" in text
    for line in body.splitlines() + [one for one in text.splitlines() if one.startswith((r"\caption", r"\label", "100"))]:
        bare = line.replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
        assert "%" not in line.replace(r"\%", "") and "_" not in line.replace(r"\_", "")
    assert not text.replace(r"\\[2pt]", "").count(r"\\[")  # a cell in brackets is no option of the line break


def has_latex() -> bool:
    """Whether pdflatex and booktabs are installed."""
    return bool(shutil.which("pdflatex") and shutil.which("kpsewhich")
                and subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode == 0)


@pytest.mark.skipif(not has_latex(), reason="pdflatex with booktabs is not installed; the structure is checked above")
def test_latex_compiles(tmp_path):
    (tmp_path / "t.tex").write_text("\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,graphicx}\\begin{document}\n" + to_latex(AWKWARD, "0" * 16) + "\\end{document}\n")
    done = subprocess.run(["pdflatex", "-halt-on-error", "-interaction=batchmode", "t.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, (tmp_path / "t.log").read_text()[-2000:]


def test_markdown_and_html_are_escaped():
    markdown = to_markdown(AWKWARD, "0" * 16)
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all(line.replace(r"\|", "").count("|") == 5 for line in rows) and r"a\_b\|c" in markdown
    page = to_html(AWKWARD)
    assert "<script>" not in page and "&lt;script&gt;" in page and "<strong>0.500</strong>" in page
    assert '<td colspan="3" class="absent">not available: a_b</td>' in page and "−0.500 to 0.100" in page


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="methods.json not found"):
        comparison(tmp_path, "kvasir-seg")
    reports = write_scores(tmp_path, DICE)
    path = reports / "scores/kvasir-seg/lanet__seed0.csv"
    whole = path.read_text()
    path.write_text(whole.replace("i3", "i4"))
    with pytest.raises(ValueError, match="lanet__seed0.csv holds other images"):
        read_results(reports, "kvasir-seg")
    path.write_text("")
    with pytest.raises(ValueError, match="lanet__seed0.csv"):
        read_results(reports, "kvasir-seg")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="lanet__seed0.csv not found"):
        read_results(reports, "kvasir-seg")
    assert not (reports / "tables").exists()


def test_a_table_of_another_record_is_refused(tmp_path):
    write_table(AWKWARD, tmp_path, ["ehanet.reporting.tables"], inputs=[])
    assert len(read_table(tmp_path / "awkward_1.csv").rows) == 3
    (tmp_path / "awkward_1.csv").write_text("title,other\nx,1\n")
    with pytest.raises(ValueError, match="awkward_1.csv was altered after it was written"):
        read_table(tmp_path / "awkward_1.csv")


def test_what_the_bootstrap_draws_is_named_as_the_manifest_does():
    frame = pd.DataFrame({"image": ["a", "b"], "group": ["v", "v"]})
    own, alone = Result("ehanet", "ehanet", [0], [frame], [{"data": {"grouped_by": "videos"}}]), Result("ehanet", "ehanet", [0], [frame.assign(group=frame["image"])], [{"data": {}}])
    assert group_word([own]) == "videos" and group_word([own], {"name": "lgg"}) == "patients" and group_word([alone]) == "images"


@pytest.mark.parametrize(("value", "printed"), [(float("nan"), ""), (0.0004, "< 0.001"), (0.001, "0.001"), (0.0494, "0.049"), (0.0497, "0.0497"), (0.04998, "0.04998"),
                                                (0.05, "0.050"), (0.0503, "0.050"), (1.0, "1.000")])
def test_a_p_value_is_printed_on_its_side_of_the_level(value, printed):
    assert p_in_words(value) == printed
