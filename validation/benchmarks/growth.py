"""What grows how: times of the costly parts at two or three sizes, their exponents, and goals in seconds."""

import time
from collections.abc import Callable, Sequence

import numpy as np

import dfp
from dfp.methods.hermite import HermiteRun
from dfp.methods.solver import Problem
from dfp.methods.transfer.spectral import SpectralRun
from validation.benchmarks.verdict import Verdict

Timed = Callable[[], object]


def seconds(run: Timed, repetitions: int = 1) -> float:
    """Return the least wall time of some runs, after one that compiles."""
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def exponents(sizes: Sequence[float], times: Sequence[float]) -> list[float]:
    """Return how times grow from each size to the next: d log t / d log size."""
    return list(np.diff(np.log(times)) / np.diff(np.log(sizes)))


def _line(name: str, sizes: Sequence[float], times: Sequence[float]) -> None:
    cells = "  ".join(f"{size:g}: {t:.3g} s" for size, t in zip(sizes, times, strict=True))
    growth = ", ".join(f"{e:.2f}" for e in exponents(sizes, times))
    print(f"  {name:<44} {cells}   exponents {growth}", flush=True)


def plane(learning_rate: float) -> tuple[dfp.MasterEquation, dfp.Gaussian]:
    """Return multiplicative noise in two dimensions and a start at three quarters of where it settles."""
    noise = dfp.GaussianNoise([[1.0, 0.3], [0.3, 0.5]], [[0.3, 0.1], [0.2, 0.4]])
    sgd = dfp.SGD(dfp.QuadraticLandscape([[0.9, 0.2], [0.2, 0.6]], noise=noise), learning_rate)
    settled = dfp.stationary_moments(dfp.MasterEquation(sgd))
    return dfp.MasterEquation(sgd), dfp.Gaussian(settled.mean, 0.75 * settled.covariance)


def solid(learning_rate: float, *, turned: bool = False) -> tuple[dfp.MasterEquation, dfp.Gaussian]:
    """Return the like in three dimensions, with the Hessian in the axes of the noise or, ``turned``, in others."""
    table = np.array([[0.15, 0.05, 0.05], [0.05, 0.1, 0.03], [0.05, 0.05, 0.07]])
    noise = dfp.GaussianNoise([[1, 0.2, 0.1], [0.2, 0.6, 0.1], [0.1, 0.1, 0.4]], table)
    axes = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0] if turned else np.eye(3)
    landscape = dfp.QuadraticLandscape(axes @ np.diag([1.0, 0.6, 0.3]) @ axes.T, noise=noise)
    equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate))
    settled = dfp.stationary_moments(equation)
    return equation, dfp.Gaussian(settled.mean, settled.covariance)


def regression(batch_size: int, columns: Sequence[int] = (2, 8)) -> tuple[dfp.MasterEquation, dfp.Gaussian]:
    """Return least squares on the diabetes data, some features, from about where it settles."""
    from sklearn.datasets import load_diabetes

    features, targets = load_diabetes(return_X_y=True)
    x = features[:, list(columns)] / features[:, list(columns)].std(axis=0)
    landscape = dfp.QuadraticLandscape.from_regression(x, (targets - targets.mean()) / targets.std(), batch_size)
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1))
    settled = dfp.stationary_moments(equation)
    return equation, dfp.Gaussian(settled.mean, 0.75 * settled.covariance)


def _spectral(equation: dfp.MasterEquation, start: dfp.Gaussian, steps: int) -> Timed:
    def run() -> SpectralRun:
        going = SpectralRun(Problem.of(equation, start, np.array([steps])), None)
        going.advance(steps)
        going.frame()
        return going

    return run


def spectral(*, quick: bool) -> list[Verdict]:
    """Time spectral transfer at fixed slow time, for batch sizes, and in three dimensions."""
    print("\nSpectral transfer")
    rates = (0.1, 0.03) if quick else (0.1, 0.03, 0.01, 0.003)
    times = [seconds(_spectral(*plane(rate), round((0.3 if quick else 3.0) / rate))) for rate in rates]
    _line("2D, fixed slow time, in 1/η", [1 / rate for rate in rates], times)
    verdicts = [
        Verdict.at_most(
            "2D, Γ > 0, fixed slow time: grows at most 3× from η = .1 to .003", times[-1] / times[0], 3, "×"
        )
    ]
    if not quick:
        verdicts.append(Verdict.at_most("2D, Γ > 0, η = .01, 300 steps: at most 1.5 s", times[2], 1.5, "s"))
    batches = (8, 64) if quick else (8, 64, 256)
    sums = [seconds(_spectral(*regression(batch), 4 if quick else 40)) for batch in batches]
    _line("2D, least squares of 442 samples, in B", batches, sums)
    verdicts.append(Verdict.at_most("2D diabetes, η = .1, 40 steps, any B: at most 3 s", max(sums), 3.0, "s"))
    steps = 2 if quick else 10
    cubes = []
    rates = (0.2, 0.02) if quick else (0.2, 0.05, 0.01, 0.001)
    problems = [(f"η = {rate}", *solid(rate)) for rate in rates]
    problems += [(f"η = {rate}, noise in other axes", *solid(rate, turned=True)) for rate in rates[:2]]
    problems += [] if quick else [("η = 0.1, 442 samples", *regression(8, (2, 3, 8)))]
    for name, equation, start in problems:
        going = SpectralRun(Problem.of(equation, start, np.array([steps + 1])), None)
        began = time.perf_counter()
        going.advance(1)
        first, began = time.perf_counter() - began, time.perf_counter()
        going.advance(steps)
        cubes.append((time.perf_counter() - began) / steps)
        cells = going.box.cells if going.box else ()
        print(f"  3D, {name}: {cubes[-1]:.3g} s a step on {cells}, the first {first:.3g} s", flush=True)
    sums = cubes[len(rates) + 2 :]
    verdicts.append(
        Verdict.at_most("3D, Γ > 0, η from .001 to .2: at most .1 s a step", max(cubes[: len(rates) + 2]), 0.1, "s")
    )
    if sums:
        verdicts.append(Verdict.at_most("3D, 442 samples, η = .1: at most .3 s a step", sums[0], 0.3, "s"))
    return verdicts


def moments(*, quick: bool) -> list[Verdict]:
    """Time exact moments in many dimensions."""
    print("\nMoments")
    rng, sizes = np.random.default_rng(0), (50, 100) if quick else (112, 225, 450)
    tables, squares, settled = [], [], []
    for d in sizes:
        h = np.diag(1 / np.arange(1.0, d + 1))
        noisy = dfp.GaussianNoise(0.1 * np.ones(d), np.full((d, d), 0.1 / d))
        equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(h, noise=noisy), 0.1))
        start = dfp.Gaussian(np.ones(d), 0.1 * np.ones(d))
        tables.append(seconds(lambda e=equation, s=start: dfp.moments(e, s, 1000, [1000])))  # type: ignore[misc]
        x = rng.standard_normal((2000, d)) / np.sqrt(np.arange(1, d + 1))
        landscape = dfp.QuadraticLandscape.from_regression(x, x.sum(axis=1) + rng.standard_normal(2000), 8)
        equation = dfp.MasterEquation(dfp.SGD(landscape, 0.05))
        squares.append(seconds(lambda e=equation, s=start: dfp.moments(e, s, 20, [20])))  # type: ignore[misc]
        settled.append(seconds(lambda e=equation: dfp.stationary_moments(e)))  # type: ignore[misc]
    _line("table noise, 1000 steps, in d", sizes, tables)
    _line("least squares, N = 2000, 20 steps, in d", sizes, squares)
    _line("least squares, stationary, in d", sizes, settled)
    features = dfp.GaussianFeatures(1 / np.arange(1.0, 10**6 + 1) ** 1.5, 0.1, 8)
    count = 100 if quick else 10_000
    streaming = seconds(lambda: dfp.risk_curve(dfp.SGD(features, 0.3), 1.0, count, [count]))
    return [
        Verdict.at_most(f"stationary second moments, d = {sizes[-2]}: at most 10 s", settled[-2], 10.0, "s"),
        Verdict.at_most("GaussianFeatures, d = 10⁶, 10⁴ steps: at most 5 s", streaming, 5.0, "s"),
    ]


def series(*, quick: bool) -> list[Verdict]:
    """Time Hermite series in their degree, in two dimensions; their K ~ D² coefficients have K² ~ D⁴ weights a step."""
    print("\nHermite, 2D: Γ > 0, η = .02, 100 steps, and 442 samples, B = 8, η = .1, 10 steps")
    (equation, start), sums = plane(0.02), regression(8)
    degrees, worst = (8, 12) if quick else (12, 16, 24, 32, 40), 0.0
    others = [(each(equation.sgd), start, 100) for each in (dfp.DiscreteFokkerPlanck, dfp.ModifiedLangevin)]
    for each, begin, steps in ((equation, start, 100), *others, (*sums, 10)):
        times = [
            seconds(lambda e=each, s=begin, m=steps, n=n: HermiteRun(dfp.Hermite(n), e, s).advance(m), 3)  # type: ignore[misc]
            for n in degrees
        ]
        _line(f"{each.label}{', samples' * (steps == 10)}, in the degree", degrees, times)
        worst = max(worst, exponents([degrees[0], degrees[-1]], [times[0], times[-1]])[0])
    return [Verdict.at_most("Hermite, 2D: the exponent in the degree is at most 4", worst, 4.0, "")]


def fourier(*, quick: bool) -> list[Verdict]:
    """Time the closed characteristic function of a finite sum."""
    print("\nFourier, finite sum of samples with one Hessian, 2D, 80 steps")
    rng, counts, times = np.random.default_rng(3), (100, 200) if quick else (110, 442, 1768), []
    for count in counts:
        hessians = np.broadcast_to([[1.0, 0.2], [0.2, 0.5]], (count, 2, 2))
        landscape = dfp.QuadraticLandscape.from_samples(hessians, rng.exponential(1.0, (count, 2)) - 1, 8)
        equation, grid = dfp.MasterEquation(dfp.SGD(landscape, 0.05)), dfp.Grid([-2, -2], [2, 2], 128)
        start = dfp.Gaussian([0.0, 0.0], 0.1)
        times.append(seconds(lambda e=equation, g=grid, s=start: dfp.solve(e, s, 80, [80], dfp.Fourier(), g)))  # type: ignore[misc]
    _line("in the number of samples", counts, times)
    return []


def reach(*, quick: bool) -> list[Verdict]:
    """Time densities along a direction, best schedules and RMSProp."""
    print("\nReach")
    rng, times = np.random.default_rng(1), []
    sizes = (1000, 2000) if quick else (2500, 5000, 10_000)
    for d in sizes:
        gradients, u = rng.exponential(size=(1000, d)), rng.standard_normal(d) / d**0.5
        landscape = dfp.QuadraticLandscape.from_samples(np.linspace(0.1, 1, d), gradients, 8)
        equation, start = dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Point(np.zeros(d))
        times.append(seconds(lambda e=equation, s=start, u=u: dfp.solve(e, s, 60, directions=u), 3))  # type: ignore[misc]
    _line("one direction, 1000 samples, 60 steps, in d", sizes, times)
    lengths, schedules = (100, 200) if quick else (250, 500, 1000), []
    for batch in (1, 4, 8):
        features = dfp.GaussianFeatures(1 / np.arange(1.0, 201) ** 1.2, 0.25, batch)
        taken = [seconds(lambda f=features, n=n: dfp.optimal_schedule(f, n, 1.0), 3) for n in lengths]  # type: ignore[misc]
        _line(f"best schedule, d = 200, B = {batch}, in its length", lengths, taken)
        schedules.append(taken[-1])
    bowl = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0]))
    adaptive = seconds(lambda: dfp.RMSProp(bowl, 0.05, 0.9).stationary())
    return [
        Verdict.at_most("one direction of d = 10⁴, 1000 samples, 60 steps: at most 1 s", times[-1], 1.0, "s"),
        Verdict.at_most("best schedule, d = 200, 1000 steps, any B: at most .1 s", max(schedules), 0.1, "s"),
        Verdict.at_most("RMSProp's stationary law: at most 5 s", adaptive, 5.0, "s"),
    ]


def sampling(*, quick: bool) -> list[Verdict]:
    """Time sampled trajectories in the number of parameters."""
    print("\nMonte Carlo, 4096 trajectories")
    rng, times, many = np.random.default_rng(1), [], [10, 50] if quick else [10, 50, 200]
    for d in many:
        x = rng.standard_normal((2000, d)) / np.sqrt(np.arange(1, d + 1))
        landscape = dfp.QuadraticLandscape.from_regression(x, x.sum(axis=1) + rng.standard_normal(2000), 8)
        times.append(seconds(_sampled(landscape, 0.05, 50)))
    _line("least squares, N = 2000, B = 8, 50 steps, in d", many, times)
    few, times = [4, 8] if quick else [4, 8, 16, 32], []
    for d in few:
        noisy = dfp.GaussianNoise(np.ones(d), np.full((d, d), 0.1 / d))
        times.append(seconds(_sampled(dfp.QuadraticLandscape(np.linspace(0.2, 1, d), noise=noisy), 0.1, 200)))
    _line("table noise, 200 steps, in d", few, times)
    return []


def _sampled(landscape: dfp.QuadraticLandscape, rate: float, steps: int) -> Timed:
    equation, start = dfp.MasterEquation(dfp.SGD(landscape, rate)), dfp.Gaussian(np.ones(landscape.dimension), 0.1)
    return lambda: dfp.solve(equation, start, steps, [steps], dfp.MonteCarlo(4096))


def exits(*, quick: bool) -> list[Verdict]:
    """Time first passages out of boxes of three deviations, and densities on a line at one slow time."""
    print("\nFirst passage, and Transfer on a line")
    rates = (0.01, 0.003) if quick else (0.01, 0.003, 0.001, 0.0003)
    line = [_mode(rate) for rate in rates]
    times = [seconds(lambda e=e, s=s: dfp.exit_steps(e, (-3 * s, 3 * s), dfp.Point(0.0))) for e, s in line]  # type: ignore[misc]
    _line("exit_steps, 1D, in 1/η", [1 / rate for rate in rates], times)
    verdicts = [Verdict.at_most(f"exit_steps, 1D, η = {rates[-1]}: at most .3 s", times[-1], 0.3, "s")]
    planes = (0.2, 0.1) if quick else (0.2, 0.1, 0.05)
    cells = []
    for rate in planes:
        equation, settled = plane(rate)
        reach = 3 * np.sqrt(np.diag(settled.covariance / 0.75))
        middle = dfp.Point([0.0, 0.0])
        cells.append(seconds(lambda e=equation, r=reach, s=middle: dfp.exit_steps(e, (-r, r), s)))  # type: ignore[misc]
    _line("exit_steps, 2D, in 1/η", [1 / rate for rate in planes], cells)
    verdicts.append(Verdict.at_most(f"exit_steps, 2D, η = {planes[-1]}: at most 5 s", cells[-1], 5.0, "s"))
    rates = (0.1, 0.03) if quick else (0.1, 0.03, 0.01, 0.003)
    times = []
    for rate in rates:
        equation, deviation = _mode(rate)
        start, steps = dfp.Gaussian(deviation, deviation**2 / 2), round(3 / rate)
        times.append(seconds(lambda e=equation, n=steps, s=start: dfp.solve(e, s, n, [n], dfp.Transfer())))  # type: ignore[misc]
    _line("Transfer, 1D, fixed slow time, in 1/η", [1 / rate for rate in rates], times)
    verdicts.append(
        Verdict.at_most("1D, Γ > 0, fixed slow time: grows at most 40× from η = .1", times[-1] / times[0], 40, "×")
    )
    return verdicts


def grids(*, quick: bool) -> list[Verdict]:
    """Time (T5) on grids at one slow time: as many steps as 1/η, on no more cells than the density takes."""
    print("\n(T5) on grids, fixed slow time, in 1/η")
    verdicts = []
    for d, scheme, rates, most in (
        (1, "second", (0.1, 0.03, 0.01, 0.003), 40.0),
        (1, "spectral", (0.05, 0.03, 0.01, 0.003), 40.0),
        (2, "spectral", (0.02, 0.01, 0.005, 0.0025), 8.0),
    ):
        times = []
        for rate in rates[:2] if quick else rates:
            equation, reached = (_mode if d == 1 else plane)(rate)
            start = dfp.Gaussian(reached, reached**2 / 2) if isinstance(reached, float) else reached
            truncated, steps = dfp.DiscreteFokkerPlanck(equation.sgd), round(3 / rate)
            solver = dfp.FiniteDifference(scheme, tolerance=0.5)
            times.append(seconds(lambda e=truncated, s=start, n=steps, w=solver: dfp.solve(e, s, n, [n], w), 3))  # type: ignore[misc]
        _line(f"{d}D, {scheme}", [1 / rate for rate in rates[: len(times)]], times)
        goal = f"(T5), {d}D, {scheme}: grows at most {most:.0f}× from η = {rates[0]} to {rates[-1]}"
        verdicts.append(Verdict.at_most(goal, times[-1] / times[0], most, "×"))
    return verdicts


def _mode(rate: float) -> tuple[dfp.MasterEquation, float]:
    """Return one mode with multiplicative noise, and its stationary deviation."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.8])), rate)
    equation = dfp.MasterEquation(sgd)
    return equation, float(np.sqrt(dfp.stationary_moments(equation).covariance.item()))


def growth(*, quick: bool) -> list[Verdict]:
    """Print times and exponents of all of these, and return the verdicts."""
    parts = (spectral, moments, series, fourier, sampling, exits, grids, reach)
    return [verdict for part in parts for verdict in part(quick=quick)]
