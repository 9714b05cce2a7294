"""What a validation case is: a question, a function that gathers evidence, and verdicts on promises."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from itertools import groupby
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from dfp import plot
from dfp.provenance import versions


@dataclass(frozen=True)
class Verdict:
    """One promise, what was measured, and whether it holds.

    Attributes
    ----------
    problem, subject, quantity
        On which problem, of which equation or solver, in which quantity.
    promised, measured
        In words or numbers, for people.
    passed
        Whether what was measured keeps the promise.
    deviation
        Measured minus promised, or None where the promise is no number.
    control
        A negative control: something wrong on purpose, whose promise must be broken.
    """

    problem: str
    subject: str
    quantity: str
    promised: str
    measured: str
    passed: bool
    deviation: float | None = None
    control: bool = False

    @property
    def as_expected(self) -> bool:
        """Whether a promise is kept, or a control breaks it."""
        return self.passed != self.control


@dataclass(frozen=True)
class Result:
    """What a case found: verdicts, the numbers behind them (ready for JSON) and figures by name."""

    verdicts: list[Verdict]
    evidence: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Lines that explain the table."""

    @property
    def ok(self) -> bool:
        """Whether every promise is kept and every control fails."""
        return bool(self.verdicts) and all(verdict.as_expected for verdict in self.verdicts)


@dataclass(frozen=True)
class Case:
    """A validation case.

    Attributes
    ----------
    name
        As given to ``--only``; its files start with it.
    question
        What it answers.
    run
        Gathers the evidence.
    """

    name: str
    question: str
    run: Callable[[], Result]


def cases() -> dict[str, Case]:
    """Return the ``CASE`` of every module of this package, by name."""
    package = Path(__file__).parent
    names = [module.name for module in iter_modules([str(package)]) if not module.ispkg and module.name != "__main__"]
    modules = [import_module(f"validation.{name}") for name in sorted(names)]
    found: list[Case] = [module.CASE for module in modules if hasattr(module, "CASE")]
    return {case.name: case for case in found}


def table(result: Result) -> str:
    """Return the verdicts as text: a block for each problem, a row for each subject, a column for each quantity."""
    quantities = list(dict.fromkeys(verdict.quantity for verdict in result.verdicts))
    lines = [("", *quantities, "verdict")]
    for problem, block in groupby(result.verdicts, lambda verdict: verdict.problem):
        lines.append((problem,))
        for subject, row in groupby(block, lambda verdict: verdict.subject):
            lines.append(tuple(_row(subject, list(row), quantities)))
    widths = [max(len(line[i]) for line in lines if len(line) > 1) for i in range(len(lines[0]))]
    text = []
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=False))
        text.append("\n" + line[0] if len(line) == 1 else "  ".join(cells).rstrip())
    return "\n".join(text)


def _row(subject: str, verdicts: list[Verdict], quantities: list[str]) -> Iterator[str]:
    cells = {v.quantity: f"{v.measured} ({v.promised}){'' if v.as_expected else ' !'}" for v in verdicts}
    yield f"  {subject}"
    yield from (cells.get(quantity, "") for quantity in quantities)
    if not all(verdict.as_expected for verdict in verdicts):
        yield "FAILED: the control passes" if verdicts[0].control else "FAILED"
    else:
        yield "fails as it must" if verdicts[0].control else "pass"


def write(case: Case, result: Result, out: Path) -> list[Path]:
    """Write figures and the evidence of a case to the folder ``out``; return the files."""
    out.mkdir(parents=True, exist_ok=True)
    stem = case.name.replace("-", "_")
    record = {
        "case": case.name,
        "question": case.question,
        "passed": result.ok,
        "verdicts": [asdict(verdict) | {"as_expected": verdict.as_expected} for verdict in result.verdicts],
        "evidence": result.evidence,
        "versions": versions(),
    }
    files = [out / f"{stem}.json"]
    files[0].write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, figure in result.figures.items():
        files.append(out / (f"{stem}.png" if name == "" else f"{stem}_{name}.png"))
        plot.save(figure, files[-1])
    return files
