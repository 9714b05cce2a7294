"""Problems with a known truth: landscapes together with all their minibatches."""

from dataclasses import dataclass

import numpy as np

import dfp
from validation import enumeration


@dataclass(frozen=True, eq=False)
class Problem:
    """A landscape, all its minibatches, and where SGD starts."""

    name: str
    landscape: dfp.QuadraticLandscape
    minibatches: enumeration.Minibatches
    start: dfp.Gaussian
    skewed: bool
    """Whether the third cumulant T of the minibatch gradient differs from 0."""


def problems() -> list[Problem]:
    """Return all problems. Starts are wide: else errors of the covariance change sign on the way to small η."""
    return [one_mode(), least_squares(), two_modes()]


def one_mode() -> Problem:
    """Return a tilted mode (g ≠ 0) with Gaussian noise of the gradient and of the curvature (Γ > 0)."""
    curvature, gradient, curvature_noise, gradient_noise = 1.0, 0.5, 0.8, 0.3
    return Problem(
        "one mode, tilted, with curvature noise",
        dfp.QuadraticLandscape([curvature], gradient, dfp.GaussianNoise([gradient_noise], [curvature_noise])),
        enumeration.gaussian(
            np.array([[curvature]]),
            np.array([gradient]),
            np.sqrt([[[curvature_noise]], [[0.0]]]),
            np.sqrt([[0.0], [gradient_noise]]),
        ),
        dfp.Gaussian([2.0], [[1.0]]),
        skewed=False,
    )


def least_squares() -> Problem:
    """Return least squares on 16 rows with skewed residuals: correlated, skewed H̃ and g̃."""
    rng = np.random.default_rng(9)
    features = rng.standard_normal((16, 2))
    targets = features @ np.array([1.0, -1.0]) + rng.exponential(size=16)
    return Problem(
        "least squares, 16 rows, batch size 2",
        dfp.QuadraticLandscape.from_regression(features, targets, batch_size=2),
        enumeration.regression(features, targets, 2),
        dfp.Gaussian([-0.5, 0.8], [[1.0, 0.2], [0.2, 0.6]]),
        skewed=True,
    )


def two_modes() -> Problem:
    """Return additive Gaussian noise whose covariance shares no axis with the Hessian (HC ≠ CH)."""
    hessian, gradient = np.array([[1.2, 0.4], [0.4, 0.6]]), np.array([0.3, -0.2])
    factor = np.array([[0.7, 0.0], [-0.3, 0.4]])
    return Problem(
        "two modes, additive noise off their axes",
        dfp.QuadraticLandscape(hessian, gradient, dfp.GaussianNoise(factor @ factor.T)),
        enumeration.gaussian(hessian, gradient, np.zeros((2, 2, 2)), factor.T),
        dfp.Gaussian([1.0, 0.7], [[0.8, 0.2], [0.2, 0.5]]),
        skewed=False,
    )


AUTHORS_CURVATURES = np.linspace(0.3, 3.0, 10)
"""Spectrum of the authors' quadratic experiments in ten dimensions [loss / parameter^2]."""


def authors_point(seed: int = 42) -> tuple[np.ndarray, np.ndarray]:
    """Return Hessian and point of the authors' experiments: both from one seed, so that they are not independent."""
    square = np.random.default_rng(seed).normal(size=(10, 10))
    axes = np.linalg.qr(square)[0]
    return (axes * AUTHORS_CURVATURES) @ axes.T, np.random.default_rng(seed).normal(size=10)
