"""The equations that act once per step: the master equation (T4) and the discrete Fokker–Planck equation (T5)."""

from dataclasses import dataclass

import numpy as np

from dfp.carried import Carried
from dfp.checks import Array
from dfp.equation import Equation, refuse_epochs


class _Map(Equation):
    discrete = True

    def drift(self, eigenvalues: Array) -> Array:
        """Return η for every mode: one step moves the mean by −η(Hθ + g)."""
        return np.full_like(eigenvalues, self.rate)

    def local_motion(self, theta: Array) -> Array:
        """Return −ηḡ."""
        return -self.rate * self.sgd.local.gradient_at(theta)

    def local_diffusion(self, theta: Array) -> Array:
        """Return η²C."""
        return self.rate**2 * self.sgd.local.covariance_at(theta)

    def mean_diffusion(self, at: Carried) -> Array:
        """Return η² C̄, the mean covariance of one step's noise (T14)."""
        return self.rate**2 * self.sgd.noise.mean_covariance(at.mass, at.mean, at.second)


@dataclass(frozen=True, eq=False)
class MasterEquation(_Map):
    """The master equation (T4): the exact law of SGD itself."""

    title = "master equation"
    number = "T4"


@dataclass(frozen=True, eq=False)
class DiscreteFokkerPlanck(_Map):
    """The discrete Fokker–Planck equation (T5): the master equation to order η², with the raw second moment S."""

    title = "discrete Fokker-Planck"
    number = "T5"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_epochs(self)
