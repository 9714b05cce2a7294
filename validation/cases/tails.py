"""Tails: SGD's stationary law with curvature noise falls like the power κ of Kesten, not like Langevin's power κ_L.

The tail index of one mode with Gaussian curvature noise is the root of a closed form; here it meets the tail of
sampled SGD, at (λ, D, η) = (1, 0.2, 0.6) for three strengths of curvature noise about and beyond the loss of the
variance.

Source: theory page, section 4; Kesten (1973), doi:10.1007/BF02392040.

Tolerance: κ = log(N₁/N₂)/log 4 from the numbers of samples beyond 8 and 32, within 4 standard errors of the binomial
law of N₂ among N₁ samples; at 8 the next order of the tail is (0.27/8)² = 0.1 %, below the error of 10⁸ samples. A
tail settles at the rate −min_q log E|1−ηh|^q, q ≈ κ/2, much more slowly than the bulk at |ℓ|: 16 such times are run.

Control: Langevin's 1 + 2λ/(ηΓ) must fail.
"""

from math import ceil, log, sqrt

import numpy as np
from dfp_solvers import lyapunov

import dfp
from dfp.checks import Array
from validation.case import Case, Picture, Result, Table, Verdict, sampled

CURVATURE, NOISE, RATE = 1.0, 0.2, 0.6
STRENGTHS = (2.2, 3.0, 4.0)
"""Γ: with a variance that is nearly lost (7/3 loses it), and without one."""
NEAR, CELLS = 8.0, 64
"""Counts are compared at this |θ| and at four times it, the edge of the grid."""


def problem(strength: float) -> dfp.SGD:
    """Return SGD on one mode with this curvature noise."""
    noise = dfp.GaussianNoise([NOISE], [strength])
    return dfp.SGD(dfp.QuadraticLandscape([CURVATURE], 0.0, noise), RATE)


def tail(sgd: dfp.SGD, steps: int, trajectories: int, seed: int) -> tuple[Array, Array]:
    """Return |θ| at the edges of cells, shape (K,), and the number of samples beyond each."""
    grid = dfp.Grid(-4 * NEAR, 4 * NEAR, CELLS)
    solver = dfp.MonteCarlo(trajectories, seed=seed)
    solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Point(0.0), steps, [steps], solver, grid)
    assert solution.density is not None
    counts = np.rint(solution.density[0] * grid.cell_volume * trajectories)
    folded = counts[CELLS // 2 :] + counts[: CELLS // 2][::-1]
    beyond = trajectories - np.concatenate([[0.0], np.cumsum(folded)])
    return np.linspace(0, 4 * NEAR, CELLS // 2 + 1), beyond


def settling(mode: dfp.Mode) -> int:
    """Return the number of steps in which the tail forgets its beginning by e⁻¹⁶."""
    spread = RATE * sqrt(mode.curvature_noise)
    return ceil(-16 / lyapunov.gaussian_log_moment(mode.tail_index / 2, 1 - RATE * CURVATURE, spread))


def slope(edges: Array, beyond: Array) -> tuple[float, float]:
    """Return κ and its standard error from the samples beyond ``NEAR`` and beyond the last edge."""
    first, last = float(beyond[np.searchsorted(edges, NEAR)]), float(beyond[-1])
    return log(first / last) / log(4), sqrt((1 - last / first) / last) / log(4)


def run(quick: bool) -> Result:
    """Sample 4 million (quick) or 100 million trajectories for every strength."""
    from matplotlib.figure import Figure

    trajectories = 4_000_000 if quick else 100_000_000
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axis = figure.subplots()
    verdicts: list[Verdict] = []
    rows, numbers = [], {}
    for seed, strength in enumerate(STRENGTHS, start=1):
        sgd = problem(strength)
        (mode,) = dfp.modes(sgd)
        edges, beyond = tail(sgd, settling(mode), trajectories, seed)
        found, error = slope(edges, beyond)
        what = (f"Γ = {strength:g}", "SGD, sampled", "tail index κ")
        verdicts.append(sampled(what, found, error, mode.tail_index))
        wrong = (what[0], "Langevin's κ_L as SGD's", what[2])
        verdicts.append(sampled(wrong, found, error, mode.langevin_tail_index, control=True))
        rows.append([f"{strength:g}", mode.regime, f"{mode.tail_index:.4f}", f"{found:.4f} ± {error:.4f}",
                     f"{mode.langevin_tail_index:.4f}"])  # fmt: skip
        numbers[f"gamma_{strength:g}"] = {"edges": edges, "beyond": beyond, "tail_index": mode.tail_index}
        (line,) = axis.loglog(edges[1:], beyond[1:] / trajectories, ".", label=f"Γ = {strength:g}: SGD, sampled")
        reference = beyond[np.searchsorted(edges, NEAR)] / trajectories
        axis.loglog(edges[4:], reference * (edges[4:] / NEAR) ** -mode.tail_index, "-", color=line.get_color())
        axis.loglog(edges[4:], reference * (edges[4:] / NEAR) ** -mode.langevin_tail_index, ":", color=line.get_color())
    axis.set(xlabel="x [parameter]", ylabel="P(|θ| > x)", title="Lines: x^−κ; dotted: Langevin's power")
    axis.legend()
    table = Table(f"Tails of {trajectories:.0e} samples.", ["Γ", "regime", "κ", "sampled", "Langevin κ_L"], rows)
    picture = Picture("tails", "The tail of SGD follows Kesten's power, drawn through the samples at 8.", figure)
    return Result(verdicts, numbers, [picture], [table])


CASE = Case("tails", __doc__, run)
