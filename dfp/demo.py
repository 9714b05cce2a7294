"""The demo: how SGD distributes the two weights of a regression on real data, by four routes side by side.

Data: 442 diabetes patients (Efron et al. 2004); the disease's progression is regressed on body mass index and blood
triglycerides, with minibatches of 8.
"""

import csv
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dfp import hdf5, plot
from dfp.checks import Array
from dfp.distances import compare
from dfp.equation import DiscreteFokkerPlanck, Langevin, MasterEquation
from dfp.landscape import QuadraticLandscape
from dfp.methods.hermite import Hermite
from dfp.methods.moment_recursion import MomentRecursion
from dfp.methods.monte_carlo import MonteCarlo
from dfp.exact import moments
from dfp.sgd import SGD
from dfp.solution import Solution
from dfp.driver import Progress, solve
from dfp.state import Gaussian

FEATURES = ("bmi", "s5")
BATCH_SIZE = 8
LEARNING_RATE = 0.03
SAVED = (0, 5, 10, 20, 40, 80, 160, 320)
SGD_NAME, DFP_NAME, LANGEVIN_NAME = "SGD (Monte Carlo)", "discrete Fokker-Planck", "Langevin"


def diabetes(features: tuple[str, ...] = FEATURES) -> tuple[Array, Array]:
    """Return standardised features (442, d) and target (442,): each has mean 0 and variance 1."""
    text = files("dfp").joinpath("data/diabetes.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    table = np.array([[float(row[name]) for name in (*features, "y")] for row in rows])
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    return table[:, :-1], table[:, -1]


def problem() -> tuple[SGD, Gaussian]:
    """Return the demo's SGD and its initial state, a narrow Gaussian a few deviations from the minimum."""
    landscape = QuadraticLandscape.from_regression(*diabetes(), batch_size=BATCH_SIZE)
    return SGD(landscape, learning_rate=LEARNING_RATE), Gaussian([0.5, 0.3], 0.03**2)


def solutions(trajectories: int, progress: Progress | None = None) -> dict[str, Solution]:
    """Return the four routes by name: exact moments, sampled SGD, discrete Fokker–Planck and Langevin densities."""
    sgd, initial = problem()
    last, saved = SAVED[-1], list(SAVED)
    exact = solve(MasterEquation(sgd), initial, last, saved, MomentRecursion())
    sampled = solve(MasterEquation(sgd), initial, last, saved, MonteCarlo(trajectories, seed=0), progress=progress)
    return {
        "exact moments": exact,
        SGD_NAME: sampled,
        DFP_NAME: solve(DiscreteFokkerPlanck(sgd), initial, last, saved, Hermite()),
        LANGEVIN_NAME: solve(Langevin(sgd), initial, last, saved, Hermite()),
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
    densities = {name: solved[name] for name in (SGD_NAME, DFP_NAME, LANGEVIN_NAME)}
    print(f"\n{compare(densities)}\n")
    for name, solution in solved.items():
        print(f"{name}: {_verdict(solution)}")
    hdf5.save_many(solved, out)
    picture = out.with_suffix(".png")
    plot.save(figure(densities, sgd), picture)
    print(f"\nWrote {out} (open with dfp.load_many or xarray.open_datatree) and {picture}.")
    print(f"Everything took {time.perf_counter() - began:.1f} s, compilation included.")


def _introduction(sgd: SGD, trajectories: int) -> str:
    values, _ = sgd.modes
    return (
        f"How does SGD distribute two regression weights? 442 patients, progression on {' and '.join(FEATURES)},\n"
        f"batch size {BATCH_SIZE}, learning rate {LEARNING_RATE}, curvatures {values[0]:.3f} and {values[1]:.3f},\n"
        f"{trajectories:,} sampled trajectories of {SAVED[-1]} steps with real minibatches.\n"
    )


def _in_modes(solution: Solution, sgd: SGD) -> Array:
    """Return the variances along the eigenvectors of the Hessian, shape (S, d)."""
    vectors = sgd.modes[1]
    result: Array = np.einsum("ia,sij,ja->sa", vectors, solution.covariance, vectors)
    return result


def _covariances(solved: dict[str, Solution], sgd: SGD) -> str:
    header = ("step 320", "Var θ₁", "Cov θ₁θ₂", "Var θ₂", "flat mode", "sharp mode", "wall time")
    rows = [header]
    exact = _in_modes(solved["exact moments"], sgd)[-1]
    for name, solution in solved.items():
        c, ratio = solution.covariance[-1], _in_modes(solution, sgd)[-1] / exact
        seconds = solution.provenance["wall_seconds"]
        rows.append(
            (name, f"{c[0, 0]:.4e}", f"{c[0, 1]:.4e}", f"{c[1, 1]:.4e}", *(f"{r - 1:+.2%}" for r in ratio), f"{seconds:.2f} s")
        )
        if solution.errors:
            e = solution.errors["covariance"][-1] * 1.96
            rows.append(("  95 % ±", f"{e[0, 0]:.1e}", f"{e[0, 1]:.1e}", f"{e[1, 1]:.1e}", "", "", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _verdict(solution: Solution) -> str:
    if solution.certificate.ok:
        return f"by {solution.solver}; certificate passes"
    return f"by {solution.solver}; " + " ".join(solution.certificate.warnings)


def figure(densities: dict[str, Solution], sgd: SGD) -> Any:
    """Return contours of the three densities side by side, and variances of the modes over steps."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(12, 8), layout="constrained")
    top, bottom = page.subfigures(2, 1, height_ratios=[1.1, 1])
    window = plot._window(densities[SGD_NAME], SAVED[-1])
    for axis, (name, solution), colour in zip(top.subplots(1, 3), densities.items(), plot.COLOURS, strict=False):
        plot.contours(axis, solution, len(SAVED) - 1, colour, window)
        axis.plot(*sgd.critical_point, "k+", markersize=9)
        axis.set_title(name)
    top.suptitle(f"Where does SGD leave the weights after {SAVED[-1]} steps? (39, 86, 99 % of the probability; + minimum)")
    left, right = bottom.subplots(1, 2)
    _variances(left, right, densities[SGD_NAME], sgd)
    bottom.suptitle("How wide is each mode, and what does Langevin miss?")
    return page


def _variances(left: Any, right: Any, sampled: Solution, sgd: SGD) -> None:
    """Draw exact variances of the modes over steps, and those of each equation relative to SGD's."""
    initial, steps = problem()[1], SAVED[-1]
    vectors = sgd.modes[1]
    curves: dict[str, Array] = {}
    equations: dict[str, Callable[[SGD], Any]] = {DFP_NAME: DiscreteFokkerPlanck, LANGEVIN_NAME: Langevin}
    for name, equation in (("SGD", MasterEquation), *equations.items()):
        covariance = moments(equation(sgd), initial, steps).covariance
        curves[name] = np.einsum("ia,sij,ja->sa", vectors, covariance, vectors)
    points = _in_modes(sampled, sgd)
    relative = np.einsum("ia,sij,ja->sa", vectors**2, sampled.errors["covariance"], vectors**2) / points
    for mode, (label, style) in enumerate((("flat mode", "--"), ("sharp mode", "-"))):
        left.plot(curves["SGD"][:, mode], "k" + style, label=f"{label}, exact SGD")
        left.plot(sampled.steps, points[:, mode], "o", color=plot.COLOURS[0], label="Monte Carlo" if mode else None)
        for name, colour in zip(equations, plot.COLOURS[1:], strict=False):
            ratio = 100 * (curves[name][:, mode] / curves["SGD"][:, mode] - 1)
            right.plot(ratio, style, color=colour, label=f"{name}, {label}")
        shown = 100 * (points[:, mode] / curves["SGD"][sampled.steps, mode] - 1)
        right.errorbar(
            sampled.steps, shown, 196 * relative[:, mode], fmt="os"[mode : mode + 1], color=plot.COLOURS[0], capsize=2,
            label=f"Monte Carlo ± 95 %, {label}",
        )  # fmt: skip
    left.set_ylabel("variance [parameter²]")
    right.set_ylabel("variance relative to exact SGD [%]")
    for axis in (left, right):
        axis.set_xlabel("step n")
        axis.legend(fontsize="small")
