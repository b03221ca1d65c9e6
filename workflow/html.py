"""Notebooks to HTML beside them, in one process: ``python -m workflow.html NOTEBOOK...``; those that are up to date are passed over."""

from __future__ import annotations

import sys
from pathlib import Path

from ehanet.files import write_atomically


def main(notebooks: list[str]) -> None:
    """Convert each notebook that is newer than its HTML."""
    stale = [path for path in map(Path, notebooks)
             if not path.with_suffix(".html").is_file() or path.with_suffix(".html").stat().st_mtime < path.stat().st_mtime]
    if not stale:
        return
    sys.modules.setdefault("rfc3987_syntax", None)  # see ehanet.steps
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="lab", embed_images=True)
    for path in stale:
        page, _ = exporter.from_filename(str(path))
        write_atomically(path.with_suffix(".html"), page)


if __name__ == "__main__":
    main(sys.argv[1:])
