"""Notebooks to HTML beside them, in one process: ``python -m workflow.html NOTEBOOK...``; those that are up to date are passed over.

The pages look like the report, have a table of contents, no scripts, and load nothing: they open on a machine without a network.
"""

from __future__ import annotations

import hashlib
import re
import sys
from html import escape, unescape
from pathlib import Path

from ehanet.files import write_atomically
from ehanet.reporting.template import STYLE

CELLS = """
.cell { margin: 1rem 0; }
.prompt, .anchor-link { display: none; }
.input_area { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.input_area pre, .output_text pre, .output_stream pre, .output_error pre { margin: 0; padding: .6rem .8rem; overflow-x: auto; font: .82rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.output_area > * { margin: .5rem 0; }
.output_stream, .output_text { border-left: 3px solid var(--line); }
.output_stderr { color: var(--muted); }
.output_error { border-left: 3px solid var(--warn-line); background: var(--warn); }
.output_html, .output_markdown { overflow-x: auto; }
.rendered_html td:last-child { min-width: 7rem; }
.output_png img, .rendered_html img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: .4rem; }
.celltag_parameters, .celltag_injected-parameters { border-left: 3px solid var(--accent); padding-left: .6rem; }
nav ol { columns: 20rem; margin: 0; padding-left: 1.2rem; }
nav .level3 { margin-left: 1.2rem; list-style: circle; }
@media print { .input_area pre { white-space: pre-wrap; } nav { display: block; } }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<p class="files"><a href="../index.html">The report</a> · <a href="{notebook}">this notebook</a></p>
<nav aria-label="Contents"><ol>{contents}</ol></nav>
</header>
<main>
{body}
</main>
</body>
</html>
<!-- made from {made_from} -->
"""
HEADING = re.compile(r'<h([1-3]) id="([^"]+)">(.*?)(?:<a class="anchor-link".*?</a>)?</h\1>', re.DOTALL)


def main(notebooks: list[str]) -> None:
    """Convert each notebook whose HTML is missing or was made from another content."""
    for path in map(Path, notebooks):
        page = path.with_suffix(".html")
        if not page.is_file() or not page.read_bytes().endswith(f"<!-- made from {made_from(path)} -->\n".encode()):
            write_atomically(page, to_html(path))


def made_from(path: Path) -> str:
    """SHA-256 of a notebook and of the looks of its page: its page ends with it and is compared by it, since time stamps say nothing."""
    return hashlib.sha256(path.read_bytes() + (PAGE + STYLE + CELLS).encode()).hexdigest()


def to_html(path: Path) -> str:
    """The page of an executed notebook."""
    sys.modules.setdefault("rfc3987_syntax", None)  # see ehanet.steps
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="basic", embed_images=True).from_filename(str(path))
    found = [(int(level), place, unescape(re.sub(r"<[^>]+>", "", text)).strip()) for level, place, text in HEADING.findall(body)]
    listed = [one for one in found if one[0] > 1] or found  # the title alone where a notebook has no sections
    contents = "".join(f'<li class="level{level}"><a href="#{place}">{escape(text)}</a></li>' for level, place, text in listed)
    title = next((text for level, _, text in found if level == 1), path.stem)
    return PAGE.format(made_from=made_from(path), title=escape(f"{title}: {path.stem.partition('__')[2].replace('__', ', ') or path.stem}"), style=STYLE + CELLS + _code_colours(),
                       notebook=escape(path.name), contents=contents, body=body)


def _code_colours() -> str:
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style, nobackground=True).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
