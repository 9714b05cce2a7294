"""What the kernels of Monte Carlo are given, packed into arrays: model, optimiser, start, and what is observed."""

from typing import NamedTuple

from dfp_solvers.arrays import Array, Integers


class Model(NamedTuple):
    """One step, packed for the kernels: a deterministic affine map plus noise of one of five kinds.

    The conditional covariance V(y) of y = frame · θ − place is polynomial, and its noise enters as axes · chol(V) ζ.
    """

    kind: int
    linear: Array  # (d, d), and a column for every normal that enters whatever θ
    constant: Array  # (d,)
    loadings: Integers  # (3, E): row, component of θ and normal of every other loading
    values: Array  # loadings (E,), or samples (N * width,)
    covariance: Array  # coefficients of V: (d entries of the diagonal, or those of the lower triangle; monomials)
    offset: Array  # its constant part (entries,)
    monomials: Integers  # (2, monomials): y_k y_m, or y_k where m < 0
    frame: Array  # (d, d), or empty: θ's own axes
    place: Array  # (d,)
    axes: Array  # (d, d), or empty
    samples: int  # N
    weight: float  # -learning rate / batch size
    draws: int  # normals per substep, or batch size
    substeps: int
    pieces: Array  # (K, 5): start and cubic coefficients of the pieces of x(z) of all laws, end to end
    ends: Integers  # (laws + 1,) first piece of each law
    guide: Integers  # (laws, cells) piece at the beginning of each cell of z


class Optimiser(NamedTuple):
    """How gradients become steps, if not by the model itself: schedules, momentum (T19), epochs without replacement."""

    learning_rates: (
        Array  # (n,) learning rates of the first n steps, the last one from then on; empty: the model is the step
    )
    sizes: Integers  # (n,) batch sizes likewise; empty: the model's draws
    momentum: float
    nesterov: bool
    epoch: int  # steps of an epoch without replacement, 0 with replacement
    averaging: Array  # w of the running average m' = m + w(θ' − m) that is observed, likewise; empty: θ is observed


class Start(NamedTuple):
    """Initial states, packed: gridded if ``cumulative`` is not empty."""

    mean: Array
    factor: Array
    cumulative: Array
    lower: Array
    spacing: Array
    shape: Integers


class Plan(NamedTuple):
    """What is observed when: moments about ``centre`` in units of 1 / ``inverse_scale``, and a histogram."""

    saved: Integers  # (S,)
    factors: Integers  # (K, order): the axes whose product each moment is, filled up with -1
    centre: Array  # (S, d)
    inverse_scale: Array  # (S, d)
    lower: Array  # (d,)
    cells_per_unit: Array  # (d,)
    cells: Integers  # (d,), all zero without a histogram
