"""What the sliders show: stationary densities, variances over steps, and the place on the map of regimes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.exact.moments import moments
from dfp.long_time.stationary_law import stationary
from dfp.problem.equation import Equation
from dfp.problem.equations import DiscreteFokkerPlanck, Langevin, MasterEquation
from dfp.problem.grid import Grid
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.noise import GaussianNoise
from dfp.problem.sgd import SGD
from dfp.problem.state import Point
from dfp.regimes.mode import REGIMES
from dfp.regimes.mode_report import modes
from dfp.regimes.phases import phase_diagram

EQUATIONS = ("SGD (T4)", "discrete Fokker–Planck (T5)", "Langevin (T6)")
STEPS = np.unique(np.geomspace(1, 10_000, 25).round().astype(int))
# Half the box in deviations of the core, and its cells: what a screen resolves.
_REACH, _CELLS = 7.0, 400
# Variances beyond this, of modes that grow for ever, would squeeze all others onto the axis [parameter^2].
_HIGHEST = 1e9
# Of the map: ηλ and η²Γ/B, the two numbers that decide, and how many of each.
MAP = ((-0.5, 2.5), (0.0, 3.0), 48)


@dataclass(frozen=True)
class Knobs:
    """One mode: where the sliders stand.

    Attributes
    ----------
    curvature
        λ [loss / parameter^2].
    curvature_noise
        Γ of one sample [(loss / parameter^2)^2].
    gradient_noise
        D of one sample [(loss / parameter)^2].
    learning_rate
        η [parameter^2 / loss].
    batch_size
        B.
    momentum
        β of the heavy ball.
    """

    curvature: float = 1.0
    curvature_noise: float = 0.5
    gradient_noise: float = 1.0
    learning_rate: float = 0.2
    batch_size: int = 1
    momentum: float = 0.0

    def sgd(self, momentum: float, learning_rate: float) -> SGD:
        """Return SGD on this mode."""
        noise = GaussianNoise([self.gradient_noise], [self.curvature_noise])
        landscape = QuadraticLandscape([self.curvature], noise=noise)
        return SGD(landscape, learning_rate, momentum=momentum, batch_size=self.batch_size)

    def equations(self) -> dict[str, Equation]:
        """Return the equations by name; Langevin, which knows no momentum, is that of η/(1−β)."""
        sgd = self.sgd(self.momentum, self.learning_rate)
        slow = self.sgd(0.0, self.learning_rate / (1 - self.momentum))
        return dict(zip(EQUATIONS, (MasterEquation(sgd), DiscreteFokkerPlanck(sgd), Langevin(slow)), strict=True))

    def grid(self) -> Grid:
        """Return a box around the core of the stationary laws: the scale of (T5)'s Student t, but for its ν."""
        rate = self.learning_rate / (1 - self.momentum)
        gamma, noise = self.curvature_noise / self.batch_size, self.gradient_noise / self.batch_size
        spread = 2 * self.curvature + rate * (gamma + self.curvature**2)
        half = _REACH * float(np.sqrt(rate * noise / max(spread, 1e-3)))
        return Grid(-half, half, _CELLS)


@dataclass(frozen=True)
class Picture:
    """What is seen at one place of the sliders.

    Attributes
    ----------
    theta
        Places, shape (n,) [parameter].
    densities
        By equation, shape (n,) [1 / parameter]; NaN where there is no stationary density, or it is not known.
    steps
        Shape (S,) [step].
    variances
        By equation, from θ = 0, shape (S,) [parameter^2]; NaN beyond numbers, or where they are not known.
    regime
        Of the mode.
    dot
        (ηλ, η²Γ/B) on the map of regimes.
    notes
        Why something is missing, in words.
    """

    theta: Array
    densities: dict[str, Array]
    steps: Array
    variances: dict[str, Array]
    regime: str
    dot: tuple[float, float]
    notes: tuple[str, ...]


def picture(knobs: Knobs) -> Picture:
    """Return everything that the page shows, with what could not be computed as notes."""
    equations, grid, notes = knobs.equations(), knobs.grid(), []

    def attempt(name: str, compute: Callable[[Equation], Array], size: int) -> Array:
        try:
            return compute(equations[name])
        except DFPError as error:
            notes.append(f"{name}: {error}")
            return np.full(size, np.nan)

    def density(equation: Equation) -> Array:
        return stationary(equation, grid).values

    densities = {name: attempt(name, density, _CELLS) for name in equations}
    variances = {name: attempt(name, _variances, len(STEPS)) for name in equations}
    # With momentum and curvature noise ℓ is sampled: a quarter of the usual steps, for a hand does not wait.
    (mode,) = modes(knobs.sgd(knobs.momentum, knobs.learning_rate), lyapunov_steps=1000)
    eta = knobs.learning_rate
    dot = (eta * knobs.curvature, eta**2 * knobs.curvature_noise / knobs.batch_size)
    return Picture(grid.axes[0], densities, STEPS, variances, mode.regime, dot, tuple(dict.fromkeys(notes)))


def _variances(equation: Equation) -> Array:
    """Return the variance at every step shown, NaN where it is not positive, or off any axis."""
    found = moments(equation, Point([0.0]), int(STEPS[-1]), STEPS.tolist()).covariance[:, 0, 0]
    return np.where((found > 0) & (found < _HIGHEST), found, np.nan)


@lru_cache(maxsize=1)
def regimes() -> Array:
    """Return the regimes of plain SGD over the map as indices into ``REGIMES``, rows of equal η²Γ/B.

    With η = 1 the map is that of every η: a mode is decided by ηλ and η²Γ/B alone.
    """
    (left, right), (bottom, top), count = MAP
    x, y = np.linspace(left, right, count), np.linspace(bottom, top, count)
    found = phase_diagram({"curvature": x}, {"curvature_noise": y}, learning_rate=1.0, gradient_noise=1.0)
    return found.values["regime"].T


@lru_cache(maxsize=64)
def boundary(momentum: float) -> tuple[Array, Array]:
    """Return where the variance of SGD ends on the map, (ηλ, η²Γ/B), at this momentum: along rays of equal Γ/λ²."""
    points = []
    for ratio in 2 / np.linspace(1.995, 0.005, 25) - 1:  # without momentum at equal distances of ηλ
        sgd = Knobs(curvature_noise=float(ratio)).sgd(momentum, 0.1)
        rate = modes(sgd)[0].largest_stable_learning_rate
        points.append((rate, rate**2 * ratio))
    x, y = np.array(points).T
    return x, y


__all__ = ["EQUATIONS", "MAP", "REGIMES", "Knobs", "Picture", "boundary", "picture", "regimes"]
