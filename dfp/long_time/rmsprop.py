"""RMSProp in one parameter, exactly: where θ settles while the second moment v moves with it (no frozen v)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from dfp_solvers import adaptive as numerics

from dfp import checks
from dfp.checks import Array
from dfp.errors import NoStationaryDensity, UnresolvedError, UnsupportedError
from dfp.problem.grid import Grid
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.state import Density
from dfp.result import Result

# Standard deviations of the box to begin with; how much wider each next one is, and how often.
_REACH, _WIDER, _TRIES = 9.0, 1.35, 12
# Share of the range of log v that is added where its ends hold mass.
_MARGIN = 0.1
# Mass at an edge, on the coarsest grid, that does not matter.
_EDGE = 1e-8
# Nodes in θ > 0 and log v, and quadrature nodes in g, of the three grids tried; their masses fit in a dense matrix.
_GRIDS = (((24, 40), 32), ((30, 50), 40), ((38, 64), 48), ((48, 80), 64))
# Relative difference of two variances at which grids agree, and at which the last may still be returned.
_AGREED, _USABLE = 1e-8, 1e-4


@dataclass(frozen=True, eq=False, repr=False)
class RMSPropLaw(Result):
    """The stationary law of (θ, log v) under RMSProp.

    Attributes
    ----------
    density
        Of θ, on a line.
    variance
        Var θ, the mean of (θ − θ*)² [parameter^2].
    frozen_variance
        What SGD would have with v held at the mean it then has, E g²: the usual approximation; infinite where that
        has no stationary law [parameter^2].
    mean_v
        E v, equal to E g² [(loss / parameter)^2].
    log_v
        Nodes, shape (U,).
    log_v_density
        Density of log v at these, shape (U,).
    error
        Relative difference of the variance on two grids.

    Examples
    --------
    >>> import dfp
    >>> bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
    >>> law = dfp.RMSProp(bowl, learning_rate=0.3, decay=0.99).stationary()
    >>> print(f"holding v fixed errs by {100 * law.frozen_error:.1f} %")
    holding v fixed errs by 0.4 %
    """

    density: Density
    variance: float
    frozen_variance: float
    mean_v: float
    log_v: Array
    log_v_density: Array
    error: float

    @classmethod
    def _restored(cls, *, density: dict[str, Any], **given: Any) -> "RMSPropLaw":
        """Return what a file holds."""
        return cls(density=Density._restored(**density), **given)

    @property
    def frozen_error(self) -> float:
        """Relative error of the frozen v: ``frozen_variance / variance − 1``."""
        return self.frozen_variance / self.variance - 1

    def __repr__(self) -> str:
        """Return both variances."""
        return f"<RMSPropLaw: variance {self.variance:.8g}, with frozen v {100 * self.frozen_error:+.2g} %>"


@dataclass(frozen=True, eq=False)
class RMSProp:
    """RMSProp on a quadratic landscape of one parameter, with a second moment that moves.

    Parameters
    ----------
    landscape
        Quadratic, d = 1, with Gaussian noise.
    learning_rate
        η > 0 [loss].
    decay
        β of the second moment, 0 < β < 1 (``alpha`` in PyTorch, where it is .99).
    epsilon
        ε >= 0, added to √v' [loss / parameter].

    Raises
    ------
    UnsupportedError
        If the landscape has more parameters, or noise that is not Gaussian or leans to one side at the minimum.

    Notes
    -----
    The order is that of PyTorch and of Tieleman and Hinton (2012): v' = βv + (1 − β)g², then θ' = θ − ηg/(√v' + ε),
    with one gradient g for both.

    Examples
    --------
    >>> import dfp
    >>> bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
    >>> law = dfp.RMSProp(bowl, learning_rate=0.3, decay=0.99).stationary()
    >>> print(round(law.variance, 4), round(law.frozen_variance, 4))
    0.161 0.1617
    """

    landscape: QuadraticLandscape
    learning_rate: float
    decay: float = 0.9
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        advice = "must be a quadratic landscape; give dfp.QuadraticLandscape(...)."
        checks.instance("landscape", self.landscape, QuadraticLandscape, advice)
        checks.real("learning_rate", self.learning_rate, above=0)
        checks.real("decay", self.decay, above=0, below=1)
        checks.real("epsilon", self.epsilon, at_least=0)
        if self.landscape.dimension != 1:
            raise UnsupportedError(
                f"landscape has {self.landscape.dimension} parameters: RMSProp is exact for d = 1; take one mode."
            )
        if not self.landscape.law.gaussian:
            raise UnsupportedError("landscape: RMSProp is exact for Gaussian noise; give noise=dfp.GaussianNoise(...).")

    def _chain(self) -> tuple[float, numerics.Chain]:
        """Return θ* and the chain about it."""
        curvature, law = float(self.landscape.hessian.item()), self.landscape.law
        if not curvature > 0:
            raise NoStationaryDensity(
                f"the curvature is {curvature:.4g} <= 0: RMSProp has no minimum to settle in; give a positive one."
            )
        place = -float(self.landscape.gradient.item()) / curvature
        gamma = float(law.quadratic(np.eye(1)).item())
        lean = float(law.cross(np.ones(1)).item())
        noise = float(law.constant.item()) + 2 * lean * place + gamma * place**2
        if not noise > 0:
            raise NoStationaryDensity("there is no gradient noise at the minimum: the law collapses; add some.")
        if abs(lean + gamma * place) > 1e-9 * np.sqrt(gamma * noise):
            raise UnsupportedError(
                "landscape: gradient and curvature noise are correlated at the minimum, so that the law leans to one "
                "side; give GaussianNoise(..., at=minimum)."
            )
        return place, numerics.Chain(curvature, gamma, noise, self.learning_rate, self.decay, self.epsilon)

    def stationary(self) -> RMSPropLaw:
        """Return where it settles: the fixed point of the chain of (θ, log v).

        Raises
        ------
        NoStationaryDensity
            If the curvature is not positive, or no gradient noise is left at the minimum.
        UnresolvedError
            If the grids do not agree to 1e-4, as where β is small and log v has no floor.
        """
        place, chain = self._chain()
        # In units in which D = λ = 1, so that nothing depends on the user's.
        noise, curvature = chain.gradient_noise, chain.curvature
        unit = np.sqrt(noise) / curvature
        chain = numerics.Chain(
            1.0, chain.curvature_noise / curvature**2, 1.0, chain.learning_rate / unit, chain.decay,
            chain.epsilon / np.sqrt(noise),
        )  # fmt: skip
        box = _box(chain)
        found = [numerics.stationary(chain, box, *_GRIDS[0])]
        for grid in _GRIDS[1:]:
            found.append(numerics.stationary(chain, box, *grid))
            before, after = (_variance(law) for law in found[-2:])
            error = abs(before / after - 1)
            if error <= _AGREED:
                break
        if not (error <= _USABLE and after > 0):
            raise UnresolvedError(
                f"decay={self.decay:g}, learning_rate={self.learning_rate:g}: the variances of two grids differ by "
                f"{error:.2g}; raise decay."
            )
        return _law(found[-1], place, unit, noise, numerics.frozen_variance(chain), error)


def _variance(law: numerics.Law) -> float:
    return float(law.theta**2 @ law.mass.sum(axis=1))


def _box(chain: numerics.Chain) -> numerics.Rectangle:
    """Return a box at whose edges there is no mass left."""
    step = chain.learning_rate / (1.0 + chain.epsilon)
    width = float(np.sqrt(numerics.frozen_variance(chain)))
    width = min(width, 10 * step) if step > 1 else width  # no step is longer than η/√(1 − β)
    lower = numerics.log_v_range(chain.decay, 1.0)[0]
    upper = numerics.log_v_range(chain.decay, 1.0 + (1.0 + chain.curvature_noise) * width**2)[1]
    reach = _REACH * max(width, step / 4)
    for _ in range(_TRIES):
        box = numerics.Rectangle(reach, lower, upper)
        mass = numerics.stationary(chain, box, *_GRIDS[0]).mass
        edge, top, bottom = (float(np.abs(part).sum()) for part in (mass[-1], mass[:, -1], mass[:, 0]))
        if max(edge, top, bottom) <= _EDGE:
            return box
        reach *= _WIDER if edge > _EDGE else 1.0
        margin = _MARGIN * (upper - lower)
        upper, lower = upper + margin * (top > _EDGE), lower - margin * (bottom > _EDGE)
    raise UnresolvedError(
        f"decay={chain.decay:g}: log v and θ reach farther than a grid of {_GRIDS[0][0]} nodes resolves; raise decay."
    )


def _law(law: numerics.Law, place: float, unit: float, noise: float, frozen: float, error: float) -> RMSPropLaw:
    """Return the law in the user's units."""
    step = 2 * law.theta[0]
    line, reach = np.maximum(law.mass.sum(axis=1), 0.0) / (2 * step * unit), (law.theta[-1] + step / 2) * unit
    grid = Grid(place - reach, place + reach, 2 * len(line))
    levels = law.mass.sum(axis=0)
    return RMSPropLaw(
        density=Density.normalised(grid, np.concatenate([line[::-1], line])),
        variance=_variance(law) * unit**2,
        frozen_variance=frozen * unit**2,
        mean_v=float(np.exp(law.log_v) @ levels) * noise,
        log_v=law.log_v + np.log(noise),
        log_v_density=levels / (law.log_v[1] - law.log_v[0]),
        error=error,
    )
