"""Executed notebooks as HTML: with contents, with what came out, and without anything from a network."""

import os
import re

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workflow.html import main


def test_a_notebook_becomes_one_page_with_contents_that_loads_nothing(tmp_path):
    notebook, page = tmp_path / "03_evaluate__my-set.ipynb", tmp_path / "03_evaluate__my-set.html"
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    cells = [new_markdown_cell("# Evaluation & more"), new_markdown_cell("## First <part>\n\n### Deeper"), new_code_cell("print(1 + 1)", execution_count=1),
             new_markdown_cell("## Second")]
    cells[2].outputs = [new_output("stream", name="stdout", text="two: 2\n"), new_output("display_data", data={"image/png": pixel})]
    nbformat.write(new_notebook(cells=cells), notebook)
    main([str(notebook)])
    text = page.read_text()
    assert "<title>Evaluation &amp; more: my-set</title>" in text and "two: 2" in text and f"data:image/png;base64,{pixel}" in text
    contents = re.findall(r'<li class="level(\d)"><a href="#([^"]+)">', text)
    assert [level for level, _ in contents] == ["2", "3", "2"] and all(f'id="{place}"' in text for _, place in contents)
    assert "<script" not in text and "<link" not in text and "@import" not in text and "url(" not in text
    assert not [one for one in re.findall(r'(?:src|href)="([^"]*)"', text) if not one.startswith(("#", "data:", "../index.html", notebook.name))]


def test_a_page_that_is_up_to_date_is_passed_over(tmp_path):
    notebook = tmp_path / "a.ipynb"
    nbformat.write(new_notebook(), notebook)
    page = notebook.with_suffix(".html")
    page.write_text("kept")
    main([str(notebook)])
    assert page.read_text() == "kept"
    os.utime(page, (0, 0))
    main([str(notebook)])
    assert "kept" not in page.read_text()
