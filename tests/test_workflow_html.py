"""Executed notebooks as HTML: with contents, with what came out, and without anything from a network."""

import os
import re

import nbformat
import pytest
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


@pytest.mark.parametrize("page_time, notebook_time", [(0, 2**32), (2**32, 0)])
def test_content_decides_whether_a_page_is_made_again_and_time_stamps_do_not(tmp_path, page_time, notebook_time):
    notebook, page = tmp_path / "a.ipynb", tmp_path / "a.html"

    def convert():
        os.utime(notebook, (notebook_time,) * 2)
        if page.exists():
            os.utime(page, (page_time,) * 2)
        main([str(notebook)])
        return page.stat().st_ino, page.read_text()

    nbformat.write(new_notebook(cells=[new_markdown_cell("# One")]), notebook)
    first = convert()
    assert '<li class="level1"><a href="#One">One</a></li>' in first[1], "a notebook without sections lists its title"
    assert convert() == first, "the same content is passed over"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Two")]), notebook)
    assert "Two" in convert()[1]
    page.write_text(page.read_text()[:-300])
    assert "Two" in convert()[1], "half a page is no page"
