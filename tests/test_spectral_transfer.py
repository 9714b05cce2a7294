"""Spectral transfer (T22): against exact moments, the resolved lattice, closed forms, samples, and what must fail."""

import numpy as np
import pytest
from dfp_solvers import fourier
from dfp_solvers.transfer import cross, spectral, split
from numpy.typing import NDArray
from scipy import stats

import dfp
from dfp.methods.moment_recursion import HigherMoments
from dfp.methods.solver import Problem
from dfp.methods.transfer.spectral import SpectralRun
from dfp.methods.transfer.uniform import UniformRun
from dfp.solving.choice import pick
from validation.benchmarks import growth

Array = NDArray[np.float64]
RUNS = 400_000
TURNED = np.array([[0.8, 0.2], [0.2, 0.6]])
FLUCTUATING = dfp.GaussianNoise([[1.0, 0.3], [0.3, 0.5]], [[0.3, 0.1], [0.2, 0.4]])


def data(count: int = 60) -> tuple[Array, Array]:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((count, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    return x, x @ [0.5, -0.3] + rng.exponential(1.0, count) - 1


def ran(equation: dfp.MasterEquation, start: dfp.Gaussian | dfp.Point | dfp.Density, steps: int) -> SpectralRun:
    run = SpectralRun(Problem.of(equation, start, np.array([steps])), None)
    run.advance(steps)
    return run


def worst(run: SpectralRun, equation: dfp.MasterEquation, start: dfp.Gaussian | dfp.Point, order: int) -> float:
    """Return the largest error of central moments of ``order`` on the reported grid, in deviations."""
    exact = HigherMoments(equation, start)
    exact.advance(run.step)
    frame = exact.frame()
    moments = {3: frame.third, 4: frame.fourth}[order]
    points = run.grid.points.reshape(-1, run.grid.dimension)
    mass = run.frame().density.ravel() * run.grid.cell_volume
    apart = (points - mass @ points) / np.sqrt(np.diag(frame.covariance))
    letters = "ijkl"[:order]
    found = np.einsum("n," + ",".join("n" + c for c in letters) + "->" + letters, mass, *[apart] * order, optimize=True)
    scale = np.sqrt(np.diag(frame.covariance))
    return (
        float(np.max(np.abs(found - moments / np.multiply.outer(scale, np.multiply.outer(scale, scale)))))
        if order == 3
        else float(np.max(np.abs(found - moments / np.einsum("i,j,k,l->ijkl", *[scale] * 4))))
    )


@pytest.mark.parametrize(
    ("start", "tolerance"),
    [
        (dfp.Gaussian([0.1, 0.0], [[0.02, 0.004], [0.004, 0.02]]), 2e-9),  # about as wide as the end
        (dfp.Gaussian([0.5, -0.5], [[0.0005, 0], [0, 0.001]]), 1e-7),  # narrower, and it moves
        (dfp.Gaussian([0.0, 0.3], [[0.3, 0.1], [0.1, 0.2]]), 1e-7),  # wider
        (dfp.Point([0.4, 0.2]), 1e-7),
    ],
)
def test_moments_are_exact_wherever_a_small_step_starts(start: dfp.Gaussian | dfp.Point, tolerance: float) -> None:
    """Kernels are a quarter of the nodes' spacing at η = .03; beyond 8 deviations lie some 1e-9 of fourth moments."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), 0.03))
    run = ran(equation, start, 25)
    assert worst(run, equation, start, 3) < tolerance
    assert worst(run, equation, start, 4) < 10 * tolerance


@pytest.mark.parametrize("batch_size", [8, 200])
def test_finite_sums_of_any_batch_size_are_exact_and_without_the_power_they_are_not(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    landscape = dfp.QuadraticLandscape.from_regression(*data(), batch_size=batch_size)
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1))
    settled = dfp.stationary_moments(equation)
    start = dfp.Gaussian(settled.mean, settled.covariance)
    # the tolerance of the series
    assert worst(ran(equation, start, 12), equation, start, 3) < 1e-8
    whole = spectral.finite_sum
    monkeypatch.setattr(
        spectral, "finite_sum", lambda theta, a, b, batch, shape: whole(theta, a, b, max(batch // 2, 1), shape)
    )
    assert worst(ran(equation, start, 12), equation, start, 3) > 1e-3


def test_samples_fall_into_cells_as_the_density_says() -> None:
    """400 000 runs; χ² beyond 6 deviations: a false alarm rate below 1e-6. A Gaussian of the same moments fails."""
    landscape = dfp.QuadraticLandscape.from_regression(*data(), batch_size=4)
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.2))
    start = dfp.Gaussian([0.5, -0.3], 0.2)
    steps = 6
    solution = dfp.solve(equation, start, steps, save=[steps], solver=dfp.Transfer())
    sampled = dfp.solve(equation, start, steps, save=[steps], solver=dfp.MonteCarlo(RUNS, seed=3))
    lower, upper, cells = sampled.grid.lower, sampled.grid.upper, sampled.grid.cells
    axes = [a + (np.arange(8 * n) + 0.5) * (b - a) / (8 * n) for a, b, n in zip(lower, upper, cells, strict=True)]
    fine = dfp.Grid(lower, upper, tuple(8 * n for n in cells))
    run = ran(equation, start, steps)
    values = spectral.density(run.box, spectral.waves_of(run.box, run.mass), axes) * fine.cell_volume
    expected = values.reshape(cells[0], 8, cells[1], 8).sum(axis=(1, 3))
    counts = sampled.density[0] * sampled.grid.cell_volume * RUNS
    held = expected * RUNS > 25
    excess = np.sum((counts[held] - expected[held] * RUNS) ** 2 / (expected[held] * RUNS))
    assert abs(excess - held.sum()) < 6 * (2 * held.sum()) ** 0.5
    assert solution.certificate.error.max() < 1e-2
    frozen = stats.multivariate_normal(solution.mean[0], solution.covariance[0]).pdf(sampled.grid.points)
    gaussian = frozen * sampled.grid.cell_volume * RUNS
    assert np.sum((counts[held] - gaussian[held]) ** 2 / gaussian[held]) > 2 * held.sum()


def test_it_is_the_resolved_lattice_where_kernels_are_wide() -> None:
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), 0.2))
    start, grid = dfp.Gaussian([0.2, 0.1], 0.1), dfp.Grid([-4.5, -4.5], [4.5, 4.5], (128, 128))
    problem = Problem.of(equation, start, np.array([6]))
    frames = []
    for kind in (SpectralRun, UniformRun):
        run = kind(problem, grid)
        run.advance(6)
        frames.append(run.frame())
    apart = float(np.abs(frames[0].density - frames[1].density).sum()) * grid.cell_volume
    # The lattice loses what is beyond 4.5; both say so.
    assert apart < 3 * (frames[0].truncation + frames[1].truncation) + 1e-9
    assert apart < 1e-5


def test_additive_noise_of_any_law_agrees_with_its_closed_characteristic_function() -> None:
    noise = dfp.AdditiveNoise([stats.skewnorm(4), stats.norm(0, 0.7)], basis="eigen")
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=noise), 0.2))
    start = dfp.Gaussian([0.2, 0.1], 0.1)
    run = ran(equation, start, 10)
    closed = dfp.solve(equation, start, 10, save=[10], solver=dfp.Fourier(), grid=run.grid)
    apart = np.abs(run.frame().density - closed.density[0])
    assert np.max(apart) < 1e-8 * np.max(closed.density)


def test_streaming_features_have_a_density_too() -> None:
    """Means and covariances are those of (T14)."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.GaussianFeatures([1.0, 0.5], 0.5, 8, optimum=[0.3, -0.2]), 0.1))
    start = dfp.Gaussian([0.3, -0.2], 0.02)
    frame, exact = ran(equation, start, 2).frame(), dfp.moments(equation, start, 2, save=[2])
    # the tolerance of the series
    assert frame.mean == pytest.approx(exact.mean[0], abs=1e-8)
    assert frame.covariance == pytest.approx(exact.covariance[0], abs=1e-8)


@pytest.mark.parametrize("start", [dfp.Gaussian([0.1, 0, -0.2], 0.02), dfp.Point([0.1, 0, -0.2])])
def test_three_dimensions_have_exact_moments_at_small_steps(start: dfp.Gaussian | dfp.Point) -> None:
    """Tails beyond 7 deviations and the split bound fourth moments by some 1e-7."""
    table = [[0.3, 0.1, 0.1], [0.1, 0.2, 0.05], [0.1, 0.1, 0.15]]
    noise = dfp.GaussianNoise([[1, 0.2, 0.1], [0.2, 0.6, 0.1], [0.1, 0.1, 0.4]], table)
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.6, 0.3], noise=noise), 0.02))
    run = ran(equation, start, 4)
    assert worst(run, equation, start, 3) < 1e-7
    assert worst(run, equation, start, 4) < 3e-7


def test_the_split_step_is_the_sum_over_all_places_and_no_term_of_it_can_go() -> None:
    rng = np.random.default_rng(2)
    box = spectral.Box(np.zeros(3), np.eye(3), np.full(3, -4.0), np.full(3, 8 / 9), (9, 9, 9))
    mass, table = rng.random((9, 9, 9)), rng.random((3, 3)) * 0.05
    waves = np.stack(np.meshgrid(*box.waves, indexing="ij"), axis=-1)
    slope, places = np.array([0.9, 0.8, -0.3]), box.places
    step = split.split(
        np.ones(waves.shape[:-1]),
        box.waves,
        [a * u for a, u in zip(slope, box.lattice, strict=True)],
        box.lattice,
        table,
        [np.ones(9)] * 3,
        1e-13,
    )
    spread = np.einsum("...i,ij,nj->n...", waves**2, table, places**2)
    direct = np.einsum(
        "n,n...->...", mass.ravel(), np.exp(1j * np.tensordot(places * slope, waves, (1, 3)) - spread / 2)
    )
    scale = float(mass.sum())
    assert np.max(np.abs(split.spectrum(mass, step) - direct)) < 1e-11 * scale
    fewer = step._replace(last=(step.last[0][:-3], step.last[1][:-3]))
    assert np.max(np.abs(split.spectrum(mass, fewer) - direct)) > 1e-9 * scale


TILTED = np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2 + np.eye(3))[0]
SOLID = (TILTED * [1.0, 0.6, 0.3]) @ TILTED.T


@pytest.mark.parametrize(("learning_rate", "symmetric"), [(0.02, False), (0.1, True)])
def test_tables_in_other_axes_than_the_mean_have_exact_moments(learning_rate: float, symmetric: bool) -> None:
    """Tails beyond 7 deviations bound fourth moments by some 1e-7; with a table of the mean's own axes they are off."""
    gradient = [[1, 0.2, 0.1], [0.2, 0.6, 0.1], [0.1, 0.1, 0.4]]
    table = np.array([[0.15, 0.05, 0.05], [0.05, 0.1, 0.03], [0.05, 0.03, 0.07]])
    law = dfp.GaussianNoise(gradient, table, symmetric=symmetric)
    equation, turned = (
        dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(SOLID, noise=noise), learning_rate))
        for noise in (law, dfp.GaussianNoise(gradient, table, basis="eigen"))
    )
    settled = dfp.stationary_moments(equation)
    start = dfp.Gaussian(settled.mean, 0.8 * settled.covariance)
    run = ran(equation, start, 4)
    assert isinstance(run._sum, cross.Cross)
    assert worst(run, equation, start, 3) < 1e-7
    assert worst(run, equation, start, 4) < 1e-7
    assert worst(run, turned, start, 4) > 1e-4


def test_what_sums_of_products_lack_is_in_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a sum a thirtieth as wrong in double precision; the control, which does not count it, says too little."""
    equation, start = growth.solid(0.02, turned=True)
    monkeypatch.setattr("dfp.methods.transfer.solid.SPLIT", {True: 1e-9, False: 1e-9})  # far more than boxes leave out
    run = ran(equation, start, 40)
    bound = 3 * run.frame().truncation
    monkeypatch.setattr(SpectralRun, "_lacking", 0.0)
    uncounted = run.frame().truncation
    monkeypatch.setattr("dfp.methods.transfer.solid.SPLIT", {True: 3e-11, False: 3e-11})
    monkeypatch.setattr(cross, "_SMALL", 3e3)
    error = float(np.abs(run.mass - ran(equation, start, 40).mass).sum())
    assert uncounted < error < bound


def test_finite_sums_in_three_dimensions_are_exact_and_without_the_power_they_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((24, 3)) @ np.diag([1.0, 0.8, 0.6])
    y = x @ [0.5, -0.3, 0.2] + rng.exponential(1.0, 24) - 1
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape.from_regression(x, y, batch_size=8), 0.02))
    settled = dfp.stationary_moments(equation)
    start = dfp.Gaussian(settled.mean, settled.covariance)
    # the tolerance of the series, a few steps long
    assert worst(ran(equation, start, 3), equation, start, 3) < 1e-7
    whole = fourier.power
    monkeypatch.setattr(fourier, "power", lambda base, exponent: whole(base, exponent // 2))
    assert worst(ran(equation, start, 3), equation, start, 3) > 1e-4


def test_waves_and_places_come_apart_by_crosses_and_no_term_can_go() -> None:
    rng = np.random.default_rng(3)
    k, x = rng.random((400, 2)), rng.random((300, 2))
    matrix = np.exp(-np.einsum("mi,ni,mj,nj->mn", k, x, k, x) + 1j * (k**2) @ (x**3).T)
    weight = rng.random(300)
    parts = cross.separated(lambda n: matrix.T[n], lambda m: matrix[m], weight, 1e-10, 100)
    assert [alpha.dtype for alpha, _ in parts] == [np.complex128, np.complex64]
    alpha, beta = (np.concatenate(both) for both in zip(*parts, strict=True))
    # those that were not drawn may be off by a little more
    assert np.max(np.abs(alpha.T @ beta - matrix) * weight) < 3e-10
    assert np.max(np.abs(alpha[1:].T @ beta[1:] - matrix) * weight) > 1e-3
    with pytest.raises(cross.TooLongError):
        cross.separated(lambda n: matrix.T[n], lambda m: matrix[m], weight, 1e-10, len(alpha) - 1)


def test_what_couples_more_than_memory_holds_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfp.methods.transfer.solid._MOST_BYTES", 1e6)
    noise = dfp.GaussianNoise(np.eye(3), [[0.3, 0.1, 0], [0, 0.3, 0.1], [0.1, 0, 0.3]])
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(SOLID, noise=noise), 0.05))
    with pytest.raises(dfp.UnresolvedError, match=r"more than [0-9]+ products on [0-9]+ nodes"):
        ran(equation, dfp.Gaussian([0.0, 0.1, 0.0], 0.05), 2)


def test_finite_sum_kernel_is_its_twin() -> None:
    rng = np.random.default_rng(5)
    places, slopes, shifts = rng.random((3, 2)), rng.random((7, 2, 2)), rng.random((7, 2))
    got = spectral.finite_sum(places, slopes, shifts, 5, (9, 4))
    first, second = np.fft.fftfreq(9, 1 / 9), np.arange(4)
    angles = np.einsum("iab,nb->nia", slopes, places) + shifts
    twin = np.exp(1j * (first[:, None, None, None] * angles[..., 0] + second[:, None, None] * angles[..., 1]))
    # rounding
    assert got == pytest.approx(np.moveaxis(twin.mean(axis=3) ** 5, 2, 0), abs=1e-13)


def test_one_factorisation_gives_the_stationary_law() -> None:
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), 0.05))
    settled = dfp.stationary_moments(equation)
    root = np.linalg.cholesky(settled.covariance)
    box = spectral.Box(settled.mean, root, np.full(2, -8.0), np.full(2, 16 / 31), (31, 31))
    run = ran(equation, dfp.Gaussian(settled.mean, settled.covariance), 1)
    matrix = spectral.transition(box, box.places, run._characteristic, spectral.resolved(box, box, run._slope))
    mass = spectral.Settled(matrix).law
    # rounding
    assert mass @ matrix == pytest.approx(mass, abs=1e-14)
    apart = box.places - settled.mean
    # 31 nodes leave 1e-6 of such tails outside.
    assert (apart * mass[:, None]).T @ apart == pytest.approx(settled.covariance, rel=1e-5)


def test_stationary_laws_come_from_one_factorisation() -> None:
    """In few cells of a wide grid, against exact second moments and a late step; of another noise they must differ."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), 0.03))
    settled = dfp.stationary_moments(equation)
    law = dfp.stationary(equation, dfp.Grid([-2, -2], [2, 2], (96, 96)), dfp.Transfer())
    # What the widest boxes leave out of the tails.
    assert 0 < law.error < 1e-7
    # What the widest boxes and the grid leave out of the tails.
    assert law.covariance == pytest.approx(settled.covariance, abs=1e-7)
    late = dfp.solve(equation, dfp.Gaussian(settled.mean, settled.covariance), 400, [400], dfp.Transfer(), law.grid)
    assert float(np.abs(late.density[0] - law.values).sum()) * law.grid.cell_volume < 3 * law.error + 1e-10
    louder = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), 0.0301))
    other = dfp.stationary(louder, law.grid, dfp.Transfer())
    assert float(np.abs(other.values - law.values).sum()) * law.grid.cell_volume > 1e-4


@pytest.mark.parametrize("rate", [0.01, 0.06])
def test_relaxation_from_the_same_factorisation_has_the_exact_rates(rate: float) -> None:
    """Errors bound what is off from the moments' eigenvalues; rates of another landscape are far outside of them."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), rate))
    exact, narrow = dfp.spectrum(equation, 6).eigenvalues, dfp.Grid([-0.1, -0.1], [0.1, 0.1], (16, 16))
    found = dfp.spectrum(equation, 6, narrow)
    off = np.abs(found.eigenvalues - exact)
    # the sixth is a moment of order three, and of power-law tails
    assert np.all(off <= found.error)
    assert np.all(found.error < (1e-7 if rate < 0.05 else 1e-5))
    louder = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), 1.1 * rate))
    assert np.all(np.abs(dfp.spectrum(louder, 6).eigenvalues - found.eigenvalues) > found.error)


@pytest.mark.parametrize("rates", [(0.05, 0.08), (1.6, 0.7)])
def test_relaxation_under_additive_noise_is_that_of_products_of_multipliers(rates: tuple[float, float]) -> None:
    """The modes of (1−ηλ_1)^a (1−ηλ_2)^b, alternating ones too, are products of Hermite functions."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(rates, noise=dfp.GaussianNoise([0.5, 0.8])), 1.0))
    a, b = np.indices((12, 12)).reshape(2, -1)[:, 1:]
    products = (1 - rates[0]) ** a * (1 - rates[1]) ** b
    law = dfp.stationary(equation)
    found = dfp.spectrum(equation, 5, law.grid)
    slowest = products[np.argsort(-np.abs(products))][:5]
    assert np.all(np.abs(np.abs(found.eigenvalues) - np.abs(slowest)) <= found.error)
    assert np.all(found.error < 1e-6)  # of a mode of degree four
    first = law.values * law.grid.points[..., int(np.argmax(np.abs(1 - np.array(rates))))]
    # what the coarsest waves of the box leave
    assert np.max(np.abs(np.abs(found.modes[0]) - np.abs(first) / np.max(np.abs(first)))) < 1e-9


NOISES = {
    "a table": dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING),
    "few minibatches": dfp.QuadraticLandscape.from_regression(*data(), batch_size=2),
    "a table in space": dfp.QuadraticLandscape(
        np.diag([0.8, 0.6, 0.4]), noise=dfp.GaussianNoise(np.eye(3), np.full((3, 3), 0.3))
    ),
}


@pytest.mark.parametrize("landscape", NOISES.values(), ids=NOISES)
def test_certificates_are_within_a_factor_of_truth(
    landscape: dfp.QuadraticLandscape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a box of twice as many nodes an axis; what tails and last waves hold alone says too much."""
    equation, steps = dfp.MasterEquation(dfp.SGD(landscape, 0.1)), 4
    moments = dfp.stationary_moments(equation)
    start = dfp.Gaussian(moments.mean + 0.1, moments.covariance)
    problem = Problem.of(equation, start, np.array([steps]))
    run = ran(equation, start, steps)
    truth = SpectralRun(problem, run.grid, 1.2)
    truth.advance(steps)
    frame, exact = run.frame(), truth.values(list(run.grid.axes))
    error = float(np.abs(frame.density - exact).sum()) * run.grid.cell_volume
    assert error > 1e-11  # not rounding
    assert error < 3 * frame.truncation < 3 * error
    monkeypatch.setattr("dfp.methods.transfer.spectral._MEASURED", np.inf)
    assert run.frame().truncation > 1.5 * frame.truncation


@pytest.mark.parametrize("noise", ["a table", "few minibatches"])
def test_twins_tell_the_same_after_an_interruption_and_none_is_made_for_rounding(noise: str) -> None:
    equation = dfp.MasterEquation(dfp.SGD(NOISES[noise], 0.1))
    problem = Problem.of(equation, dfp.Gaussian([0.1, 0.0], 0.05), np.array([2, 5, 9]))
    whole, first = SpectralRun(problem, None), SpectralRun(problem, None)
    for gap in (2, 3, 4):
        whole.advance(gap)
        told = whole.frame().truncation
    for gap in (2, 3):
        first.advance(gap)
    state = first.state()
    assert state is not None
    resumed = SpectralRun(problem, None)
    resumed.resume(state)
    resumed.advance(4)
    assert resumed.frame().truncation == told
    additive = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=dfp.GaussianNoise(np.eye(2))), 0.1))
    run = ran(additive, dfp.Gaussian([0.1, 0.0], 0.05), 3)
    # rounding
    assert run.frame().truncation < 1e-12
    assert run._twins._found is None


def test_where_a_twin_is_refused_tails_and_last_waves_are_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), 0.1))
    run = ran(equation, dfp.Gaussian([0.1, 0.0], 0.05), 10)

    def refused(factor: float) -> SpectralRun:
        raise dfp.UnresolvedError("no density to speak of")

    monkeypatch.setattr(run._twins, "_make", refused)
    # with what sums over places and waves leave
    assert run.frame().truncation == pytest.approx(2.5 * sum(run.estimated()), rel=1e-2)


def test_starts_narrow_beside_the_end_keep_exact_moments_through_unresolved_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundredth of the end: the first steps have details that no box holds, whose ripples must not go on."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape.from_regression(*data(), batch_size=8), 0.1))
    settled = dfp.stationary_moments(equation)
    start = dfp.Gaussian(settled.mean, 1e-4 * settled.covariance)
    third = _third_of_nodes(ran(equation, start, 6), equation, start)
    # ripples below which nothing is smoothed
    assert third < 1e-7
    monkeypatch.setattr(spectral, "smoothed", lambda box, mass: mass)
    assert _third_of_nodes(ran(equation, start, 6), equation, start) > 300 * third


def _third_of_nodes(run: SpectralRun, equation: dfp.MasterEquation, start: dfp.Gaussian) -> float:
    exact = HigherMoments(equation, start, 3)
    exact.advance(run.step)
    frame, apart = exact.frame(), run.places - run.mass @ run.places
    found = np.einsum("n,ni,nj,nk->ijk", run.mass, apart, apart, apart, optimize=True)
    return float(np.max(np.abs(found - frame.third))) / float(np.max(np.diag(frame.covariance))) ** 1.5


def test_power_law_tails_are_missed_by_no_more_than_is_said() -> None:
    """κ = 5: the marginal of the plane against the line, whose nodes follow tails to 1e-15; a hundredth must fail."""
    table = np.diag([2.6, 1.3])
    noise = dfp.GaussianNoise([[1.0, 0.3], [0.3, 0.6]], table)
    plane = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.8], noise=noise), 0.2))
    line = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [2.6])), 0.2))
    assert 4.5 < dfp.modes(line.sgd)[0].tail_index < 5.5
    start = dfp.Gaussian([0.0, 0.0], [0.2, 0.2])
    found = dfp.solve(plane, start, 12, [12], dfp.Transfer())
    axis = dfp.Grid(found.grid.lower[0], found.grid.upper[0], found.grid.cells[0])
    exact = dfp.solve(line, dfp.Gaussian(0.0, 0.2), 12, [12], dfp.Transfer(), axis)
    marginal = found.density[0].sum(axis=1) * found.grid.spacing[1]
    off = float(np.abs(marginal - exact.density[0]).sum()) * axis.cell_volume + exact.certificate.mass_outside[0]
    assert found.certificate.error[0] / 100 < off < found.certificate.error[0]
    assert any("mass lies outside the grid" in warning for warning in found.certificate.warnings)


def test_what_cannot_be_resolved_is_refused_with_the_cause() -> None:
    few = dfp.QuadraticLandscape.from_samples(np.eye(2)[None] * [[[0.2]], [[1.5]]], [[1.0, 0.5], [-1.0, -0.5]])
    equation = dfp.MasterEquation(dfp.SGD(few, 0.5))
    with pytest.raises(dfp.UnresolvedError, match=r"details|singular"):
        ran(equation, dfp.Point([0.1, 0.2]), 3)


def test_auto_takes_it_for_large_finite_sums() -> None:
    """It is tried before the series, whose error is far above its own; a Gaussian law keeps the series in front."""
    x, y = data()
    landscape = dfp.QuadraticLandscape.from_regression(x, y, batch_size=8)
    equation, start = dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Gaussian([0.5, -0.3], 0.1)
    tried = [solver.name for solver, _ in pick(Problem.of(equation, start, np.array([0, 6])))]
    assert tried[:2] == ["Transfer", "Hermite"]
    gaussian = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(TURNED, noise=FLUCTUATING), 0.01))
    assert pick(Problem.of(gaussian, start, np.array([0, 6])))[0][0].name == "Hermite"
    limit = 1e-6  # of figures without a warning
    assert dfp.solve(equation, start, 6, solver=dfp.Transfer()).certificate.error.max() < limit
    assert dfp.solve(equation, start, 6, solver=dfp.Hermite()).certificate.error.max() > limit


@pytest.mark.parametrize("shape", [(7, 4), (9, 5), (11, 4)])
def test_sums_over_samples_are_those_of_their_phases(shape: tuple[int, int]) -> None:
    """The compiled products of cosines and sines, for odd and even numbers of waves, against exponentials."""
    rng = np.random.default_rng(4)
    places, slopes, shifts = rng.standard_normal((3, 2)), rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2))
    found = spectral.finite_sum(places, slopes, shifts, 3, shape)
    counts = np.stack(np.meshgrid(np.fft.fftfreq(shape[0], 1 / shape[0]), np.arange(shape[1]), indexing="ij"), -1)
    angles = np.einsum("nij,pj->pni", slopes, places) + shifts
    expected = np.mean(np.exp(1j * np.einsum("xyi,pni->pxyn", counts, angles)), axis=-1) ** 3
    # rounding
    assert np.max(np.abs(found - expected)) < 1e-13
