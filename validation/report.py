"""The report: one HTML file that needs nothing else, and the table of claims in the README of this folder."""

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from dfp.results.schema import versions
from validation.case import Case, Verdict
from validation.records import Record

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.7em}h2{margin-top:2.2em;border-top:1px solid #ccc;padding-top:1em}
table{border-collapse:collapse;margin:.8em 0;font-size:.88em}td,th{padding:.25em .7em;text-align:left;
border-bottom:1px solid #e5e5e5;vertical-align:top}th{background:#f6f6f6}caption,figcaption{text-align:left;color:#444;
padding:.4em 0}figure{margin:1.2em 0}img{max-width:100%}.good{color:#00713f}.bad{color:#b3261e;font-weight:bold}
.mute{color:#777}dt{font-weight:600}dd{margin:0 0 .4em 1.2em}tbody th{background:none;font-weight:600}
"""


def text_table(verdicts: Iterable[Verdict]) -> str:
    """Return verdicts as text: a block for each problem, a line for each promise."""
    lines: list[tuple[str, ...]] = []
    for problem, block in groupby(verdicts, lambda verdict: verdict.problem):
        lines.append((problem,))
        lines += [("  " + v.subject, v.quantity, v.measured, f"({v.promised})", outcome(v)) for v in block]
    widths = [max((len(line[i]) for line in lines if len(line) > 1), default=0) for i in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
    )


def outcome(verdict: Verdict) -> str:
    """Return how a promise fared, in words."""
    if verdict.control:
        return "fails as it must" if verdict.as_expected else "FAILED: the control passes"
    return "pass" if verdict.passed else "FAILED"


def write_html(records: Sequence[Record], path: Path) -> None:
    """Write the report with all pictures embedded."""
    mode = " and ".join(sorted({record.content["mode"] for record in records}))
    made = datetime.now(UTC).isoformat(timespec="minutes")
    head = ", ".join(f"{name} {number}" for name, number in versions().items())
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Validation of dfp</title><style>{_STYLE}</style>",
        f"<h1>Validation of dfp</h1><p class=mute>{mode} mode, {made}; {escape(head)}</p>",
        _summary(records),
        *map(_section, records),
        "</html>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _summary(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        count, good = len(record.verdicts), sum(v.as_expected for v in record.verdicts)
        state = "skipped" if record.content["skipped"] else f"{good} of {count}"
        rows.append(
            f"<tr><td><a href='#{record.case.name}'>{record.case.name}</a><td>{escape(record.case.claim)}"
            f"<td class={'good' if record.ok else 'bad'}>{state}<td>{record.content['seconds']:g} s"
        )
    return _html_table("Every verdict is a promise kept, or a negative control that fails as it must.",
                       ("case", "claim", "verdicts", "time"), rows)  # fmt: skip


def _section(record: Record) -> str:
    case, content = record.case, record.content
    said = {"Source": case.source, "Tolerance": case.tolerance, "Control": case.control}
    facts = "".join(f"<dt>{part}<dd>{escape(text)}" for part, text in said.items())
    parts = [f"<h2 id='{case.name}'>{case.name}</h2><p><b>{escape(case.claim)}</b></p><dl>{facts}</dl>"]
    if content["skipped"]:
        parts.append(f"<p class=bad>Skipped: {escape(content['skipped'])}</p>")
    parts += [f"<p>{escape(note)}</p>" for note in content["notes"]]
    parts += [_figure(caption, path) for caption, path in record.pictures]
    parts += [
        _html_table(table["caption"], table["header"], [_cells(row) for row in table["rows"]])
        for table in content["tables"]
    ]
    rows = []
    for problem, block in groupby(record.verdicts, lambda verdict: verdict.problem):
        rows.append(f"<tr><th colspan=5>{escape(problem)}")
        for v in block:
            mark = f"<td class={'good' if v.as_expected else 'bad'}>{outcome(v)}"
            rows.append(_cells((v.subject, v.quantity, v.measured, v.promised)) + mark)
    header = ("subject", "quantity", "measured", "promised", "verdict")
    shown = _html_table("", header, rows)
    bad = sum(not v.as_expected for v in record.verdicts)
    title = f"{len(record.verdicts)} verdicts" + (f", {bad} FAILED" if bad else "")
    parts.append(f"<details{' open' if bad or len(rows) < 25 else ''}><summary>{title}</summary>{shown}</details>")
    return "\n".join(parts)


def _figure(caption: str, path: Path) -> str:
    kind, data = path.suffix[1:], base64.b64encode(path.read_bytes()).decode()
    image = f"<img alt='{escape(caption, quote=True)}' src='data:image/{kind};base64,{data}'>"
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _html_table(caption: str, header: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(name)}" for name in header)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}<tbody>{''.join(rows)}</table>"


def _cells(row: Iterable[Any]) -> str:
    return "<tr>" + "".join(f"<td>{escape(shown(cell))}" for cell in row)


def shown(cell: Any) -> str:
    """Return a table's cell as text."""
    return "—" if cell is None else f"{cell:.5g}" if isinstance(cell, float) else str(cell)


def claims(known: Iterable[Case]) -> str:
    """Return the table of claims for the README of this folder, in Markdown."""
    lines = ["| claim | case | tolerance, and why | control | evidence |", "| --- | --- | --- | --- | --- |"]
    for case in known:
        cells = (case.claim, f"`{case.name}`", case.tolerance, case.control, f"[numbers](evidence/{case.stem}.json)")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def with_claims(readme: str, known: Iterable[Case]) -> str:
    """Return the README with its table, between the two comments, made anew."""
    start, end = "<!-- claims -->\n", "<!-- end of claims -->"
    before, rest = readme.split(start)
    return before + start + claims(known) + "\n" + end + rest.split(end)[1]
