"""Every solver, every equation it takes, one to three dimensions, every kind of noise: error, certificate, time.

Means and covariances have an independent recursion; densities are compared between solvers. A solver either keeps its
certificate or says why it cannot solve the problem.

Source: documentation of the solvers; theory page (T14), (T15).

Tolerance: where a certificate passes, covariances are within 1e-6 of the exact recursion relative to σ_iσ_j
(deterministic) or five standard errors (sampled), and densities within their stated L1 errors, or sampling noise, of
each other.

Control: a density of another learning rate must be told from the others.
"""

import time
from collections.abc import Iterator

import numpy as np

import dfp
from validation import solvers
from validation.case import Case, Result, Table, Verdict

ETA, STEPS = 0.1, 20
SLOW = 0.01
"""A learning rate at which (T5), whose grids are no finer than a step, has densities as accurate as the others."""
IN_QUICK = ("1D additive", "1D curvature noise", "2D curvature noise", "1D additive, small steps")


def problems() -> dict[str, tuple[dfp.QuadraticLandscape, float]]:
    """Return a landscape and a learning rate for each kind of noise in each dimension."""
    hessian, rng = np.array([[1.0, 0.3], [0.3, 0.5]]), np.random.default_rng(9)
    features = rng.standard_normal((6, 2))
    targets = features @ np.array([1.0, -1.0]) + 0.5 * rng.standard_normal(6)
    line = dfp.QuadraticLandscape([1.0], 0.2, dfp.GaussianNoise([0.5]))
    plane = dfp.QuadraticLandscape(hessian, 0.1, dfp.GaussianNoise([[0.5, 0.1], [0.1, 0.3]]))
    space = dfp.QuadraticLandscape([1.0, 0.7, 0.4], 0.1, dfp.GaussianNoise([0.5, 0.4, 0.3]))
    return {
        "1D additive": (line, ETA),
        "1D curvature noise": (dfp.QuadraticLandscape([1.0], 0.2, dfp.GaussianNoise([0.5], [0.3])), ETA),
        "1D finite sum": (dfp.QuadraticLandscape.from_regression(features[:, :1], targets, 2), ETA),
        "2D additive": (plane, ETA),
        "2D curvature noise": (dfp.QuadraticLandscape(hessian, 0.1, dfp.GaussianNoise([0.5, 0.3], [0.3, 0.1])), ETA),
        "2D finite sum": (dfp.QuadraticLandscape.from_regression(features, targets, 2), ETA),
        "1D additive, small steps": (line, SLOW),
        "2D additive, small steps": (plane, SLOW),
        "3D additive, small steps": (space, SLOW),
    }


def equations(sgd: dfp.SGD) -> Iterator[tuple[str, object]]:
    """Yield every equation of one SGD with its number."""
    yield "T4", dfp.MasterEquation(sgd)
    yield "T5", dfp.DiscreteFokkerPlanck(sgd)
    yield "T6", dfp.Langevin(sgd)
    yield "T7", dfp.ModifiedLangevin(sgd, matched=False)
    yield "T7m", dfp.ModifiedLangevin(sgd)


def run(quick: bool) -> Result:
    """Solve everything by everything."""
    verdicts: list[Verdict] = []
    rows: list[tuple[object, ...]] = []
    made = solvers.made(50_000 if quick else 1_000_000)
    for problem, (landscape, eta) in problems().items():
        if quick and problem not in IN_QUICK:
            continue
        d = landscape.dimension
        start = dfp.Gaussian(np.full(d, 0.5), 0.1 * np.eye(d))
        for number, equation in equations(dfp.SGD(landscape, eta)):
            solved: dict[str, dfp.Solution] = {}
            for name, solver in made.items():
                rows.append(_attempt(problem, number, equation, name, solver, start, solved))
            verdicts += [_kept(problem, number, name, s) for name, s in solved.items() if s.certificate.ok]
            verdicts += list(_agreement(problem, number, solved))
    verdicts.append(_control())
    refused = sum(row[3] == "refused" for row in rows)
    note = f"{len(rows)} combinations: {len(rows) - refused} solved, {refused} refused with a reason."
    header = ("problem", "equation", "solver", "outcome", "error of the covariance", "L1 error it states", "time [s]")
    caption = "Errors of the covariance (sampled: in standard errors), stated L1 errors, wall time with the first call."
    return Result(verdicts, {}, tables=[Table(caption, header, rows)], notes=[note])


def _attempt(problem, number, equation, name, solver, start, solved) -> tuple[object, ...]:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    try:
        solution = dfp.solve(equation, start, STEPS, [STEPS], solver)
    except dfp.UnsupportedError:
        return problem, number, name, "refused", None, None, None
    except (dfp.SeriesError, dfp.UnresolvedError) as failure:
        return problem, number, name, type(failure).__name__, None, None, time.perf_counter() - began
    solved[name] = solution
    certificate = solution.certificate
    outcome = "solved" if certificate.ok else f"{len(certificate.warnings)} warning(s)"
    error, stated = float(certificate.covariance_error[-1]), float(certificate.truncation[-1])
    return problem, number, name, outcome, error, stated if np.isfinite(stated) else None, time.perf_counter() - began


def _kept(problem: str, number: str, name: str, solution: dfp.Solution) -> Verdict:
    error = float(solution.certificate.covariance_error[-1])
    limit = 5.0 if solution.sampled else 1e-6
    what = (problem, f"{name} ({number})", "error of the covariance")
    return Verdict(*what, f"≤ {limit:g}" + (" SE" if solution.sampled else ""), f"{error:.1e}", error <= limit)


def _agreement(problem: str, number: str, solved: dict[str, dfp.Solution]) -> Iterator[Verdict]:
    """Yield verdicts that pairs of densities agree within what they state."""
    dense = {name: s for name, s in solved.items() if s.density is not None and s.certificate.ok}
    reference = next(
        (name for name in ("Fourier", "Transfer", "FiniteVolume", "Hermite", "FiniteDifference") if name in dense), None
    )
    for name, solution in dense.items():
        if reference is None or name == reference or reference == name:
            continue
        found = next(iter(dfp.compare({"reference": dense[reference], "other": solution}).distances)).total_variation
        stated = sum(float(np.nan_to_num(s.certificate.truncation[-1])) for s in (solution, dense[reference])) / 2
        passed = bool(found.lower <= stated + 1e-4)
        what = (problem, f"{name} ({number})", f"total variation from {reference}")
        yield Verdict(*what, f"≤ {stated + 1e-4:.1e}", f"{found.value:.1e}, at least {found.lower:.1e}", passed)


def _control() -> Verdict:
    (landscape, _), start = problems()["1D additive"], dfp.Gaussian([0.5], [0.1])
    pair = {str(eta): dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, eta)), start, STEPS) for eta in (ETA, 1.05 * ETA)}
    found = list(dfp.compare(pair).distances)[-1].total_variation
    what = ("1D additive", "control: η 5 % too large", "total variation")
    return Verdict(*what, "≤ 1e-4", f"{found.value:.1e}", bool(found.lower <= 1e-4), control=True)


CASE = Case("solver-matrix", __doc__, run)
