"""Trajectories and densities of SGD with momentum, schedules and epochs.

Kernels meet NumPy twins; samples and densities meet exact moments and each other. Statistical checks fix their seed and
reject beyond z = 5: a correct sampler fails one with probability 6e-7.
"""

from dataclasses import replace

import numba
import numpy as np
import pytest
from dfp_solvers.trajectories import ensemble as mc
from dfp_solvers.trajectories import models as tm
from problems import one_mode, regression, rotated, table
from scipy import special, stats
from test_monte_carlo_kernels import Stream, loads
from test_optimiser_moments import finite_sum

import dfp

RNG = np.random.default_rng(11)
FEATURES, TARGETS = RNG.standard_normal((7, 2)), RNG.standard_normal(7)
GAUSSIAN = tm.GaussianModel(
    [[1.0, 0.2], [0.2, 0.5]], [0.1, -0.3], row=[0, 1, 1], column=[-1, -1, 0], normal=[0, 1, 2], value=[0.5, 0.3, 0.4],
    normals=3,
)  # fmt: skip
REGRESSION = tm.RegressionModel(0.1 * np.eye(2), np.zeros(2), FEATURES, TARGETS, -1.0, 3)
SAMPLES = tm.SampleModel(
    np.zeros((2, 2)), np.zeros(2), FEATURES[:, :, None] * FEATURES[:, None, :], FEATURES[:, ::-1], -1.0, 2
)
WIDE = np.random.default_rng(12).standard_normal((7, 5))  # of so many parameters trajectories run alone
WIDE_REGRESSION = tm.RegressionModel(0.1 * np.eye(5), np.zeros(5), WIDE, TARGETS, -1.0, 3)
WIDE_SAMPLES = tm.SampleModel(
    0.1 * np.ones((5, 5)), np.zeros(5), 0.5 * WIDE[:, :, None] * WIDE[:, None, :], WIDE[:, ::-1], -1.0, 2
)
MODELS = {
    "gaussian": GAUSSIAN, "regression": REGRESSION, "samples": SAMPLES, "wide regression": WIDE_REGRESSION,
    "wide samples": WIDE_SAMPLES,
}  # fmt: skip
START = tm.Start([0.5, -0.2], [[0.3, 0.0], [0.1, 0.2]])
RATES, SIZES = [0.3, 0.1, 0.1, 0.2, 0.05], [1, 4, 2, 3, 5]
OPTIMISERS = {
    "heavy ball": tm.Optimiser(RATES, momentum=0.8),
    "nesterov": tm.Optimiser([0.1], momentum=0.7, nesterov=True),
    "sizes": tm.Optimiser(RATES, SIZES, momentum=0.5),
    "epoch": tm.Optimiser(RATES, momentum=0.8, epoch=2),
}


def twin(model, optimiser, steps, lanes, seed=3):
    """Return θ after ``steps``, shape (2, lanes), from the definitions."""
    stream = Stream(seed, lanes)
    start = start_of(model)
    theta = np.asarray(start.mean)[:, None] + np.asarray(start.factor) @ stream.normals(2)
    velocity, left = np.zeros_like(theta), np.empty((0, lanes))
    order = np.tile(np.arange(len(TARGETS))[:, None], lanes)
    for step in range(steps):
        rate = optimiser.learning_rates[min(step, len(optimiser.learning_rates) - 1)]
        size = optimiser.sizes[min(step, len(optimiser.sizes) - 1)] if len(optimiser.sizes) else None
        gradient = np.asarray(model.linear) @ theta + np.asarray(model.constant)[:, None]
        if model is GAUSSIAN:
            if len(left) < 3:
                left = stream.normals(6)
            zeta, left = left[:3], left[3:]
            gradient = gradient + loads(model, theta, zeta / np.sqrt(size or 1))
        else:
            size = size or model.batch_size
            words = stream.words((size + 1) // 2)
            for b in range(size):
                draw = (words[b // 2] >> np.uint64(32 * (b % 2))) & np.uint64(0xFFFFFFFF)
                if optimiser.epoch:
                    place = step % optimiser.epoch * size + b
                    other = place + ((draw * np.uint64(7 - place)) >> np.uint64(32)).astype(int)
                    every = np.arange(lanes)
                    order[place], order[other, every] = order[other, every], order[place].copy()
                    index = order[place]
                else:
                    index = (draw * np.uint64(7)) >> np.uint64(32)
                gradient = gradient + sample_gradient(model, index, theta) / size
        velocity = optimiser.momentum * velocity + gradient
        theta = theta - rate * (gradient + optimiser.momentum * velocity if optimiser.nesterov else velocity)
    return theta


def start_of(model):
    d = model.dimension
    return START if d == 2 else tm.Start(np.linspace(-0.3, 0.5, d), 0.2 * np.ones((d, 2)))


def sample_gradient(model, index, theta):
    if hasattr(model, "features"):
        x = model.features[index].T
        return x * (np.sum(x * theta, axis=0) - TARGETS[index])
    return np.einsum("lij,jl->il", model.hessians[index], theta) + model.gradients[index].T


def sampled(model, optimiser, saved, trajectories, blocks=10**6):
    d, size = model.dimension, len(saved)
    powers = mc.factors(d, 2)
    sums = mc.empty(saved, powers)
    while sums.trajectories < trajectories:
        sums = mc.sample(
            model, start_of(model), saved, sums, trajectories, 3, factors=powers, centre=np.zeros((size, d)),
            scale=np.ones((size, d)), blocks=blocks, optimiser=optimiser,
        )  # fmt: skip
    return sums


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_kernels_follow_their_twins(model, optimiser):
    if model is GAUSSIAN and optimiser == "epoch":
        return
    for steps in (1, 7):
        theta = twin(model, OPTIMISERS[optimiser], steps, 200)
        first = np.array([np.prod(theta[axes[axes >= 0]], axis=0) for axes in mc.factors(len(theta), 2)]).mean(axis=1)
        found = sampled(model, OPTIMISERS[optimiser], [steps], 200).mean[0]
        # Normals err by 3e-10, and seven steps with momentum sum a few of them.
        np.testing.assert_allclose(found, first, rtol=0, atol=1e-8)


@pytest.mark.parametrize("model", [SAMPLES, WIDE_REGRESSION], ids=["samples", "wide regression"])
def test_bits_depend_on_neither_threads_nor_portions(model):
    before = numba.get_num_threads()
    try:
        results = []
        for threads, blocks in ((1, 10**6), (min(2, before), 10**6), (min(2, before), 3)):
            numba.set_num_threads(threads)
            results.append(sampled(model, OPTIMISERS["epoch"], [2, 9], 8 * mc.BLOCK + 5, blocks).total)
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_an_optimiser_that_does_not_fit_its_model_is_refused():
    for model, optimiser in (
        (GAUSSIAN, replace(OPTIMISERS["epoch"])),
        (REGRESSION, tm.Optimiser([0.1], epoch=3)),
        (REGRESSION, tm.Optimiser([0.1], [2], epoch=2)),
        (REGRESSION, tm.Optimiser([])),
    ):
        with pytest.raises(ValueError, match=r"epoch=|optimiser needs"):
            sampled(model, optimiser, [1], 1000)


def shuffled(additive, size=2, count=8):
    return dfp.QuadraticLandscape.from_samples(*finite_sum(additive, count=count), size)


SCHEDULE = np.linspace(0.2, 0.02, 25)
PROBLEMS = {
    "heavy ball": (rotated(condition=10), {"momentum": 0.8}),
    "nesterov": (table(), {"momentum": 0.8, "nesterov": True, "weight_decay": 0.2}),
    "per sample": (table(symmetric=True), {"learning_rate": SCHEDULE, "batch_size": np.arange(1, 26)}),
    "regression": (regression(), {"learning_rate": SCHEDULE, "batch_size": dfp.StepSchedule(2, 8, 2), "momentum": 0.5}),
    "epoch": (shuffled(additive=False), {"replace": False}),
    "remainder": (shuffled(additive=False), {"replace": False, "batch_size": 3, "learning_rate": SCHEDULE}),
    "momentum in epochs": (shuffled(additive=True), {"replace": False, "momentum": 0.5, "nesterov": True}),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_trajectories_have_the_exact_moments(name):
    landscape, settings = PROBLEMS[name]
    sgd = dfp.SGD(landscape, **({"learning_rate": 0.1} | settings))
    solution = dfp.solve(
        dfp.MasterEquation(sgd), dfp.Gaussian([0.5, -0.3], 0.1), 25, save=[1, 3, 25], solver=dfp.MonteCarlo(60_000, 1)
    )
    assert solution.certificate.ok, solution.certificate
    assert np.isfinite(solution.certificate.mean_error).all()
    if not sgd.replace:  # the same samples are far from the moments of sampling with replacement
        with_it = dfp.SGD(landscape, sgd.learning_rates, sgd.momentum, 0.0, True, sgd.batch_size, sgd.nesterov)
        other = dfp.moments(dfp.MasterEquation(with_it), dfp.Gaussian([0.5, -0.3], 0.1), 25, [1, 3, 25])
        score = (other.covariance - solution.covariance) / solution.errors["covariance"]
        assert np.abs(score[1]).max() > 10


def coarse_score(fine, solution, frame):
    """Return the z-score of Pearson's χ² of a histogram against a density on cells 64 times as fine."""
    grid, counts = solution.grid, solution.density[frame] * solution.grid.cell_volume * solution.trajectories
    expected = fine.density[frame].reshape(grid.cells[0], -1).sum(axis=1) * fine.grid.cell_volume
    expected = expected * solution.trajectories
    often = expected > 20
    statistic = np.sum((counts - expected)[often] ** 2 / expected[often])
    return (statistic - often.sum()) / np.sqrt(2 * often.sum())


SKEWED = dfp.QuadraticLandscape([0.8], 0.2, dfp.AdditiveNoise(stats.gamma(2.0, scale=0.4)))
DENSITIES = {
    "law": (SKEWED, {"momentum": 0.7, "nesterov": True}),
    "law schedule": (SKEWED, {"learning_rate": SCHEDULE, "momentum": 0.5, "batch_size": 2}),
    "gaussian": (one_mode(0.8, 0.3, gradient=0.2), {"momentum": 0.8, "nesterov": True}),
    "gaussian schedule": (one_mode(0.8, 0.3), {"learning_rate": SCHEDULE, "batch_size": np.arange(1, 26)}),
    "sum": (None, {"momentum": 0.6}),
    "sum schedule": (
        None,
        {"learning_rate": SCHEDULE, "momentum": 0.6, "nesterov": True, "batch_size": [1] * 9 + [3] * 16},
    ),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_by_fourier_are_those_of_the_trajectories(name):
    landscape, settings = DENSITIES[name]
    if landscape is None:  # skewed additive noise of six samples
        gradients = np.random.default_rng(5).gamma(1.0, 1.0, (6, 1))
        landscape = dfp.QuadraticLandscape.from_samples(np.ones((6, 1, 1)), gradients, 2)
    equation = dfp.MasterEquation(dfp.SGD(landscape, **({"learning_rate": 0.1} | settings)))
    start, saved = dfp.Gaussian([0.5], 0.02), [1, 2, 12, 25]
    fine = dfp.solve(equation, start, 25, save=saved, solver=dfp.Fourier(), grid=dfp.Grid(-6.0, 4.0, 64 * 200))
    assert fine.certificate.ok, fine.certificate
    drawn = dfp.MonteCarlo(100_000, 2)
    solution = dfp.solve(equation, start, 25, save=saved, solver=drawn, grid=dfp.Grid(-6.0, 4.0, 200))
    scores = [coarse_score(fine, solution, frame) for frame in range(4)]
    assert np.abs(scores).max() < 5, scores
    # Another momentum would be seen.
    wrong = dfp.SGD(landscape, **({"learning_rate": 0.1} | settings | {"momentum": 0.75}))
    other = dfp.solve(dfp.MasterEquation(wrong), start, 25, save=saved, solver=dfp.Fourier(), grid=fine.grid)
    assert coarse_score(other, solution, 3) > 20


def test_cauchy_noise_with_momentum_has_a_voigt_profile():
    """Cauchy scales add: Σ|M_s| over the responses to each step's gradient, here by hand, plus the Gaussian start."""
    rates, beta, curvature = [0.2, 0.1, 0.3, 0.1, 0.05], 0.6, 0.8
    landscape = dfp.QuadraticLandscape([curvature], 0.0, dfp.AdditiveNoise(stats.cauchy(scale=0.5)))
    equation = dfp.MasterEquation(dfp.SGD(landscape, rates, momentum=beta))
    ends = []
    for kicked in range(-1, 5):  # a unit start, then a unit gradient at each step
        theta, velocity = float(kicked < 0), 0.0
        for step, rate in enumerate(rates):
            velocity = beta * velocity + curvature * theta + float(step == kicked)
            theta -= rate * velocity
        ends.append(theta)
    solution = dfp.solve(equation, dfp.Gaussian([0.0], 0.04), 5, solver=dfp.Fourier())
    axis = solution.grid.axes[0]
    wanted = special.voigt_profile(axis, 0.2 * abs(ends[0]), 0.5 * np.abs(ends[1:]).sum())
    inside = np.abs(axis) < 20
    # What wraps around from beyond the padded box is of the size the certificate states.
    error = np.abs(solution.density[-1] - wanted)[inside].max()
    assert error < 1e-5 * wanted.max()
    sampled = dfp.solve(equation, dfp.Gaussian([0.0], 0.04), 5, solver=dfp.MonteCarlo(50_000))
    grid, counts = sampled.grid, sampled.density[-1] * sampled.grid.cell_volume * 50_000
    expected = special.voigt_profile(grid.axes[0], 0.2 * abs(ends[0]), 0.5 * np.abs(ends[1:]).sum())
    expected = expected * grid.cell_volume * 50_000
    often = expected > 20
    assert often.sum() > 20
    assert np.abs(counts - expected)[often].max() < 6 * np.sqrt(expected.max())


@pytest.mark.parametrize("form", [dfp.Langevin, dfp.ModifiedLangevin])
def test_a_diffusion_with_a_schedule_is_its_segments(form):
    rates = [0.2] * 4 + [0.05] * 6
    landscape, start = one_mode(0.8, 0.3, gradient=0.2), dfp.Gaussian([1.0], 0.2)
    grid = dfp.Grid(-3.0, 4.0, 512)
    whole = dfp.solve(form(dfp.SGD(landscape, rates)), start, 10, grid=grid)
    assert whole.solver == "Fourier"
    assert whole.certificate.ok
    first = dfp.moments(form(dfp.SGD(landscape, 0.2)), start, 4, [4])
    second = dfp.Gaussian(first.mean[0], first.covariance[0])
    last = dfp.moments(form(dfp.SGD(landscape, 0.05)), second, 6, [6])
    wanted = dfp.Gaussian(last.mean[0], last.covariance[0]).density(grid.points)
    np.testing.assert_allclose(whole.density[-1], wanted, rtol=0, atol=1e-10)  # both resolve the density to 1e-12


def test_from_a_point_momentum_has_a_density_after_one_step_of_full_noise():
    sgd = dfp.SGD(rotated(), 0.1, momentum=0.9)
    solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Point([0.5, 0.5]), 2, save=[1, 2], solver=dfp.Fourier())
    assert solution.certificate.ok
    # θ_1 is Gaussian of covariance η²C; (θ, v) has rank 2 of 4 after one step and full rank after two.
    np.testing.assert_allclose(solution.covariance[0], 0.01 * np.eye(2), rtol=1e-9, atol=1e-12)
    exact = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.5, 0.5]), 2)
    assert [np.linalg.matrix_rank(c) for c in exact.joint_covariance] == [0, 2, 4]


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_stationary_density_with_momentum_is_where_moments_settle(nesterov):
    equation = dfp.MasterEquation(dfp.SGD(rotated(condition=10), 0.3, momentum=0.8, nesterov=nesterov))
    law = dfp.stationary(equation)
    late = dfp.moments(equation, dfp.Point([0.0, 0.0]), 10**5, [10**5])
    # what is left of the start
    np.testing.assert_allclose(law.mean, late.mean[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(law.covariance, late.covariance[0], rtol=1e-9, atol=1e-12)
    # Heavy ball is stable for ηλ < 2(1 + β), Nesterov for ηλ(1 + 2β) < 2(1 + β); here λ = 1.
    edge = 3.6 if not nesterov else 3.6 / 2.6
    dfp.stationary(dfp.MasterEquation(dfp.SGD(one_mode(), 0.999 * edge, momentum=0.8, nesterov=nesterov)))
    with pytest.raises(dfp.NoStationaryDensity, match=r"unstable with momentum=0\.8"):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(one_mode(), 1.001 * edge, momentum=0.8, nesterov=nesterov)))
    with pytest.raises(dfp.NoStationaryDensity, match=r"diffusive with momentum=0\.8"):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(one_mode(0.0), 0.1, momentum=0.8, nesterov=nesterov)))


def test_a_checkpoint_belongs_to_its_optimiser(tmp_path):
    path, start = tmp_path / "sums.npz", dfp.Gaussian([0.5], 0.1)
    drawn = dfp.MonteCarlo(2048, checkpoint=path)
    run = [dfp.MasterEquation(dfp.SGD(one_mode(), 0.1, momentum=beta)) for beta in (0.5, 0.6)]
    first = dfp.solve(run[0], start, 5, solver=drawn)
    np.testing.assert_array_equal(dfp.solve(run[0], start, 5, solver=drawn).mean, first.mean)
    with pytest.raises(dfp.DFPError, match="belongs to another problem"):
        dfp.solve(run[1], start, 5, solver=drawn)


# --- what is not known exactly, and what files keep


def test_epochs_without_exact_moments_are_sampled_and_say_so(tmp_path):
    sgd = dfp.SGD(regression(), 0.1, replace=False)  # 30 samples: too many sets
    start = dfp.Gaussian([0.5, -0.3], 0.1)
    with pytest.raises(dfp.UnsupportedError, match="no exact moments"):
        dfp.solve(dfp.MasterEquation(sgd), start, 10, solver=dfp.MomentRecursion())
    solution = dfp.solve(dfp.MasterEquation(sgd), start, 10, save=[5, 10], solver=dfp.MonteCarlo(20_000))
    assert np.isnan(solution.certificate.mean_error).all()
    assert np.isnan(solution.certificate.covariance_error).all()
    assert "moments are not checked" in solution.certificate.warnings[0]
    assert solution.certificate.mass_outside.max() < 1e-3
    # The epoch averages every sample once: its noise is far below that of half an epoch.
    assert np.trace(solution.covariance[1]) < 0.5 * np.trace(solution.covariance[0])
    path = tmp_path / "epoch.h5"
    solution.save(path)
    assert np.isnan(dfp.load(path).certificate.mean_error).all()


def test_files_keep_schedules_and_their_slow_time(tmp_path):
    schedule = dfp.WarmUp(3, dfp.CosineSchedule(0.3, 10))
    sgd = dfp.SGD(one_mode(), schedule, momentum=0.5, nesterov=True, batch_size=2)
    solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian([1.0], 0.1), 8, save=[0, 2, 8])
    taus = np.cumsum([0.0] + [schedule(n) for n in range(8)])[[0, 2, 8]]
    # rounding
    np.testing.assert_allclose(solution.time, taus, rtol=1e-15)
    np.testing.assert_allclose(solution.at([2]).time, taus[1:2], rtol=1e-15)
    path = tmp_path / "schedule.h5"
    solution.save(path)
    again = dfp.load(path)
    np.testing.assert_array_equal(again.time, solution.time)
    record = again.provenance
    assert (record["momentum"], record["nesterov"], record["replace"], record["batch_size"]) == (0.5, True, True, 2)
    rule = {"schedule": "cosine", "initial": 0.3, "steps": 10, "final": 0.0}
    assert record["learning_rate"] == {"schedule": "warm_up", "steps": 3, "then": rule}
    own = dfp.SGD(one_mode(), lambda n: 0.1 / (n + 1))
    solution = dfp.solve(dfp.MasterEquation(own), dfp.Gaussian([1.0], 0.1), 2)
    assert solution.provenance["learning_rate"]["values"] == [0.1, 0.05]
