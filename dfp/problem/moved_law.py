"""The noise of steps that a preconditioner turns and a temperature heats: (L H̃ R, L g̃ + e), e Gaussian."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from dfp_solvers import matrices

from dfp.checks import Array, require_memory
from dfp.errors import UnsupportedError
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.noise import GaussianLaw, NoiseLaw

if TYPE_CHECKING:
    from dfp_solvers.trajectories.products import OptimiserStep, Settling


# Parameters up to which loadings of turned noise, d² for each normal, are compiled.
_MOST_TURNED = 8


def moved(law: NoiseLaw, left: Array, right: Array, heat: Array, decay: float = 0.0) -> NoiseLaw:
    """Return the law of (L H̃ R, L g̃ + e), e independent and Gaussian of covariance ``heat`` (d, d).

    Samples of a finite sum become L(H_i + ωI)R, ω = ``decay``, so that their mean is the whole Hessian.
    """
    if isinstance(law, FiniteSumLaw):
        d = law.dimension
        require_memory(
            f"preconditioner: {law.count} sample Hessians of {d} parameters",
            8.0 * law.count * d**2,
            "leave preconditioner and temperature out, or use fewer samples",
        )
        hessians = left @ (law.sample_hessians() + decay * np.eye(d)) @ right
        turned: NoiseLaw = FiniteSumLaw(law.gradients @ left.T, law.batch_size, hessians=hessians)
        return MovedLaw(turned, np.eye(d), np.eye(d), heat) if heat.any() else turned
    if isinstance(law, GaussianLaw):
        if law.additive:
            return GaussianLaw(left @ law.local @ left.T + heat, law.table, law.axes, law.symmetric)
        if law.axes is None and not law.symmetric and law.place is None and _diagonal(left) and _diagonal(right):
            table = left.diagonal()[:, None] ** 2 * law.table * right.diagonal() ** 2
            return GaussianLaw(left @ law.local @ left.T + heat, table, None, symmetric=False)
    return MovedLaw(law, left, right, heat)


def _diagonal(matrix: Array) -> bool:
    return not np.any(matrix - np.diag(matrix.diagonal()))


@dataclass(frozen=True, eq=False, repr=False)
class MovedLaw(NoiseLaw):
    """The law of (L H̃ R, L g̃ + e) for (H̃, g̃) of ``base``, e of covariance ``heat``: every answer is that of the base.

    Parameters
    ----------
    left, right
        L and R, shape (d, d).
    heat
        Covariance of the Gaussian noise that is added and no minibatch averages, shape (d, d).
    """

    base: NoiseLaw
    left: Array
    right: Array
    heat: Array

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Draws of which a minibatch is the average."""
        return self.base.batch_size

    @cached_property
    def heated(self) -> bool:
        """Whether there is noise beyond that of minibatches."""
        return bool(self.heat.any())

    @cached_property
    def constant(self) -> Array:  # type: ignore[override]
        """L E[g̃ g̃ᵀ] Lᵀ + heat, shape (d, d)."""
        return self.left @ self.base.constant @ self.left.T + self.heat

    @property
    def additive(self) -> bool:
        """Whether H̃ = 0."""
        return self.base.additive

    @property
    def gaussian(self) -> bool:
        """Whether the gradient noise given θ is Gaussian."""
        return self.base.gaussian

    @property
    def highest_order(self) -> float:
        """Order up to which its moments exist."""
        return self.base.highest_order

    @property
    def flaw(self) -> str | None:
        """Why neither waves nor draws of it can be had, or None."""
        return self.base.flaw

    @property
    def atomic(self) -> bool:
        """Whether it takes single values alone."""
        return self.base.atomic and not self.heated

    @property
    def every_moment(self) -> bool:
        """Whether ``increment_moments`` knows the moments of every order."""
        return self.gaussian or (self.base.every_moment and not self.heated)

    @property
    def characteristic_obstacle(self) -> str | None:
        """Why ``characteristic`` is out of reach, or None."""
        return self.base.characteristic_obstacle

    @property
    def characteristic_cost(self) -> float:
        """What a value of ``characteristic`` costs."""
        return self.base.characteristic_cost

    @property
    def choice_entropy(self) -> float:
        """Entropy of the choice of a minibatch."""
        return np.inf if self.heated else self.base.choice_entropy

    def quadratic(self, second: Array) -> Array:
        """Return L E[H̃ (R X Rᵀ) H̃ᵀ] Lᵀ."""
        return self.left @ self.base.quadratic(self.right @ second @ self.right.T) @ self.left.T

    def cross(self, mean: Array) -> Array:
        """Return L E[H̃ (R m) g̃ᵀ] Lᵀ."""
        return self.left @ self.base.cross(mean @ self.right.T) @ self.left.T

    def covariance(self, theta: Array) -> Array:
        """Return L C(Rθ) Lᵀ + heat, shape (..., d, d)."""
        return self.left @ self.base.covariance(theta @ self.right.T) @ self.left.T + self.heat

    def with_batch_size(self, batch_size: int) -> "MovedLaw":
        """Return it for minibatches of ``batch_size``; heat is not averaged."""
        return replace(self, base=self.base.with_batch_size(batch_size))

    def increments(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return draws of the base at Rθ, turned by L, and of the heat."""
        drawn = self.base.increments(theta @ self.right.T, rng) @ self.left.T
        if self.heated:
            root = matrices.square_root(self.heat)
            drawn = drawn + rng.standard_normal((len(theta), root.shape[1])) @ root.T
        return drawn

    def variances(self, axes: Array) -> Array:
        """Return the variances along ``axes`` (d, k), shape (k,); ∞ where there is none."""
        return self.base.variances(self.left.T @ axes) + np.einsum("ji,jk,ki->i", axes, self.heat, axes)

    def tail_index(self, axes: Array) -> Array:
        """Return the α of the base along Lᵀv for each of ``axes`` (d, k), shape (k,)."""
        return self.base.tail_index(self.left.T @ axes)

    def settled(self, factor: float, learning_rate: float) -> Any:
        """Return the stable law of the base at the rate ηL, for d = 1 and without heat; else None."""
        if self.heated or self.dimension > 1:
            return None
        return self.base.settled(factor, learning_rate * float(self.left[0, 0]))

    def cumulants(self, highest: int) -> list[Array | None]:
        """Return those of the base, turned; a Gaussian adds none of order 3 and up."""
        d = self.dimension
        place = np.eye(d + 1)
        place[1:, 1:] = self.right
        found = list[Array | None]()
        for order, tensor in enumerate(self.base.cumulants(highest), start=3):
            result: Any = tensor
            for axis in range(2 * order) if tensor is not None else ():
                turn: Any = self.left if axis < order else place.T
                result = np.moveaxis(np.tensordot(turn, result, (1, axis)), 0, axis)
            found.append(result)
        return found

    def line_cumulants(self, highest: int) -> list[Array]:
        """Return those of the base, scaled; the heat adds to the second alone."""
        left, right = float(self.left[0, 0]), float(self.right[0, 0])
        found = [
            left**k * part * right ** np.arange(len(part))
            for k, part in enumerate(self.base.line_cumulants(highest), start=2)
        ]
        found[0] = found[0] + np.eye(len(found[0]))[0] * self.heat[0, 0]
        return found

    def draw_moments(self, theta: Array, matrix: Array, degree: int) -> tuple[Array, int]:
        """Return those of ``matrix`` L (H̃Rθ + g̃)."""
        if self.gaussian:
            return super().draw_moments(theta, matrix, degree)
        return self.base.draw_moments(theta @ self.right.T, matrix @ self.left, degree)

    def characteristic(self, waves: Array, theta: Array | None = None) -> Any:
        """Return that of the base at Lᵀk and Rθ, times exp(−½ kᵀ heat k)."""
        at = None if theta is None else theta @ self.right.T
        values = self.base.characteristic(waves @ self.left, at)
        return values * np.exp(-0.5 * np.einsum("...i,ij,...j->...", waves, self.heat, waves))

    def wave_characteristic(self, wave: Array, centre: Array, axes: Array, lattice: list[Array]) -> Any:
        """Return that of the base from R(centre + axes·u), times that of the heat."""
        values = self.base.wave_characteristic(wave @ self.left, self.right @ centre, self.right @ axes, lattice)
        return values * np.exp(-0.5 * (wave @ self.heat @ wave))

    def loaded_characteristic(self, waves: Array, load: Array, theta: Array | None = None) -> Any:
        """Return that of the base carried on by ``load`` L, times that of the heat."""
        spread, at = load @ self.heat @ load.T, None if theta is None else theta @ self.right.T
        values = self.base.loaded_characteristic(waves, load @ self.left, at)
        return values * np.exp(-0.5 * np.einsum("...i,ij,...j->...", waves, spread, waves))

    def trajectory_model(self, kept: Array, hessian: Array, gradient: Array, rate: float) -> Any:
        """Return the compiled model of the base with its loadings turned, where it has few; else draws of arrays."""
        from dfp_solvers.trajectories import models

        none = np.zeros((self.dimension, self.dimension))
        base = self.base.trajectory_model(kept - rate * hessian, none, gradient, rate)
        small = self.dimension <= _MOST_TURNED
        transformed = isinstance(base, models.TransformedModel)  # of which every normal is one of its laws
        if not (small and isinstance(base, models.GaussianModel)) or (transformed and self.heated):
            return super().trajectory_model(kept, hessian, gradient, rate)
        heat = -rate * matrices.square_root(self.heat) if self.heated else np.zeros((self.dimension, 0))
        return models.turned(base, self.left, self.right, heat)

    def sampled_exponent(
        self, hessian: Array, step: "OptimiserStep", steps: int, seed: int, axes: Array, settling: "Settling"
    ) -> tuple[float, float]:
        """Return it from draws of L H̃ R in many runs at once; that of the base where only heat is added."""
        from dfp_solvers import drawn_products

        if self._unturned:
            return self.base.sampled_exponent(hessian, step, steps, seed, axes, settling)
        multiplied = self.base.fluctuation
        return drawn_products.exponent(
            lambda v, rng: v @ hessian.T + multiplied(v @ self.right.T, rng) @ self.left.T, step, steps, seed, axes
        )

    @cached_property
    def _unturned(self) -> bool:
        eye = np.eye(self.dimension)
        return np.array_equal(self.left, eye) and np.array_equal(self.right, eye)

    def curvature_samples(self, direction: Array) -> Array | None:
        """Return those of the base, which is not turned; None if vᵀH̃v is Gaussian."""
        if self.base.gaussian or self.base.additive:
            return None
        if self._unturned:
            return self.base.curvature_samples(direction)
        raise UnsupportedError(
            "preconditioner: curvatures along modes are not known of this noise; ask for moments or "
            "dfp.MonteCarlo(...), or leave preconditioner out."
        )
