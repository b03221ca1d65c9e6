"""Tables for people: Markdown, LaTeX (booktabs) and HTML."""

from __future__ import annotations

import math
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehanet.reporting.tables import Column, Score, Table

NOTHING = "–"  # an empty cell that is meant to be empty
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "−": "$-$",
          "×": r"$\times$", "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "Δ": r"$\Delta$", "≈": r"$\approx$", "→": r"$\rightarrow$", "✓": r"$\surd$",
          "[": "{[}", "]": "{]}", "\n": " "}  # a bracket after \\ would be read as its option


def to_markdown(table: Table, record: str | None = None) -> str:
    """Caption, table and notes, the last of which names the ``record``; intervals in brackets behind the means."""
    lines = [f"**{escape_markdown(table.caption)}** ({table.mark})", "",
             "| " + " | ".join(escape_markdown(column.title) for column in table.shown) + " |",
             "|" + "|".join(" --- " if column.kind == "text" else " ---: " for column in table.shown) + "|"]
    marked = any(column.key == "mark" for column in table.shown)
    for row in table.rows:
        cells = [_markdown_cell(row.get(column.key), column) for column in table.shown]
        reason = why_empty(row, table.shown)
        cells[1:2] = [escape_markdown(reason)] if reason is not None and not marked else cells[1:2]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [""] + [f"- {escape_markdown(note)}" for note in table.notes] + ([f"- Record {record}."] if record else [])
    return "\n".join(lines) + "\n"


def _markdown_cell(cell, column: Column) -> str:
    if column.kind != "score" or cell is None:
        return escape_markdown(_plain(cell))
    mean, interval = format_score(cell, column.digits)
    mean = f"**{mean}**" if cell.bold else mean
    return f"{mean} [{interval}]" if interval else mean


def escape_markdown(text: str) -> str:
    """``text`` as Markdown shows it letter by letter, on one line."""
    return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", str(text)).replace("\n", " ")


def to_latex(table: Table, record: str) -> str:
    """A ``table*`` to ``\\input`` after ``\\usepackage{booktabs,graphicx}``; each row's intervals stand in small print below its means."""
    columns = table.shown
    form = "".join("l" if column.kind == "text" else "r" for column in columns)
    lines = [r"% needs \usepackage{booktabs,graphicx}; record " + record, r"\begin{table*}[t]", r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
             rf"\caption{{{_latex(table.caption)} (\textbf{{{_latex(table.mark)}}})}}", rf"\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', table.name)}}}",
             r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",  # a wide table shrinks to the page
             rf"\begin{{tabular}}{{@{{}}{form}@{{}}}}", r"\toprule", " & ".join(_latex(column.title) for column in columns) + r" \\", r"\midrule"]
    for row in table.rows:
        if (reason := why_empty(row, columns)) is not None:
            lines.append(rf"{_latex(_plain(row.get(columns[0].key)))} & \multicolumn{{{len(columns) - 1}}}{{l}}{{\emph{{{_latex(reason)}}}}} \\")
            continue
        above, below = zip(*(_latex_cell(row.get(column.key), column) for column in columns))
        lines.append(" & ".join(above) + r" \\")
        if any(below):
            lines.append(" & ".join(below) + r" \\[2pt]")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if table.notes:
        lines += [r"\par\smallskip", r"\begin{minipage}{\textwidth}\scriptsize\raggedright", *[_latex(note) + r"\par" for note in table.notes],
                  r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def _latex_cell(cell, column: Column) -> tuple[str, str]:
    """What stands in the row of means, and what in the row of intervals."""
    if column.kind != "score" or cell is None:
        return _latex(_plain(cell)), ""
    mean, interval = format_score(cell, column.digits)
    mean = _latex(mean)
    return (rf"\textbf{{{mean}}}" if cell.bold else mean), (rf"{{\scriptsize {_latex(interval)}}}" if interval else "")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in str(text))


def to_html(table: Table) -> str:
    """A ``figure`` with caption, table (its first column a row header) and notes; all text is escaped."""
    columns = table.shown
    head = "".join(f'<th scope="col" class="{column.kind}">{escape(column.title)}</th>' for column in columns)
    body = []
    for row in table.rows:
        reason = why_empty(row, columns)
        cells = [_html_cell(row.get(column.key), column) for column in columns[1:]] if reason is None else [
            f'<td colspan="{len(columns) - 1}" class="absent">{escape(reason)}</td>']
        body.append(f'<tr><th scope="row">{escape(_plain(row.get(columns[0].key)))}</th>{"".join(cells)}</tr>')
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (f'<figure class="table"><figcaption>{escape(table.caption)} <span class="mark">{escape(table.mark)}</span></figcaption>'
            f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table><thead><tr>{head}</tr></thead>'
            f'<tbody>{"".join(body)}</tbody></table></div>' + (f'<ul class="notes">{notes}</ul>' if notes else "") + "</figure>")


def _html_cell(cell, column: Column) -> str:
    if column.kind != "score" or cell is None:
        return f'<td class="{column.kind}">{breakable(_plain(cell))}</td>'
    mean, interval = format_score(cell, column.digits)
    mean = f"<strong>{mean}</strong>" if cell.bold else mean
    return f'<td class="score">{mean}' + (f"<small>{interval}</small>" if interval else "") + "</td>"


def breakable(text: str) -> str:
    """Escaped text whose file names may break after a full stop, slash or underscore, not within a word; "0.93 (6 %)" stays on one line."""
    return re.sub(r"(?<=\d) (?=%|\(\d)", "\N{NO-BREAK SPACE}", re.sub(r"(?<=\w)([._/])(?=[^\W\d_]{3})", r"\1<wbr>", escape(text)))


def why_empty(row: dict, columns: list[Column]) -> str | None:
    """The mark of a row that has nothing but its name and the reason for that; None for every other row."""
    others = [row.get(column.key) for column in columns[1:] if column.key != "mark"]
    return row["mark"] if row.get("mark") and all(cell is None or cell == "" for cell in others) else None


def format_score(score: Score, digits: int) -> tuple[str, str]:
    """("0.879", "0.861–0.895"); the second is empty where there is no interval."""
    mean = _decimal(score.mean, digits)
    if math.isnan(score.low) or math.isnan(score.high):
        return mean, ""
    low, high = _decimal(score.low, digits), _decimal(score.high, digits)
    return mean, f"{low} to {high}" if score.low < 0 else f"{low}–{high}"


def _decimal(value: float, digits: int) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def _plain(cell) -> str:
    return NOTHING if cell is None or cell == "" else str(cell)
