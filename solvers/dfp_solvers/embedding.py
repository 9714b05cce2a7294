"""Whether a linear map with Gaussian noise is a process in continuous time, seen at whole steps (T17)."""

from typing import NamedTuple

import numpy as np

from dfp_solvers.arrays import Array

_ROUNDING = 1e-12


class Embedding(NamedTuple):
    """What is known of a process dx = −Kx dt + noise, diffusion Q, whose unit-time map is x' = Ax + noise of C."""

    exists: bool | None
    """None where eigenvalues of A leave room for other logarithms than the one tried."""
    reason: str
    smallest: float
    """Smallest eigenvalue of Q over its largest in magnitude; NaN without a Q."""


def embed(matrix: Array, covariance: Array) -> Embedding:
    """Tell whether the map has a generator with real K and Q ⪰ 0.

    Parameters
    ----------
    matrix
        A, shape (k, k), diagonalisable.
    covariance
        C of the noise of one step, shape (k, k).

    Notes
    -----
    In eigenvectors of A, Q_ij = C_ij f(K_i + K_j), f(x) = x/(1 − e^−x). A has a real logarithm iff it is invertible
    and each negative eigenvalue has even multiplicity (Culver 1966, doi:10.1090/S0002-9939-1966-0202740-6).
    """
    symmetric = np.array_equal(matrix, matrix.T)
    values, vectors = np.linalg.eigh(matrix) if symmetric else np.linalg.eig(matrix)
    real = values[np.abs(np.imag(values)) <= _ROUNDING * np.abs(values)].real
    if np.any(np.abs(values) <= _ROUNDING):
        return Embedding(
            False, "a mode forgets everything in one step (A is singular), which takes infinite time", np.nan
        )
    negative = real[real < 0]
    if negative.size:
        close = np.abs(negative[:, None] - negative) <= 1e-9 * np.abs(negative)
        if np.any(close.sum(axis=1) % 2):
            return Embedding(
                False, "a mode overshoots (ηλ > 1): A has a negative eigenvalue and no real logarithm", np.nan
            )
        return Embedding(None, "modes of equal curvature overshoot: only a drift that rotates could embed them", np.nan)
    rates = -np.log(values.astype(complex))
    total = rates[:, None] + rates.conj()[None, :]
    rotated = np.linalg.solve(vectors, np.linalg.solve(vectors, covariance).conj().T).conj().T
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(np.abs(total) < 1e-9, 1 + total / 2, total / -np.expm1(-total))
    spectrum = np.linalg.eigvalsh(vectors @ (rotated * factor) @ vectors.conj().T)
    largest = float(np.max(np.abs(spectrum)))
    smallest = float(spectrum[0]) / largest if largest > 0 else 0.0
    if smallest >= -_ROUNDING * len(matrix):
        return Embedding(True, "a process in continuous time has exactly these steps", smallest)
    # Complex or equal eigenvalues have more real logarithms than this one.
    single = real.size == values.size and np.all(np.diff(np.sort(real)) > 1e-9 * np.max(real))
    verdict = False if single else None
    return Embedding(
        verdict, f"the diffusion it would need is indefinite (eigenvalue {smallest:.2g} of the largest)", smallest
    )
