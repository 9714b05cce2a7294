"""What holds of the paper's assumptions at a checkpoint, in numbers."""

from dataclasses import dataclass

import numpy as np

from dfp.checks import TINY, Array
from dfp.networks.directions import Directions
from dfp.networks.scores import variance_z
from dfp.networks.source import Source
from dfp.result import Short

# Of the largest: sharp modes have at least this share of its curvature, flat ones at most that.
SHARP, FLAT = 0.05, 1e-3
# Resamples of the modes that give the intervals of the power law, and held-out minibatches.
_RESAMPLES, _MINIBATCHES = 100, 512


@dataclass(frozen=True, eq=False, repr=False)
class PowerLaw(Short):
    """Var(G) = γ(|λ| + ε)^p fitted in logarithms to the directions with noise, with 95 % intervals over directions."""

    gamma: float
    epsilon: float
    exponent: float
    gamma_interval: tuple[float, float]
    epsilon_interval: tuple[float, float]
    exponent_interval: tuple[float, float]
    spread: float
    """Ratio of the 95 % to the 5 % quantile of γ_i = Var(G_i)/|λ_i|."""


@dataclass(frozen=True, eq=False, repr=False)
class Diagnostics(Short):
    """Numbers about the assumptions, one entry per direction unless said otherwise.

    Attributes
    ----------
    sharp, flat
        Which directions are sharp (λ above 5 % of the largest) and flat (``|λ|`` below 0.1 % of it, or chosen as flat).
    silent
        Which have no noise at all.
    off_diagonal
        Σ_k≠i |E H̃²|_ik over (E H̃²)_ii: 0 if ⟨H̃²⟩ is diagonal, as the paper assumes.
    correlation
        Of H̃_ii and g̃_i, between −1 and 1: 0 if they are independent, as the paper assumes.
    own_share
        Γ_ii over the sum of row i of the table: how much of a mode's curvature noise is its own.
    law
        Fit of Var(G) against |λ|.
    effective_rank
        (tr C)²/tr C², one number.
    commutator
        |HC − CH| over |HC|, one number: 0 if the gradient noise is diagonal in H's eigenbasis.
    third, fourth
        Third and fourth derivative of the mean loss along each direction; empty where gradients are known at the
        checkpoint alone, zero along silent directions and helpers.
    held_out
        z-scores of the variances of held-out minibatch gradients, drawn by the code that runs SGD, against C_ii/B;
        empty where there are none.
    """

    sharp: np.ndarray
    flat: np.ndarray
    silent: np.ndarray
    off_diagonal: Array
    correlation: Array
    own_share: Array
    law: PowerLaw
    effective_rank: float
    commutator: float
    third: Array
    fourth: Array
    held_out: Array

    def departure(self, deviation: Array, curvatures: Array, learning_rate: float, steps: Array) -> Array:
        """Return how far each direction's motion leaves the quadratic form, relative, shape (S, k).

        The change of curvature at one ``deviation`` (S, k), ½|t|σ + ½|q|σ², times the time 2η min(n, 1/(2ηλ)) over
        which a mode remembers it.
        """
        if not self.third.size:
            return np.full(deviation.shape, np.nan)
        memory = 2 * learning_rate * steps[:, None] / np.maximum(1.0, 2 * learning_rate * curvatures * steps[:, None])
        return memory * (np.abs(self.third) * deviation + np.abs(self.fourth) * deviation**2) / 2

    def __str__(self) -> str:
        """Return a few lines."""
        law = self.law
        low, high = law.exponent_interval
        groups = (("sharp", self.sharp & ~self.silent), ("flat", self.flat & ~self.silent))
        rows = [
            f"{name}: {int(chosen.sum())} directions; off-diagonal over diagonal of ⟨H̃²⟩ "
            f"{_median(self.off_diagonal[chosen]):.2g}, |corr(H̃, g̃)| {_median(np.abs(self.correlation[chosen])):.2g}, "
            f"own share of curvature noise {_median(self.own_share[chosen]):.2g} (medians)"
            for name, chosen in groups
            if chosen.any()
        ]
        return "\n".join(
            (
                *rows,
                f"no noise at all: {int(self.silent.sum())} directions",
                f"Var(G) ~ (|λ| + ε)^p: p = {law.exponent:.2f} ({low:.2f} to {high:.2f}), ε = {law.epsilon:.2g}, γ_i "
                f"spread by a factor of {law.spread:.3g}",
                f"C has an effective rank of {self.effective_rank:.1f}; |HC − CH|/|HC| = {self.commutator:.2g}",
            )
        )


def diagnose(
    source: Source,
    found: Directions,
    covariance: Array,
    square: Array,
    cross: Array,
    table: Array,
    batch_size: int,
    reach: float,
    seed: int,
) -> Diagnostics:
    """Return the diagnostics from tables of single samples along the directions ``found``."""
    curvatures, noise = np.diag(found.hessian), np.diag(covariance)
    silent = noise <= 1e-14 * noise.max()
    seen = ~silent & ~found.helpers
    top = float(curvatures.max())
    product = found.hessian @ covariance
    diagonal = np.maximum(np.diag(square), TINY)
    own = np.maximum(np.diag(table), TINY)
    lengths = np.where(seen, np.sqrt(noise) * reach, 0.0)
    third, fourth = _bends(source, found, lengths) if source.movable else (np.zeros(0), np.zeros(0))
    return Diagnostics(
        sharp=(curvatures >= SHARP * top) & ~found.flat & ~found.helpers,
        flat=found.flat if found.flat.any() else np.abs(curvatures) <= FLAT * top,
        silent=silent,
        off_diagonal=(np.abs(square).sum(axis=1) - np.abs(np.diag(square))) / diagonal,
        correlation=cross / np.maximum(np.sqrt(own) * np.sqrt(noise), TINY),
        own_share=np.diag(table) / np.maximum(table.sum(axis=1), TINY),
        law=power_law(np.abs(curvatures[seen]), noise[seen], seed),
        effective_rank=float(np.trace(covariance) ** 2 / np.sum(covariance**2)),
        commutator=float(np.linalg.norm(product - product.T) / np.linalg.norm(product)),
        third=third,
        fourth=fourth,
        held_out=_held_out(source, found.vectors, noise, batch_size, seed) if source.movable else np.zeros(0),
    )


def power_law(curvatures: Array, noise: Array, seed: int) -> PowerLaw:
    """Fit Var(G) = γ(|λ| + ε)^p to |λ| and Var(G) of directions, both shape (k,), by least squares in logarithms."""
    rng = np.random.default_rng((seed, 2))
    fits = [_fit(curvatures, noise)]
    for _ in range(_RESAMPLES):
        chosen = rng.integers(0, len(noise), len(noise))
        fits.append(_fit(curvatures[chosen], noise[chosen]))
    values = np.exp(np.array(fits)) if len(noise) else np.full((1, 3), np.nan)
    values[:, 2] = np.log(values[:, 2])
    low, high = np.quantile(values[1:], [0.025, 0.975], axis=0)
    first, second, third = ((float(a), float(b)) for a, b in zip(low, high, strict=True))
    ratios = noise / np.maximum(curvatures, TINY)
    spread = float(np.quantile(ratios, 0.95) / np.quantile(ratios, 0.05))
    gamma, epsilon, exponent = (float(v) for v in values[0])
    return PowerLaw(gamma, epsilon, exponent, first, second, third, spread)


def _fit(curvatures: Array, noise: Array) -> Array:
    """Return log γ, log ε and p."""
    from scipy.optimize import least_squares

    if len(noise) < 3:
        return np.full(3, np.nan)
    top = float(curvatures.max())
    lowest = np.log(max(top, TINY)) - 30.0

    def misfit(x: Array) -> Array:
        result: Array = x[0] + x[2] * np.log(curvatures + np.exp(x[1])) - np.log(noise)
        return result

    start = np.array([np.log(np.median(noise)), np.log(max(top, TINY)) - 9.0, 1.0])
    bounds = ([-np.inf, lowest, -10.0], [np.inf, np.log(max(top, TINY)), 10.0])
    result: Array = least_squares(misfit, start, bounds=bounds).x
    return result


def _bends(source: Source, found: Directions, lengths: Array) -> tuple[Array, Array]:
    """Return third and fourth derivatives along each direction from gradients at ±``lengths`` (k,)."""
    curvatures = np.diag(found.hessian)
    middle = source.mean_gradient() @ found.vectors
    third, fourth = np.zeros(len(lengths)), np.zeros(len(lengths))
    for i, length in enumerate(lengths):
        if length == 0:
            continue
        step = found.vectors[:, i] * length
        ahead = source.mean_gradient(source.checkpoint + step) @ found.vectors[:, i]
        behind = source.mean_gradient(source.checkpoint - step) @ found.vectors[:, i]
        third[i] = (ahead + behind - 2 * middle[i]) / length**2
        fourth[i] = 3 * (ahead - behind - 2 * curvatures[i] * length) / length**3
    return third, fourth


def _held_out(source: Source, vectors: Array, noise: Array, batch_size: int, seed: int) -> Array:
    """Return z-scores of the variances of minibatch gradients along the directions against C_ii/B."""
    from dfp.networks.running import minibatch_gradients

    rng = np.random.default_rng((seed, 3))
    chosen = rng.integers(0, source.samples, (_MINIBATCHES, batch_size))
    drawn = minibatch_gradients(source, chosen) @ vectors
    z = np.zeros(len(noise))
    loud = noise > 1e-14 * noise.max()
    z[loud] = variance_z(drawn[None, :, loud], noise[None, loud] / batch_size)[0]
    return z


def _median(values: Array) -> float:
    return float(np.median(values)) if values.size else float("nan")
