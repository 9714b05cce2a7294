"""One HTML page that needs no other file: verdicts, tables and figures of reports."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dfp.networks import figures, tables
from dfp.networks.predictors import LABELS
from dfp.results import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dfp.networks.claims import Claim
    from dfp.networks.compared import Compared

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px; }
td, th { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
img { max-width: 100%; height: auto; } figcaption { color: #555; font-size: 14px; }
.holds { color: #00694d; } .fails { color: #b04a00; } .undecided { color: #666; }
pre { white-space: pre-wrap; background: #f6f6f6; padding: .6rem; font-size: 13px; }
"""


def section(report: "Compared", title: str | None = None) -> str:
    """Return a report as a section: how it was run, verdicts, errors, figures."""
    rule = report.predictions.rule
    how = "with" if rule.replace else "without"
    head = title or f"Learning rate {rule.learning_rate:g}, batch size {rule.batch_size}, {how} replacement"
    parts = [
        f"<h2>{html.escape(head)}</h2>",
        f"<p>{report.runs.count} runs of {int(report.steps[-1])} steps. {html.escape(str(report.predictions))}. The "
        f"quadratic form holds up to step {report.quadratic_until}, as predicted without the runs.</p>",
        verdicts(report.claims),
        "<h3>How far is each prediction from the runs?</h3>",
        table(tables.errors(report)),
    ]
    for name, chosen in report.groups.items():
        if chosen.any():
            parts += [
                f"<h4>{name.capitalize()} directions alone: {int(chosen.sum())}</h4>",
                table(tables.errors(report, chosen)),
            ]
    parts += [f"<pre>{html.escape(str(report.measured))}</pre>", table(_failures(report))]
    drawn = [figures.errors(report), figures.spectrum(report), figures.scatter(report), figures.density(report)]
    if len(report.measured.curvatures) > 1:
        drawn.append(figures.density(report, (0, 1)))
    if not rule.replace:
        drawn.append(figures.epoch(report))
    return "\n".join([*parts, *(picture(figure) for figure in drawn)])


def _failures(report: "Compared") -> list[list[str]]:
    rows = [["predictor", "worse than the floor allows from step"]]
    for name, step in report.fails_from.items():
        if (report.scores[name].error > 0).any():
            rows.append([LABELS[name], "never" if step is None else str(step)])
    return rows


def verdicts(claims: "Sequence[Claim]") -> str:
    """Return claims as a table with one verdict each."""
    rows = "\n".join(
        f'<tr><td class="{c.verdict}"><b>{c.verdict}</b></td><td>{html.escape(c.claim)}</td>'
        f"<td>{html.escape(c.measured)}<br><small>{html.escape(c.cause)}</small></td><td>{html.escape(c.promised)}</td></tr>"
        for c in claims
    )
    return f"<table><tr><th></th><th>claim</th><th>measured</th><th>promised</th></tr>\n{rows}</table>"


def table(rows: list[list[str]]) -> str:
    """Return rows of cells, the first the head."""
    head, *body = ["".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) for tag, row in _tagged(rows)]
    return "<table>" + "\n".join(f"<tr>{row}</tr>" for row in (head, *body)) + "</table>"


def _tagged(rows: list[list[str]]) -> Iterable[tuple[str, list[str]]]:
    return (("th" if i == 0 else "td", row) for i, row in enumerate(rows))


def picture(figure: "Figure") -> str:
    """Return a figure as an image inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    title = next((axis.get_title() for axis in figure.axes if axis.get_title()), "figure")
    coded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<figure><img alt="{html.escape(title)}" src="data:image/png;base64,{coded}"></figure>'


def write(path: str | Path, title: str, sections: Sequence[str]) -> None:
    """Write a page to ``path``, whole or not at all.

    Raises
    ------
    DFPError
        If it cannot be written.
    """
    body = "\n".join(sections)
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )
    writing.write(path, text.encode())
