"""The demo: how SGD distributes the two weights of a regression on real data, by several routes side by side.

Data: 442 diabetes patients (Efron et al. 2004); the disease's progression is regressed on body mass index and blood
triglycerides, with minibatches of 8.
"""

import time
from collections.abc import Callable
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np

from dfp.checks import Array
from dfp.exact.moments import moments
from dfp.methods.hermite import Hermite
from dfp.methods.moment_recursion import MomentRecursion
from dfp.methods.monte_carlo import MonteCarlo
from dfp.problem.equation import Equation
from dfp.problem.equations import DiscreteFokkerPlanck, Langevin, MasterEquation, ModifiedLangevin
from dfp.problem.landscape import QuadraticLandscape, standardised
from dfp.problem.sgd import SGD
from dfp.problem.state import Gaussian
from dfp.results import figures, files, layout, planes, schema, tables
from dfp.results.cells import Cells
from dfp.results.comparison import compare
from dfp.results.solution import Solution
from dfp.solving.datafiles import read_columns
from dfp.solving.driver import solve
from dfp.solving.running import Progress

FEATURES = ("bmi", "s5")
BATCH_SIZE = 8
LEARNING_RATE = 0.03
SAVED = (0, 5, 10, 20, 40, 80, 160, 320)
EXACT, SAMPLED = "exact moments", "sampled SGD"
EQUATIONS: dict[str, Callable[[SGD], Equation]] = {
    "discrete Fokker-Planck": DiscreteFokkerPlanck,
    "Langevin": Langevin,
    "modified Langevin": ModifiedLangevin,
}


def diabetes(features: tuple[str, ...] = FEATURES) -> tuple[Array, Array]:
    """Return standardised features (442, d) and target (442,): each has mean 0 and variance 1."""
    columns = [*features, "y"]
    table = read_columns(resources("dfp").joinpath("data/diabetes.csv").read_bytes(), columns, "diabetes.csv")
    table = standardised(table, columns, "diabetes.csv")
    return table[:, :-1], table[:, -1]


def problem() -> tuple[SGD, Gaussian]:
    """Return the demo's SGD and its initial state, a narrow Gaussian a few deviations from the minimum."""
    landscape = QuadraticLandscape.from_regression(*diabetes(), batch_size=BATCH_SIZE, parameters=FEATURES)
    return SGD(landscape, learning_rate=LEARNING_RATE), Gaussian([0.5, 0.3], 0.03**2)


def solutions(trajectories: int, progress: Progress | None = None) -> dict[str, Solution]:
    """Return every route by name: exact moments, sampled SGD, and the densities of ``EQUATIONS``."""
    sgd, initial = problem()
    last, saved = SAVED[-1], list(SAVED)
    return {
        EXACT: solve(MasterEquation(sgd), initial, last, saved, MomentRecursion()),
        SAMPLED: solve(MasterEquation(sgd), initial, last, saved, MonteCarlo(trajectories, seed=0), progress=progress),
        **{name: solve(equation(sgd), initial, last, saved, Hermite()) for name, equation in EQUATIONS.items()},
    }


def run(out: Path, trajectories: int = 1_000_000, progress: Progress | None = None) -> None:
    """Solve, print the table, and write the HDF5 file ``out`` and a figure of the same name ending in .png.

    Parameters
    ----------
    out
        Name of the HDF5 file.
    trajectories
        Number of sampled SGD trajectories.
    progress
        Called with trajectories drawn and in all.
    """
    began = time.perf_counter()
    sgd, _ = problem()
    print(_introduction(sgd, trajectories))
    solved = solutions(trajectories, progress)
    print(_covariances(solved, sgd))
    densities = {name: solution for name, solution in solved.items() if name != EXACT}
    print(f"\nAt step {SAVED[-1]}, {compare({name: last_frame(solution) for name, solution in densities.items()})}\n")
    for name, solution in solved.items():
        print(f"{name}: {_verdict(solution)}")
    files.save_many(solved, out)
    picture = out.with_suffix(".png")
    figures.save(figure(densities, sgd), picture)
    print(_conclusion(sgd))
    print(f"\nWrote {out} (open it with dfp.load_many or xarray.open_datatree) and {picture}.")
    print(f"Everything took {time.perf_counter() - began:.1f} s, compilation included.")


def last_frame(solution: Solution) -> Solution:
    """Return the solution at its last saved step alone."""
    return solution.at([int(solution.steps[-1])])


def _introduction(sgd: SGD, trajectories: int) -> str:
    values, _ = sgd.modes
    return (
        f"How does SGD distribute two regression weights? 442 patients, progression on {' and '.join(FEATURES)},\n"
        f"batch size {BATCH_SIZE}, learning rate {LEARNING_RATE}, curvatures {values[0]:.3f} (flat mode) and "
        f"{values[1]:.3f} (sharp mode),\n"
        f"{trajectories:,} sampled trajectories of {SAVED[-1]} steps with real minibatches.\n"
    )


def _conclusion(sgd: SGD) -> str:
    expected = ", ".join(f"{-sgd.learning_rate * value / 2:+.1%}" for value in sgd.modes[0])
    return (
        "\nWhat to see: the discrete Fokker-Planck equation has SGD's mean and covariance exactly; the price is tails\n"
        "that are too heavy (kurtosis), so its total variation from SGD can exceed Langevin's. Langevin's variances\n"
        f"are off by about -ηλ/2 ({expected}). The modified Langevin form has neither defect to this order; what is\n"
        "left is the skewness of minibatch gradients, a third cumulant that no Fokker-Planck equation holds."
    )


def _in_modes(solution: Solution, sgd: SGD) -> Array:
    """Return the variances along the eigenvectors of the Hessian, shape (S, d)."""
    vectors = sgd.modes[1]
    return np.einsum("ia,sij,ja->sa", vectors, solution.covariance, vectors)


def _fourth_in_modes(solution: Solution, sgd: SGD) -> Array:
    """Return the fourth central moments along the eigenvectors of the Hessian, shape (S, d)."""
    assert solution.fourth is not None
    u = sgd.modes[1]
    return np.einsum("ia,ja,ka,la,sijkl->sa", u, u, u, u, solution.fourth, optimize=True)


def _mode_errors(solution: Solution, sgd: SGD) -> Array:
    """Return standard errors of sampled variances along the eigenvectors, from fourth moments, shape (S, d)."""
    spread = _fourth_in_modes(solution, sgd) - _in_modes(solution, sgd) ** 2
    return np.sqrt(spread / solution.trajectories)


def _covariances(solved: dict[str, Solution], sgd: SGD) -> str:
    first, second = FEATURES
    told = f"Var {first}", f"Cov {first}, {second}", f"Var {second}"
    header = (f"step {SAVED[-1]}", *told, "flat mode", "sharp mode", "kurtosis", "wall time")
    rows: list[tuple[str, ...]] = [header, ("", "[parameter²]", "", "", "(variance off exact)", "", "(sharp)", "")]
    exact = _in_modes(solved[EXACT], sgd)[-1]
    for name, solution in solved.items():
        c, ratio = solution.covariance[-1], _in_modes(solution, sgd)[-1] / exact - 1
        entries = [f"{value:.4e}" for value in (c[0, 0], c[0, 1], c[1, 1])]
        kurtosis = _fourth_in_modes(solution, sgd)[-1, -1] / _in_modes(solution, sgd)[-1, -1] ** 2
        seconds = solution.provenance["wall_seconds"]
        rows.append((name, *entries, *(f"{r:+.2%}" for r in ratio), f"{kurtosis:.3f}", f"{seconds:.2f} s"))
        if solution.errors:
            e = 1.96 * solution.errors["covariance"][-1]
            relative = 1.96 * _mode_errors(solution, sgd)[-1] / exact
            errors = [f"{value:.1e}" for value in (e[0, 0], e[0, 1], e[1, 1])]
            rows.append(("  95 % interval ±", *errors, *(f"{r:.2%}" for r in relative), "", ""))
    return "\n".join(tables.aligned(rows, overflowing=(1,)))  # the line of units


def _verdict(solution: Solution) -> str:
    if solution.certificate.ok:
        return f"by {solution.solver}; certificate passes"
    return f"by {solution.solver}; " + " ".join(solution.certificate.warnings)


def figure(densities: dict[str, Solution], sgd: SGD) -> Any:
    """Return contours of SGD, discrete Fokker–Planck and Langevin side by side, and variances of modes over steps."""
    from matplotlib.figure import Figure

    whole = Figure(figsize=(12, 8.4), layout="constrained")
    parts: Any = whole.subfigures(2, 1, height_ratios=[1.1, 1])
    top, bottom = parts
    sampled = densities[SAMPLED]
    drawn = {name: Cells.last(solved) for name, solved in list(densities.items())[:3]}
    box, runs = planes.seen(*drawn.values()), drawn[SAMPLED]
    for axis, (name, own), colour in zip(top.subplots(1, 3), drawn.items(), figures.COLOURS, strict=False):
        planes.contours(axis, own.axes, own.values, colour, box, FEATURES, trajectories=own.trajectories)
        if name != SAMPLED:
            known = runs.trajectories
            planes.contours(axis, runs.axes, runs.values, "black", box, FEATURES, outline=True, trajectories=known)
        axis.plot(*sgd.critical_point, "k+", markersize=9)
        axis.set_title(name if name == SAMPLED else f"{name} (dashed: SGD)")
    top.suptitle(f"Where does SGD leave the weights after {SAVED[-1]} steps? {planes.HELD_IN_WORDS}; + is the minimum")
    left, right = bottom.subplots(1, 2)
    _variances(left, right, sampled, sgd)
    bottom.suptitle("How wide does each mode become, and what does each equation miss?")
    return whole


def _variances(left: Any, right: Any, sampled: Solution, sgd: SGD) -> None:
    """Draw exact variances of the modes over steps, and those of each equation relative to SGD's."""
    points, errors = _in_modes(sampled, sgd), _mode_errors(sampled, sgd)
    exact = _mode_curves(MasterEquation(sgd))
    curves = {name: _mode_curves(equation(sgd)) for name, equation in EQUATIONS.items()}
    for mode, (label, style, marker) in enumerate((("flat mode", "--", "o"), ("sharp mode", "-", "s"))):
        left.plot(exact[:, mode], "k" + style, label=f"exact SGD, {label}")
        left.plot(sampled.steps, points[:, mode], marker, color=figures.COLOURS[0], label=f"Monte Carlo, {label}")
        for (name, curve), colour in zip(curves.items(), figures.COLOURS[1:], strict=False):
            right.plot(100 * (curve[:, mode] / exact[:, mode] - 1), style, color=colour, label=f"{name}, {label}")
        reference = exact[sampled.steps, mode]
        off, bars = 100 * (points[:, mode] / reference - 1), 196 * errors[:, mode] / reference
        colour = figures.COLOURS[0]
        right.errorbar(
            sampled.steps, off, bars, fmt=marker, color=colour, capsize=2, label=f"Monte Carlo ± 95 %, {label}"
        )
    left.set_ylabel(schema.label("variance"))
    right.set_ylabel(schema.label("relative_variance"))
    for axis in (left, right):
        axis.set_xlabel(schema.label("step"))
    root = layout.root(left)
    root.draw_without_rendering()  # legends go by the room that there is
    for axis in (left, right):
        layout.broken(axis.yaxis.label, layout.room(axis)[1])
        layout.legend(axis)


def _mode_curves(equation: Equation) -> Array:
    """Return exact variances along the eigenvectors of the Hessian at every step, shape (steps + 1, d)."""
    vectors = equation.sgd.modes[1]
    covariance = moments(equation, problem()[1], SAVED[-1]).covariance
    return np.einsum("ia,sij,ja->sa", vectors, covariance, vectors)
