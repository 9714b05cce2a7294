"""Problems the tests share: small landscapes of every kind, with fixed data."""

import numpy as np

import dfp


def one_mode(curvature=1.0, gradient_noise=0.3, curvature_noise=0.0, gradient=0.0):
    """One mode with Gaussian noise."""
    noise = dfp.GaussianNoise(gradient=[gradient_noise], hessian=[curvature_noise])
    return dfp.QuadraticLandscape([curvature], gradient, noise)


def rotated(d=2, condition=1000.0):
    """Additive noise in a rotated, ill-conditioned bowl."""
    rng = np.random.default_rng(7)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    hessian = (axes * np.geomspace(1 / condition, 1.0, d)) @ axes.T
    return dfp.QuadraticLandscape(hessian, hessian @ np.full(d, 0.3), dfp.GaussianNoise(np.eye(d)))


def table(d=2, symmetric=False, basis="theta"):
    """Multiplicative Gaussian noise with a full table Var H̃_ik and a full covariance of g̃."""
    rng = np.random.default_rng(8)
    square = rng.standard_normal((d, d))
    variances = 0.1 + 0.2 * rng.random((d, d))
    variances = (variances + variances.T) / 2
    noise = dfp.GaussianNoise(square @ square.T / d + 0.2 * np.eye(d), variances, basis=basis, symmetric=symmetric)
    hessian = np.eye(d) + 0.3 * np.ones((d, d))
    return dfp.QuadraticLandscape(hessian, np.linspace(-0.2, 0.4, d), noise)


def regression(d=2, batch_size=3):
    """A finite sum: least squares on 30 rows."""
    rng = np.random.default_rng(9)
    features = rng.standard_normal((30, d))
    targets = features @ np.linspace(1, -1, d) + 0.5 * rng.standard_normal(30) + 0.2
    return dfp.QuadraticLandscape.from_regression(features, targets, batch_size)


def samples(d=2, batch_size=2):
    """A finite sum of 12 quadratic losses with full, partly indefinite Hessians."""
    rng = np.random.default_rng(10)
    square = rng.standard_normal((12, d, d))
    hessians = np.eye(d) + 0.25 * (square + square.transpose(0, 2, 1))
    return dfp.QuadraticLandscape.from_samples(hessians, rng.standard_normal((12, d)), batch_size)


def every_equation(sgd):
    """All equations of one SGD."""
    return [
        dfp.MasterEquation(sgd),
        dfp.DiscreteFokkerPlanck(sgd),
        dfp.Langevin(sgd),
        dfp.Langevin(sgd, noise="frozen"),
        dfp.ModifiedLangevin(sgd, matched=False),
        dfp.ModifiedLangevin(sgd),
        dfp.ModifiedLangevin(sgd, positive=True),
    ]
