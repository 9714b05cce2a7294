"""Markov generators in compressed columns: the matrix G of dp/dt = G p for the probabilities p of cells."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel

Integers = NDArray[np.int32]


class Generator(NamedTuple):
    """A generator in compressed columns; wherever one is asked for, a ``csc_array`` of SciPy's will do.

    This is what it holds, without its checks, which take longer than the evolution of a small chain.
    """

    indptr: Integers
    """Where each column begins, shape (n + 1,)."""
    indices: Integers
    """Rows, ascending in each column."""
    data: Array
    """Entries."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return len(self.indptr) - 1, len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return len(self.data)

    def tocsc(self) -> sparse.csc_array:
        """Return it as an array of SciPy's."""
        result = sparse.csc_array((self.data, self.indices, self.indptr), shape=self.shape)
        result.has_sorted_indices = True
        return result


def fastest(matrix: Generator) -> float:
    """Return the largest rate of leaving a cell."""
    return float(_balance(matrix.indptr, matrix.indices, matrix.data)[0])


def conserves(matrix: Generator) -> bool:
    """Tell whether every column sums to zero."""
    rate, imbalance = _balance(matrix.indptr, matrix.indices, matrix.data)
    return bool(imbalance <= 1e-12 * rate)


@kernel()
def _balance(pointers: Integers, rows: Integers, entries: Array) -> tuple[float, float]:
    """Return the largest rate of leaving a cell and the largest |sum| of a column, of a generator in columns."""
    fastest, imbalance = -np.inf, 0.0
    for j in range(len(pointers) - 1):
        total, diagonal = 0.0, 0.0
        for p in range(pointers[j], pointers[j + 1]):
            total += entries[p]
            if rows[p] == j:
                diagonal = entries[p]
        fastest, imbalance = max(fastest, -diagonal), max(imbalance, abs(total))
    return fastest, imbalance
