"""The mean Hessian, the gradient noise and the curvature noise of a network at its checkpoint (T2, T13)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks import diagnostics, directions, drawings, stored
from dfp.networks.diagnostics import Diagnostics
from dfp.networks.measured_variables import MEASURED
from dfp.networks.source import Source
from dfp.results.tables import data_frame

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from dfp import QuadraticLandscape
    from dfp.networks.runs import Runs


@dataclass(frozen=True, eq=False, repr=False)
class Measurement(stored.Labelled):
    """What of a network decides how SGD moves, along k orthonormal directions.

    Attributes
    ----------
    source
        What was measured; None of a measurement read from a file.
    batch_size
        B of ``landscape``.
    samples
        Number of samples N.
    checkpoint
        θ about which everything is measured, shape (d,).
    directions
        Columns u_i, sharpest first, shape (d, k).
    method
        How the directions were found.
    flat
        Which directions were chosen as flat ones, shape (k,); none if all eigenvectors are taken.
    helpers
        Which directions are no subject of their own, shape (k,): H times flat ones, and H times these, which flat ones
        feel; they are predicted and run, but left out of scores and claims.
    hessian
        Mean Hessian UᵀHU, shape (k, k) [loss / parameter^2].
    residuals
        ``|Hu_i − λ_iu_i|``, shape (k,).
    leak
        Deviation of a sample's gradient along w_i, the part of Hu_i outside of the directions, over that along u_i,
        shape (k,): a direction's variance is its own while η n ``leak`` is small; zero for eigenvectors.
    gradient
        Mean gradient Uᵀḡ, shape (k,) [loss / parameter].
    covariance
        Covariance of a single sample's gradient, UᵀCU, shape (k, k).
    table
        Var(H̃_ik) of a single sample, shape (k, k); zero between helpers.
    row_noise
        ``E|H̃u_i|²`` of a single sample, couplings to directions outside the k included, shape (k,).
    correlation
        Cov(H̃_ii, g̃_i) of a single sample, shape (k,).
    sample_gradients
        Uᵀg of every sample, shape (N, k).
    subspace
        Directions of the exact finite sum, shape (m,).
    sample_hessians
        Hessians of every sample in the subspace, shape (N, m, m).
    errors
        Standard errors by name: how far another data set of N samples would differ. Runs that draw from these N samples
        are described without error.
    diagnostics
        What holds of the paper's assumptions.

    Examples
    --------
    >>> print(measured.complete, measured.landscape.dimension)
    True 3
    """

    source: Source | None
    batch_size: int
    samples: int
    checkpoint: Array
    directions: Array
    method: str
    flat: np.ndarray
    helpers: np.ndarray
    hessian: Array
    residuals: Array
    leak: Array
    gradient: Array
    covariance: Array
    table: Array
    row_noise: Array
    correlation: Array
    sample_gradients: Array
    subspace: np.ndarray
    sample_hessians: Array
    errors: dict[str, Array]
    diagnostics: Diagnostics

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.directions.shape[0])

    @property
    def complete(self) -> bool:
        """Whether the directions span all parameters."""
        return bool(self.directions.shape[0] == self.directions.shape[1])

    @property
    def curvatures(self) -> Array:
        """λ_i = u_iᵀHu_i, shape (k,) [loss / parameter^2]."""
        return np.diag(self.hessian).copy()

    @property
    def gradient_noise(self) -> Array:
        """Variance of a single sample's gradient along each direction, shape (k,)."""
        return np.diag(self.covariance).copy()

    @property
    def live(self) -> np.ndarray:
        """Which directions are looked at and have noise at all, shape (k,): dead units have none."""
        return ~self.diagnostics.silent & ~self.helpers

    @property
    def landscape(self) -> "QuadraticLandscape":
        """The quadratic landscape in the coordinates x = Uᵀ(θ − checkpoint), with the full table of Var(H̃_ik)."""
        import dfp

        noise = dfp.GaussianNoise(self.covariance / self.batch_size, self.table / self.batch_size)
        return dfp.QuadraticLandscape(self.hessian, self.gradient, noise)

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return one row per direction: curvature, gradient and noise with standard errors, and what it is."""
        columns = {
            "curvature": self.curvatures, "gradient": self.gradient, "gradient_noise": self.gradient_noise,
            "curvature_noise": np.diag(self.table), "residual": self.residuals, "leak": self.leak, "flat": self.flat,
            "helper": self.helpers, "silent": self.diagnostics.silent,
        }  # fmt: skip
        return data_frame(columns | {f"{name}_error": values for name, values in self.errors.items()})

    def _figure(self) -> "Figure":
        return drawings.measurement(self)

    def _maker(self) -> str:
        return f"measure(problem, batch_size={self.batch_size})"

    def kept(self) -> tuple[str, dict[str, stored.Entry], dict[str, Any]]:
        """Return the kind of the file, its variables, and the record of the rest: all but the source."""
        judged = self.diagnostics
        record = {
            "measured_batch_size": self.batch_size, "samples": self.samples, "method": self.method,
            "law": judged.law.__dict__, "effective_rank": judged.effective_rank, "commutator": judged.commutator,
        }  # fmt: skip
        return "network measurement", MEASURED, record

    def __str__(self) -> str:
        """Return the diagnostics in lines."""
        return f"{self.method}; {self.samples} samples, {self.dimension} parameters\n{self.diagnostics}"


class _Noise(NamedTuple):
    table: Array
    square: Array
    diagonal: Array
    cross: Array
    hessians: Array


def measure(
    problem: Source,
    batch_size: int = 8,
    modes: int | str = "all",
    *,
    flat: int = 0,
    runs: "Runs | None" = None,
    depth: int = 6,
    subspace: int = 12,
    reach: float = 0.25,
    seed: int = 0,
) -> Measurement:
    """Measure a network at its checkpoint: everything the predictors need, and what holds of the paper's assumptions.

    Parameters
    ----------
    problem
        A ``Problem``, or ``Problem.from_arrays(...)``.
    batch_size
        B of ``landscape``; the tables are of single samples.
    modes
        ``"all"`` eigenvectors of the mean Hessian (d <= 2000), or how many of the sharpest, by Lanczos where
        they are few.
    flat
        How many flat directions besides, where ``modes`` is a number: random ones orthogonal to the sharp ones, or
    runs
        those in which these runs moved most. Predict other runs, with another seed, along them.
    depth
        How many products with the mean Hessian follow the flat directions. They are no eigenvectors, and feel what
        moves along Hu, H²u, …: those directions are added as helpers, ``depth`` for each flat one.
    subspace
        How many of the sharpest modes get the exact finite sum; every step costs N m³ beyond 12.
    reach
        η√(n/B) up to which the departure from the quadratic form is tested: along each direction at a displacement of
        ``reach`` deviations of a sample's gradient.
    seed
        Of the random directions and the held-out minibatches.

    Raises
    ------
    DFPError
        If a value is out of range, or there are too many parameters for all modes.

    Notes
    -----
    All N samples are used, so that what is measured is exact for runs that draw from them. One product of every
    sample's Hessian with every direction is needed; blocks of samples keep memory small.

    Examples
    --------
    >>> print(dfp.networks.measure(problem, batch_size=4).directions.shape)
    (3, 3)
    """
    if not isinstance(problem, Source):
        raise DFPError(f"problem={checks.shown(problem)}: must be a dfp.networks.Problem.")
    size = checks.integer("batch_size", batch_size, at_least=1)
    found = directions.find(problem, modes, flat, depth, runs, checks.integer("seed", seed))
    vectors = found.vectors
    inside = np.arange(min(checks.integer("subspace", subspace, at_least=1), int((~found.helpers).sum())))
    gradients = problem.gradients()
    sampled = gradients @ vectors
    noise = _noise(problem, found, sampled, inside)
    deviations = sampled - sampled.mean(axis=0)
    covariance = deviations.T @ deviations / problem.samples
    judged = diagnostics.diagnose(
        problem,
        found,
        covariance,
        noise.square,
        noise.cross,
        noise.table,
        size,
        checks.real("reach", reach, above=0),
        seed,
    )
    return Measurement(
        source=problem,
        batch_size=size,
        samples=problem.samples,
        checkpoint=problem.checkpoint,
        directions=vectors,
        method=found.method,
        flat=found.flat,
        helpers=found.helpers,
        hessian=found.hessian,
        residuals=found.residuals,
        leak=_leak(gradients @ found.outside, np.diag(covariance)),
        gradient=sampled.mean(axis=0),
        covariance=covariance,
        table=noise.table,
        row_noise=np.diag(noise.square).copy(),
        correlation=noise.cross,
        sample_gradients=sampled,
        subspace=inside,
        sample_hessians=noise.hessians,
        errors=_errors(deviations, noise.diagonal),
        diagnostics=judged,
    )


def _noise(source: Source, found: directions.Directions, sampled: Array, inside: Any) -> _Noise:
    """Return Var(H̃_ik), E[H̃²] between directions, per-sample H_ii, Cov(H̃_ii, g̃_i), and Hessians in the subspace."""
    vectors, count = found.vectors, source.samples
    seen = int((~found.helpers).sum())  # helpers are last; their own curvature noise is left out
    table, raw = np.zeros((seen, vectors.shape[1])), np.zeros((seen, seen))
    moved, hessians, diagonal = np.zeros((seen, source.dimension)), [], []
    for block in source.sample_products(vectors[:, :seen]):
        rows = np.ascontiguousarray(np.swapaxes(block, 0, 1)).reshape(seen, -1)
        raw += rows @ rows.T / count
        moved += block.sum(axis=0) / count
        inner = block @ vectors
        table += ((inner - found.hessian[:seen]) ** 2).sum(axis=0) / count
        diagonal.append(np.einsum("nii->ni", inner[:, :, :seen]))
        hessians.append(inner[:, inside[:, None], inside])
    added = vectors.shape[1] - seen
    own = np.pad(np.concatenate(diagonal), ((0, 0), (0, added)))
    cross = ((own - own.mean(axis=0)) * (sampled - sampled.mean(axis=0))).mean(axis=0)
    joined = np.concatenate(hessians)
    whole = np.zeros((seen + added, seen + added))
    whole[:seen], whole[:, :seen] = table, table.T
    whole[:seen, :seen] = (table[:, :seen] + table[:, :seen].T) / 2
    square = np.pad(raw - moved @ moved.T, (0, added))
    return _Noise(whole, square, own, cross, (joined + np.swapaxes(joined, 1, 2)) / 2)


def _leak(outside: Array, noise: Array) -> Array:
    """Return the deviations of projections (N, k) over those of variances ``noise`` (k,)."""
    result: Array = outside.std(axis=0) / np.sqrt(np.maximum(noise, checks.TINY))
    return np.where(noise > 1e-14 * noise.max(), result, 0.0)


def _errors(deviations: Array, diagonal: Array) -> dict[str, Array]:
    """Return standard errors over data sets of N samples, each shape (k,)."""
    root = np.sqrt(len(deviations))
    curved = diagonal - diagonal.mean(axis=0)
    return {
        "curvatures": diagonal.std(axis=0) / root,
        "gradient": deviations.std(axis=0) / root,
        "gradient_noise": (deviations**2).std(axis=0) / root,
        "curvature_noise": (curved**2).std(axis=0) / root,
    }
