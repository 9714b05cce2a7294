"""Random problems of every kind: certified L1 errors bound the true ones, and none that fails to says that it is ok.

What ``auto`` picks, and one of the solvers that take the problem in turn, on problems whose densities are known without
the solvers: Gaussians, mixtures, paths of minibatches, polynomials, dense quadratures.

Source: ``validation/truths.py``; fresh seeds for every state of the code that is examined.

Tolerance: 99.5 % covered, the promise of certificates, whose estimates are trebled; none uncovered with ``ok``; half of
them within a factor of 30, or they would be of no use; truths themselves round to 1e-11.

Control: certificates a hundredth as large must be caught.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

import dfp
from dfp.methods.solver import Solver
from dfp.problem.averaged_equation import AveragedEquation
from dfp.results.certificate import ROUNDING
from dfp.results.solution import Solution
from validation.case import Case, Result, Table, Verdict, at_least, at_most
from validation.solvers import made
from validation.truths import KINDS, Truth, random_truth

MADE = made(10_000) | {"FiniteVolume": dfp.FiniteVolume(tolerance=1e-4)}
SOLVERS = tuple(solver for name, solver in MADE.items() if name not in ("MomentRecursion", "MonteCarlo"))
# What the truths themselves round to: exponentials and inverses of matrices, sums of thousands of Gaussians.
TRUTH = 1e-11
# Never looked at while the library was written; a state of the code that has been mended by them needs others.
FIRST = 9_000_000


@dataclass(frozen=True)
class Row:
    """One certified density beside its truth."""

    seed: int
    kind: str
    solver: str
    true: float
    certified: float
    ok: bool

    @property
    def covered(self) -> bool:
        """Whether the certificate bounds the true error."""
        return self.true <= self.certified + TRUTH


@dataclass
class Examination:
    """What was found on a range of seeds."""

    rows: list[Row] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    """Densities without a certified error, moments alone, and refusals by their kind."""
    mute: list[int] = field(default_factory=list)
    """Seeds of densities without a certified error that do not say so, and of refusals without a reason."""


def true_error(truth: Truth, solution: Solution) -> float:
    """Return the L1 distance from the known density on the grid, and the mass of the latter beyond it."""
    assert solution.grid is not None and solution.density is not None
    exact = truth.density(solution.grid.points)
    beyond = max(0.0, 1 - float(exact.sum()) * solution.grid.cell_volume)
    return float(np.abs(solution.density[-1] - exact).sum()) * solution.grid.cell_volume + beyond


def examine(seeds: Iterable[int]) -> Examination:
    """Return what is picked, and what one solver that takes the problem finds, for the truths of ``seeds``."""
    found = Examination()
    for seed in seeds:
        truth = random_truth(seed)
        alone = truth.directions is not None or isinstance(truth.equation, AveragedEquation)
        ordered = [SOLVERS[(seed // len(KINDS) + i) % len(SOLVERS)] for i in range(len(SOLVERS))]
        asked = () if alone else (_solved(truth, solver, found, seed) for solver in ordered)
        for solution in (_solved(truth, "auto", found, seed), next((s for s in asked if s is not None), None)):
            if solution is not None:
                _judge(found, seed, truth, solution)
    return found


def _judge(found: Examination, seed: int, truth: Truth, solution: Solution) -> None:
    if solution.density is None or solution.trajectories:
        found.others["moments alone, or sampled"] += 1
        return
    certified = float(solution.certificate.error[-1])
    if np.isfinite(certified):
        row = Row(seed, truth.kind, solution.solver, true_error(truth, solution), certified, solution.certificate.ok)
        found.rows.append(row)
        return
    # Cell averages, which have no error as a density, come with a warning.
    found.others["cell averages, with a warning"] += 1
    if solution.certificate.ok:
        found.mute.append(seed)


def _solved(truth: Truth, solver: Solver | str, found: Examination, seed: int) -> Solution | None:
    """Return the solution, or None where this solver refuses, in words, what it cannot do, or would take seconds."""
    narrow = isinstance(solver, Solver) and solver.name in ("Hermite", "FiniteDifference")
    most = 1 if narrow else 2
    closed = truth.directions is not None or (isinstance(solver, Solver) and solver.name == "Fourier")
    if truth.equation.dimension > most and not closed:
        found.others["left out: dimensions that take long"] += 1
        return None
    try:
        return dfp.solve(
            truth.equation, truth.initial, truth.steps, [truth.steps], solver, truth.grid, directions=truth.directions
        )
    except dfp.DFPError as refusal:
        found.others[f"refused: {type(refusal).__name__}"] += 1
        if len(str(refusal)) <= 40:
            found.mute.append(seed)
        return None


def judged(found: Examination, count: int) -> list[Verdict]:
    """Return the verdicts on an examination of ``count`` seeds."""
    true = np.array([row.true for row in found.rows])
    certified = np.array([row.certified for row in found.rows])
    covered = np.array([row.covered for row in found.rows])
    problem, ratio = "random truths", np.median(certified / np.maximum(true, ROUNDING))
    refused = sum(number for kind, number in found.others.items() if kind.startswith("refused"))
    silent = sum(row.ok and not row.covered for row in found.rows)
    return [
        at_least((problem, "certificates", "share that bound the true error"), float(covered.mean()), 0.995),
        at_most((problem, "certificates", "uncovered with ok"), float(silent), 0),
        at_most((problem, "certificates", "median of certified over true"), float(ratio), 30),
        at_least((problem, "answers", "certified densities"), len(found.rows), 1.2 * count),
        at_least((problem, "answers", "refusals, each with its reason"), float(refused), 1),
        at_most((problem, "answers", "without an error and without a word"), float(len(found.mute)), 0),
        at_least((problem, "kinds", "met"), float(len({row.kind for row in found.rows})), len(KINDS)),
        at_least(
            (problem, "control: a hundredth of it", "share that bound the true error"),
            float(np.mean(true <= certified / 100 + TRUTH)), 0.9, control=True,
        ),
    ]  # fmt: skip


def run(quick: bool) -> Result:
    """Examine some seeds, or as many as make more than two thousand densities."""
    count = 160 if quick else 1200
    return shown(examine(range(FIRST, FIRST + count)), count)


def shown(found: Examination, count: int) -> Result:
    """Return the verdicts on ``count`` seeds, and what is behind them."""
    kinds = [
        (
            kind.__name__, len(rows), sum(row.covered for row in rows), sum(row.ok for row in rows),
            f"{np.median([row.certified / max(row.true, ROUNDING) for row in rows]):.3g}",
        )
        for kind in KINDS if (rows := [row for row in found.rows if row.kind == kind.__name__])
    ]  # fmt: skip
    bad = [row for row in found.rows if not row.covered]
    tables = [
        Table(f"Seeds {FIRST} … {FIRST + count - 1}.", ("kind", "densities", "covered", "ok", "median ratio"), kinds),
        Table("Answers of other kinds.", ("kind", "number"), sorted(found.others.items())),
    ]
    if bad:
        listed = [(row.seed, row.kind, row.solver, f"{row.true:.3g}", f"{row.certified:.3g}", row.ok) for row in bad]
        tables.append(Table("Uncovered.", ("seed", "kind", "solver", "true", "certified", "ok"), listed))
    numbers = {"seeds": [FIRST, FIRST + count - 1], "densities": len(found.rows), **found.others}
    return Result(judged(found, count), numbers, tables=tables)


CASE = Case("random-truths", __doc__, run)
