"""Tables of a report: errors of every predictor at some steps, and verdicts."""

from typing import TYPE_CHECKING

import numpy as np

from dfp.networks import scores
from dfp.networks.predictors import LABELS

if TYPE_CHECKING:
    from dfp.networks.compared import Compared


def chosen_steps(report: "Compared", most: int = 8) -> list[int]:
    """Return indices of at most ``most`` saved steps after 0."""
    moving = np.flatnonzero(report.steps > 0)
    return [int(i) for i in np.unique(moving[np.linspace(0, len(moving) - 1, min(most, len(moving))).astype(int)])]


def errors(report: "Compared", chosen: np.ndarray | None = None) -> list[list[str]]:
    """Return rows of cells: the head, the sampling floor, then every predictor."""
    places = chosen_steps(report)
    found = report.scores if chosen is None else report.scores_of(chosen)
    rows = [["median error of the variance at step", *(str(report.steps[i]) for i in places), "log-correlation"]]
    floor = report.floor if chosen is None else scores.floor(report.runs.positions[:, :, chosen])
    rows.append(["sampling floor", *(_number(floor.expected[i]) for i in places), _number(floor.correlations[-1], 4)])
    for name, own in found.items():
        if np.isfinite(own.error).any():
            rows.append(
                [LABELS[name], *(_number(own.error[i]) for i in places), _number(own.correlation[places[-1]], 4)]
            )
    return rows


def _number(value: float, digits: int = 2) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.3f}" if digits == 2 and value < 10 else f"{value:.{digits}g}" if value >= 10 else f"{value:.4f}"


def aligned(rows: list[list[str]]) -> str:
    """Return rows as text with columns that line up."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def text(report: "Compared") -> str:
    """Return the report in lines."""
    rule = report.predictions.rule
    how = "with" if rule.replace else "without"
    counts = {name: report.regimes.count(name) for name in dict.fromkeys(report.regimes)}
    return "\n".join(
        (
            f"{report.runs.count} runs, learning rate {rule.learning_rate:g}, batch size {rule.batch_size} "
            f"{how} replacement",
            str(report.measured),
            "regimes: " + ", ".join(f"{count} {name}" for name, count in counts.items()),
            f"quadratic form: holds up to step {report.quadratic_until}, as predicted; {report.predictions}",
            "",
            aligned(errors(report)),
            "",
            *(str(claim) for claim in report.claims),
        )
    )
