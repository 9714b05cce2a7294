"""The tables of solvers in the README and on the pages, made from what the classes say of themselves.

``python docs/tables.py`` writes them between their markers; a test fails where they disagree.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "solvers")]

import dfp  # noqa: E402
from dfp.methods.solver import Solver  # noqa: E402
from validation.solvers import kinds  # noqa: E402

# Each equation in a few words.
EQUATIONS = {
    "MasterEquation": ("(T4)", "the exact law of SGD"),
    "DiscreteFokkerPlanck": ("(T5)", "to order η²; mean and covariance exact"),
    "Langevin": ("(T6)", "the standard form; noise frozen or state-dependent"),
    "ModifiedLangevin": ("(T7, T7m, T7m⁺)", "corrected drift; matched drift and diffusion"),
}


def equations() -> list[str]:
    """Return the table of equations with the solvers of their densities."""
    rows = []
    for name, (label, meaning) in EQUATIONS.items():
        number = getattr(dfp, name).number
        solvers = [solver for solver, kind in kinds().items() if kind.gridded and number in kind.equations]
        rows.append((f"`{name}` {label}", ", ".join(solvers), meaning))
    return _table(("equation", "solvers of its density", "what it is"), rows)


def solvers() -> list[str]:
    """Return the table of solvers: what each takes, how accurate it is, and what it costs."""
    header = ("solver", "equations", "noise", "d", "start", "accuracy", "cost grows with")
    rows = [
        (f"`{name}`", _numbers(kind.equations), kind.noise, _dimensions(kind.dimensions), kind.starts, kind.order,
         kind.cost)
        for name, kind in kinds().items()
    ]  # fmt: skip
    return _table(header, rows)


def optimisers() -> list[str]:
    """Return the table of what solvers take beyond plain SGD on a quadratic landscape."""
    header = ("solver", "momentum", "schedules", "without replacement", "nonlinear landscapes")
    rows = [
        (f"`{name}`", *map(_yes, (kind.momentum, kind.schedules, kind.without_replacement)), _nonlinear(kind))
        for name, kind in kinds().items()
    ]
    return _table(header, rows)


def _numbers(numbers: Sequence[str]) -> str:
    every = {getattr(dfp, name).number for name in EQUATIONS}
    whole = every <= set(numbers)
    listed = [f"({number})" for number in numbers if not (whole and number in every)]
    return ", ".join(["all", *listed] if whole else listed)


def _dimensions(most: int | None) -> str:
    return "any" if most is None else "1" if most == 1 else f"1 – {most}"


def _nonlinear(kind: type[Solver]) -> str:
    if not kind.nonlinear:
        return "–"
    most = kind.nonlinear_dimensions
    return _numbers(kind.nonlinear) + ("" if most is None else f", d ≤ {most}")


def _yes(taken: bool) -> str:
    return "yes" if taken else "–"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


# Where each table stands, and what makes it.
PLACES: dict[tuple[str, str], Callable[[], list[str]]] = {
    ("README.md", "equations"): equations,
    ("docs/choosing.md", "solvers"): solvers,
    ("docs/choosing.md", "optimisers"): optimisers,
}


def filled(text: str, name: str, lines: list[str]) -> str:
    """Return ``text`` with ``lines`` between the markers of the table ``name``."""
    pattern = re.compile(rf"(<!-- table: {name}[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
    result, count = pattern.subn(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], text)
    if count != 1:
        raise SystemExit(f"table: {name} has {count} places; give it one pair of markers.")
    return result


def main() -> None:
    """Write every table where it belongs."""
    for (page, name), make in PLACES.items():
        path = ROOT / page
        path.write_text(filled(path.read_text(encoding="utf-8"), name, make()), encoding="utf-8")


if __name__ == "__main__":
    main()
