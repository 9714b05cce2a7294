"""Boxes for power-law tails: a density with fourth moments, read as the Student t law of its kurtosis."""

import numpy as np
from scipy.special import stdtr, stdtrit

from dfp.checks import Array
from dfp.results.frame import Frame


def freedom(frame: Frame) -> Array:
    """Return degrees of freedom ν of every axis, shape (d,), from a frame with fourth moments: kurtosis 3 + 6/(ν − 4).

    At most 6e6, a Gaussian in practice; 4 where the fourth moment is infinite, NaN where it is not known.
    """
    assert frame.fourth is not None
    kurtosis = np.einsum("iiii->i", frame.fourth) / np.diag(frame.covariance) ** 2
    return 4 + 6 / np.maximum(kurtosis - 3, 1e-6)


def core(freedom: Array) -> Array:
    """Return the scale of t laws over their standard deviation, √((ν − 2)/ν)."""
    return np.sqrt((freedom - 2) / freedom)


def half_width(freedom: Array, tail: float) -> Array:
    """Return how many standard deviations from the mean leave the probability ``tail`` beyond, on one side."""
    return -stdtrit(freedom, tail) * core(freedom)


def beyond(freedom: Array, width: float) -> Array:
    """Return the probability beyond ``width`` standard deviations, on both sides together."""
    return 2 * stdtr(freedom, -width / core(freedom))
