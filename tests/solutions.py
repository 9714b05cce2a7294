"""Solutions made by hand, for tests of files and figures."""

import numpy as np

import dfp
from dfp.results import schema
from dfp.results.certificate import Certificate


def made(d=2, *, gridded=True, sampled=False, higher=False, steps=(0, 3, 1000), seed=0, upper=2.5):
    """A solution of random numbers, with NaN, infinities, subnormal numbers and signed zeros."""
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        values = rng.standard_normal((len(steps), *shape))
        special = [np.nan, np.inf, -0.0, 5e-324]
        values.flat[: min(4, values.size)] = special[: min(4, values.size)]
        return values

    grid = dfp.Grid([-1 / 3] * d, [upper + 0.1 * i for i in range(d)], tuple(range(6, 6 + d))) if gridded else None
    moments = {name: numbers(*[d] * (i + 1)) for i, name in enumerate(schema.MOMENTS[: 4 if higher else 2])}
    return dfp.Solution(
        equation="master equation (T3), η → 0",
        solver="Test",
        reason="",
        steps=np.array(steps),
        learning_rate=0.1,
        grid=grid,
        density=numbers(*grid.cells) if grid else None,
        **moments,
        errors={name: numbers(*values.shape[1:]) for name, values in moments.items()} if sampled else {},
        trajectories=10**6 if sampled else 0,
        certificate=Certificate(
            **{name: numbers() for name in schema.FIGURES}, sampled=sampled, warnings=("step 3: mass\nis lost", "σ")
        ),
        provenance={
            "versions": {"python": "3.11", "dfp": "0.1"},
            "seed": 2**70,
            "wall_seconds": 0.1 + 0.2,
            "settings": {"degree": 6, "on": True, "none": None, "list": [1, 2.5, "θ"]},
        },
    )


def arrays(solution):
    """Every array of a solution by name."""
    named = {name: getattr(solution, name) for name in ("steps", "density", *schema.MOMENTS)}
    named |= {f"{name} error": values for name, values in solution.errors.items()}
    named |= {name: getattr(solution.certificate, name) for name in schema.FIGURES}
    if solution.grid is not None:
        named |= {"lower": solution.grid.lower, "upper": solution.grid.upper, "cells": np.array(solution.grid.cells)}
    return {name: values for name, values in named.items() if values is not None}


def assert_same(found, wanted):
    """Bits, types and shapes agree."""
    found_arrays, wanted_arrays = arrays(found), arrays(wanted)
    assert found_arrays.keys() == wanted_arrays.keys()
    for name, values in wanted_arrays.items():
        assert found_arrays[name].dtype == values.dtype, name
        assert found_arrays[name].shape == values.shape, name
        assert found_arrays[name].tobytes() == values.tobytes(), name
    for name in ("equation", "solver", "reason", "learning_rate", "trajectories", "provenance"):
        assert getattr(found, name) == getattr(wanted, name), name
    assert found.certificate.warnings == wanted.certificate.warnings
    assert found.certificate.sampled is wanted.certificate.sampled
