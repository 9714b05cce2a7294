"""What a validation case is: a claim, a function that gathers evidence, and verdicts on promises."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

Z_LIMIT = 4.0
"""A correct sample is further off than this many standard errors with probability 6e-5."""


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
    value, error
        What was measured as a number, where it is one, and its standard error (0 if it is not sampled).
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
    value: float | None = None
    error: float = 0.0
    deviation: float | None = None
    control: bool = False

    @property
    def as_expected(self) -> bool:
        """Whether a promise is kept, or a control breaks it."""
        return self.passed != self.control

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.problem, self.subject, self.quantity


def close(
    what: tuple[str, str, str], value: float, promised: float, tolerance: float, *, control: bool = False
) -> Verdict:
    """Return the verdict on a computed number: within ``tolerance`` of ``promised``."""
    passed = bool(abs(value - promised) <= tolerance)
    wanted, deviation = f"{promised:.6g} ± {tolerance:.1g}", float(value - promised)
    return Verdict(*what, wanted, f"{value:.6g}", passed, float(value), 0.0, deviation, control)


def at_most(what: tuple[str, str, str], value: float, limit: float, *, control: bool = False) -> Verdict:
    """Return the verdict on an error: no larger than ``limit``; NaN breaks it."""
    return Verdict(*what, f"≤ {limit:.2g}", f"{value:.2g}", bool(value <= limit), float(value), control=control)


def at_least(what: tuple[str, str, str], value: float, limit: float, *, control: bool = False) -> Verdict:
    """Return the verdict on a size: no smaller than ``limit``; NaN breaks it."""
    return Verdict(*what, f"≥ {limit:.3g}", f"{value:.4g}", bool(value >= limit), float(value), control=control)


def sampled(
    what: tuple[str, str, str],
    value: float,
    error: float,
    exact: float,
    *,
    limit: float = Z_LIMIT,
    control: bool = False,
) -> Verdict:
    """Return the verdict on a sampled number: within ``limit`` standard errors of the exact one."""
    z = (value - exact) / error if error > 0 else math.inf
    measured = f"{value:.6g} ± {error:.1g} (z = {z:.1f})"
    wanted = f"{exact:.6g} within {limit:g} standard errors"
    return Verdict(*what, wanted, measured, abs(z) <= limit, float(value), float(error), float(value - exact), control)


@dataclass(frozen=True)
class Table:
    """Numbers side by side, with a sentence that says what they show."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Picture:
    """A Matplotlib figure, or the bytes of a GIF, with a sentence that says what it shows."""

    name: str
    caption: str
    figure: Any

    @property
    def suffix(self) -> str:
        """Ending of its file name."""
        return ".gif" if isinstance(self.figure, bytes) else ".png"


@dataclass(frozen=True)
class Result:
    """What a case found: verdicts, the numbers behind them (nested, of arrays and scalars), tables and pictures."""

    verdicts: list[Verdict]
    numbers: dict[str, Any] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    """Sentences on what was found."""
    skipped: str = ""
    """Why the case was not run, and what to do about it."""

    @property
    def ok(self) -> bool:
        """Whether every promise is kept and every control fails, or the case says why it was skipped."""
        return bool(self.skipped) or (bool(self.verdicts) and all(verdict.as_expected for verdict in self.verdicts))


@dataclass(frozen=True)
class Case:
    """A validation case.

    Attributes
    ----------
    name
        As given to ``--only``; its files start with it.
    text
        Docstring of its module: the claim, then paragraphs that begin with ``Source:``, ``Tolerance:``, ``Control:``.
    run
        Gathers the evidence; its argument asks for the quick mode.
    """

    name: str
    text: str
    run: Callable[[bool], Result]

    def __post_init__(self) -> None:
        for part in ("source", "tolerance", "control"):
            if not getattr(self, part):
                raise ValueError(f"case {self.name}: its docstring has no paragraph '{part.capitalize()}: …'; add it.")

    @property
    def claim(self) -> str:
        """What it claims: the first paragraph."""
        return " ".join(self.text.split("\n\n")[0].split())

    @property
    def source(self) -> str:
        """Where the claim comes from."""
        return self._paragraph("Source")

    @property
    def tolerance(self) -> str:
        """What is allowed, and why."""
        return self._paragraph("Tolerance")

    @property
    def control(self) -> str:
        """What is wrong on purpose and must fail."""
        return self._paragraph("Control")

    def _paragraph(self, name: str) -> str:
        found = re.search(rf"^{name}: (.+?)(?:\n\s*\n|\Z)", self.text, flags=re.MULTILINE | re.DOTALL)
        return "" if found is None else " ".join(found.group(1).split())

    @property
    def stem(self) -> str:
        """Start of its file names."""
        return self.name.replace("-", "_")


def cases() -> dict[str, Case]:
    """Return the ``CASE`` of every module of ``validation.cases``, by name."""
    names = sorted(module.name for module in iter_modules([str(Path(__file__).parent / "cases")]))
    found: list[Case] = [import_module(f"validation.cases.{name}").CASE for name in names]
    return {case.name: case for case in found}
