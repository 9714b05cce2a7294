"""The law of the loss ½ (θ − θ*)ᵀH(θ − θ*) at a step: a generalised χ² of Gaussian states, sampled otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from dfp_solvers import matrices, quadratic_form
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.exact.moments import moments_at
from dfp.long_time.kept import carried
from dfp.methods.draws import Walk
from dfp.problem import questions
from dfp.problem.arguments import check_problem
from dfp.problem.equation import Equation
from dfp.problem.state import Ending, State, started
from dfp.result import Result, remembered
from dfp.results.keeper import Keeper

# Numbers of trajectories that walk together.
_TOGETHER = 2**22
# Weights below this share of the largest are rounding of the eigenvalues they come from.
_ROUNDED = 1e-14
# A sampled distribution function is off by more than this many n^(-½) in one of 1e6 cases (Dvoretzky–Kiefer–Wolfowitz).
_BAND = 2.7


@dataclass(frozen=True, eq=False, repr=False)
class LossLaw(Result):
    """Law of the loss above its value at the critical point, L = ½ (θ − θ*)ᵀH(θ − θ*).

    Attributes
    ----------
    step
        At which it is.
    mean
        Of the loss [loss].
    variance
        Of the loss [loss^2].
    weights, shifts
        L = ½ Σ σ_j (z_j + m_j)² of a Gaussian state, σ_j [loss] and m_j, shape (r,) each; empty where it is sampled.
    offset
        What directions without spread add [loss].
    losses
        Sampled losses, ascending; empty where it is closed.

    Examples
    --------
    >>> import dfp
    >>> landscape = dfp.QuadraticLandscape([2.0, 0.5], noise=dfp.GaussianNoise(0.3))
    >>> law = dfp.loss_law(dfp.MasterEquation(dfp.SGD(landscape, 0.2)), dfp.Point([1.0, 1.0]), step=20)
    >>> print(round(law.mean, 4), round(float(law.quantile(0.99)), 4))
    0.038 0.1729
    """

    step: int
    mean: float
    variance: float
    weights: Array
    shifts: Array
    offset: float
    losses: Array

    @classmethod
    def _restored(cls, *, step: float, **given: Any) -> "LossLaw":
        """Return what a file holds, in which what is empty is left out."""
        held: dict[str, Any] = {name: np.empty(0) if one is None else one for name, one in given.items()}
        return cls(step=int(step), **held)

    @property
    def sampled(self) -> bool:
        """Whether it is known by samples."""
        return self.losses.size > 0

    @property
    def error(self) -> float:
        """Largest error of ``cdf``: 1e-11 where it is closed; of n samples 2.7/√n, exceeded in one of 1e6 cases."""
        return _BAND / self.losses.size**0.5 if self.sampled else 1e-11

    def density(self, x: ArrayLike) -> Array:
        """Return the density at ``x`` (any shape) [1 / loss]; where sampled, by cells of the n^(1/3) rule.

        Raises
        ------
        DFPError
            If all mass is at one place.
        """
        at, shape = self._places(x)
        if self.sampled:
            counts, edges = np.histogram(self.losses, bins="fd", density=True)
            cell = np.searchsorted(edges, at, side="right") - 1
            inside = (cell >= 0) & (cell < counts.size)
            return np.where(inside, counts[np.clip(cell, 0, counts.size - 1)], 0.0).reshape(shape)
        if not self.weights.size:
            raise DFPError(f"step {self.step}: the loss is {self.offset:g} for certain; it has no density: use cdf.")
        return quadratic_form.density(at - self.offset, self.weights, self.shifts).reshape(shape)

    def cdf(self, x: ArrayLike) -> Array:
        """Return P(L <= x) at ``x`` (any shape)."""
        at, shape = self._places(x)
        if self.sampled:
            return (np.searchsorted(self.losses, at, side="right") / self.losses.size).reshape(shape)
        if not self.weights.size:
            return (at >= self.offset).astype(np.float64).reshape(shape)
        return quadratic_form.cumulative(at - self.offset, self.weights, self.shifts).reshape(shape)

    def quantile(self, q: ArrayLike) -> Any:
        """Return the losses that are not exceeded with the probabilities ``q``, in (0, 1) [loss].

        A number for one probability, an array (Q,) for a list.
        """
        return questions.each_share(q, self._quantile)

    def _quantile(self, share: float) -> float:
        from scipy import optimize

        if self.sampled:
            return float(np.quantile(self.losses, share))
        if not self.weights.size:
            return self.offset

        def missing(x: float) -> float:
            return float(self.cdf(x)) - share

        width = self.variance**0.5
        low = self.offset if self.weights.min() >= 0 else self.mean - width
        high = self.mean + width
        while missing(low) > 0:
            low -= width
        while missing(high) < 0:
            high += width
            width *= 2
        return float(optimize.brentq(missing, low, high, xtol=1e-14 * self.variance**0.5, rtol=1e-14))

    @cached_property
    def standard_deviation(self) -> float:
        """√ of the variance [loss]."""
        return self.variance**0.5

    def _places(self, x: ArrayLike) -> tuple[Array, tuple[int, ...]]:
        given = np.asarray(x, dtype=np.float64)
        if not checks.finite(given):
            raise DFPError("x has entries that are not finite: losses are numbers; remove NaN and infinite entries.")
        return np.ascontiguousarray(given.ravel()), given.shape


@remembered
def loss_law(
    equation: Equation,
    initial: State | Ending,
    step: int,
    *,
    samples: int = 100_000,
    seed: int = 0,
    checkpoint: str | Path | Keeper | None = None,
) -> LossLaw:
    """Return the law of the loss at ``step``.

    Parameters
    ----------
    equation
        In a quadratic landscape, any d. A Gaussian state that stays one gives a closed law: additive Gaussian noise (or
        a Langevin form of additive noise) and an initial ``Gaussian`` or ``Point``. Others are sampled, of (T4) alone.
    initial
        State at step 0, or a ``Solution`` to go on from.
    step
        >= 0.
    samples, seed
        Number of trajectories where it is sampled, >= 1000, and what they depend on.
    checkpoint
        HDF5 file, written every few seconds while it is sampled, from which an interrupted call goes on to the bits of
        an uninterrupted one; the finished law takes its place, and is returned if it is there.

    Raises
    ------
    DFPError
        If an argument is malformed, or the moments overflow.
    UnsupportedError
        If the law is neither closed nor sampled: (T5), nonlinear landscapes.

    Notes
    -----
    In the eigenbasis of Π^½HΠ^½ the loss is ½ Σ σ_j (z_j + m_j)² (section 6). Negative curvatures give negative σ_j.

    Examples
    --------
    >>> import dfp
    >>> landscape = dfp.QuadraticLandscape([2.0, 0.5], noise=dfp.GaussianNoise(0.3))
    >>> law = dfp.loss_law(dfp.MasterEquation(dfp.SGD(landscape, 0.2)), dfp.Point([1.0, 1.0]), step=20)
    >>> print(round(law.mean, 4), round(float(law.cdf(0.1)), 3))
    0.038 0.929
    """
    initial = started(initial)
    check_problem(equation, initial)
    last = checks.integer("step", step)
    checks.integer("samples", samples, at_least=1000)
    checks.integer("seed", seed)
    gaussian = equation.additive and (equation.sgd.law.gaussian or not equation.discrete) and not equation.truncated
    closed = gaussian and initial.gridded is None

    def find(keeper: Keeper | None) -> LossLaw:
        return _closed(equation, initial, last) if closed else _sampled(equation, initial, last, samples, seed, keeper)

    asked = {"step": last, "samples": samples, "seed": seed}
    return carried(checkpoint, "loss_law", equation, initial, asked, last, find)


def _closed(equation: Equation, initial: State, last: int) -> LossLaw:
    at = moments_at(equation, initial, np.array([last]))
    if not (checks.finite(at.mean) and checks.finite(at.covariance)):
        raise DFPError(
            f"step {last}: the moments of the {equation.label} overflow; lower learning_rate or take an earlier step."
        )
    return _of_gaussian(equation, last, at.mean[0] - equation.sgd.critical_point, at.covariance[0])


def _of_gaussian(equation: Equation, step: int, apart: Array, covariance: Array) -> LossLaw:
    hessian = equation.sgd.loss_hessian
    root = matrices.square_root(covariance)
    weights, vectors = np.linalg.eigh(root.T @ hessian @ root)
    scale = float(np.abs(weights).max(initial=0.0))
    # L = ½ aᵀHa + bᵀz + ½ zᵀWz, b = Rᵀ H a; directions with W = 0 and b ≠ 0 make a Gaussian part, which is refused.
    linear, total = vectors.T @ (root.T @ (hessian @ apart)), float(apart @ hessian @ apart) / 2
    kept = np.abs(weights) > _ROUNDED * scale
    spread = np.sqrt(np.abs(weights).max(initial=0.0)) * np.linalg.norm(apart) * np.sqrt(np.abs(hessian).max())
    if np.any(np.abs(linear[~kept]) > 1e-10 * max(spread, checks.TINY)):
        raise DFPError(
            f"step {step}: the loss is linear in a direction of the noise, where curvatures of both signs cancel; "
            "take another step, or a wider initial state."
        )
    sigma = weights[kept]
    shifts = linear[kept] / sigma
    offset = total - float(sigma @ shifts**2) / 2
    if sigma.size and abs(offset) <= 1e-13 * (abs(total) + float(np.abs(sigma) @ shifts**2)):
        offset = 0.0
    mean = offset + float(sigma @ (1 + shifts**2)) / 2
    variance = float(sigma**2 @ (0.5 + shifts**2))
    return LossLaw(step, mean, variance, np.ascontiguousarray(sigma), np.ascontiguousarray(shifts), offset, np.empty(0))


def _sampled(
    equation: Equation, initial: State, step: int, samples: int, seed: int, keeper: Keeper | None = None
) -> LossLaw:
    draws = _Draws(equation, initial.bulk, step, samples, seed)
    draws.draw(keeper)
    found = _of_samples(draws.losses, step)
    # Whatever the mean of samples is.
    infinite = equation.sgd.affine and bool(step) and not equation.sgd.noise.finite
    return replace(found, mean=np.inf, variance=np.inf) if infinite or initial.bulk is not initial else found


def _of_samples(losses: Array, step: int) -> LossLaw:
    ascending = np.sort(losses)
    if not checks.finite(ascending):
        raise DFPError(f"step {step}: sampled losses overflow; lower learning_rate or take an earlier step.")
    none = np.empty(0)
    return LossLaw(step, float(ascending.mean()), float(ascending.var(ddof=1)), none, none, 0.0, ascending)


class _Draws:
    """Losses of portions of trajectories, of which each has a seed of its own, and the portion that walks."""

    def __init__(self, equation: Equation, initial: State, step: int, samples: int, seed: int) -> None:
        self._equation, self._initial, self._step, self._samples, self._seed = equation, initial, step, samples, seed
        self._portion = max(min(samples, _TOGETHER // equation.dimension), 1)
        self.losses = np.empty(0)
        self._begin()

    def _begin(self) -> None:
        """Let the next portion start."""
        done = self.losses.size
        rng = np.random.default_rng(self._seed + 2**32 * (done // self._portion))
        self._walk = Walk(self._equation, self._initial, min(self._portion, self._samples - done), rng)

    def draw(self, keeper: Keeper | None) -> None:
        """Let all portions walk, from where a checkpoint has left them."""
        if keeper is not None:
            keeper.resume(self._resume)
        sgd = self._equation.sgd
        while True:
            while self._walk.step < self._step:
                with np.errstate(over="ignore", invalid="ignore"):  # what diverges is told in the end
                    self._walk.advance()
                if keeper is not None:
                    keeper.keep({"losses": self.losses, "walk": self._walk.state()}, self._so_far)
            apart = self._walk.theta - sgd.critical_point
            self.losses = np.append(self.losses, np.einsum("ni,ni->n", apart @ sgd.loss_hessian, apart) / 2)
            if self.losses.size >= self._samples:
                return
            self._begin()

    def _resume(self, state: Mapping[str, Any]) -> str:
        self.losses = state["losses"]
        self._begin()
        self._walk.resume(state["walk"])
        return f"trajectory {self.losses.size}, step {self._walk.step}"

    def _so_far(self, state: Mapping[str, Any]) -> LossLaw | None:
        return _of_samples(state["losses"], self._step) if state["losses"].size else None
