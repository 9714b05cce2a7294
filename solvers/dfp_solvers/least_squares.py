"""Mean and covariance of SGD on least squares with minibatches drawn with replacement (T14), where d is large."""

import numpy as np

from dfp_solvers.arrays import Array, Integers

# Scale of a row below which the row itself is taken anew: its entries may have underflowed.
_LEAST = 1e-100


def moments(
    features: Array, targets: Array, weight: float, kept: Array, shift: Array, mean: Array, covariance: Array,
    saved: Integers,
) -> tuple[Array, Array]:  # fmt: skip
    """Return means (S, d) and covariances (S, d, d) at the steps ``saved`` (S,), in the eigenvectors of E[xxᵀ].

    A step adds ``weight`` (E[r² xxᵀ] − E[ḡḡᵀ]) with E[r²] = xᵀΠx + (xᵀμ − y)²: two products of N d²/2, of a triangle
    and of a matrix with its own transpose, and nothing else above N d.

    Parameters
    ----------
    features, targets
        Rows x in these axes, shape (N, d), and y, shape (N,).
    weight
        Squared learning rate over batch size.
    kept, shift
        The mean moves to ``kept`` μ + ``shift``, shapes (d,).
    mean, covariance
        At step 0, shapes (d,) and (d, d).
    """
    # All by one library: threads of NumPy's own BLAS, which spin for a while, would take the processors of SciPy's.
    from scipy.linalg.blas import dgemv, dsyr, dsyrk, dtrmm

    x, count, last = np.asfortranarray(features), len(targets), int(saved[-1])
    values, gradient = np.einsum("ni,ni->i", x, x) / count, -(targets @ x) / count
    factor = np.asfortranarray(np.outer(kept, kept) - weight * np.outer(values, values))
    lower, moved, scale = np.array(covariance, order="F"), np.array(x, order="F"), np.ones(count)
    means: list[Array] = []
    covariances: list[Array] = []
    wanted = set(saved.tolist())
    for n in range(last + 1):
        if n in wanted:
            means.append(mean)
            covariances.append(np.tril(lower) + np.tril(lower, -1).T)
        if n == last:
            break
        diagonal = lower.diagonal().copy()
        np.fill_diagonal(lower, diagonal / 2)  # xᵀΠx is twice that of the lower triangle
        # Rows of x times ``scale`` are there from the step before. From this side BLAS is a fifth faster.
        moved = dtrmm(2.0, lower, moved, side=1, lower=1, overwrite_b=1)
        squares = np.einsum("ni,ni->n", moved, x) / scale + (dgemv(1.0, x, mean) - targets) ** 2
        np.fill_diagonal(lower, diagonal)
        lower *= factor
        scale = np.sqrt(np.maximum(squares, 0.0) * (weight / count))
        np.multiply(x, scale[:, None], out=moved)
        lower = dsyrk(1.0, moved, beta=1.0, c=lower, trans=1, lower=1, overwrite_c=1)
        if not scale.min() > _LEAST:
            np.copyto(moved, x)
            scale = np.ones(count)
        lower = dsyr(-weight, values * mean + gradient, a=lower, lower=1, overwrite_a=1)
        mean = np.asarray(kept * mean + shift)
    return np.array(means), np.array(covariances)
