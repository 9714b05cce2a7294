"""Every class that a public function returns is a first-class result: kept, labelled, drawn, shown in a line."""

import dataclasses
import types

import pytest

import dfp
from dfp.methods.solver import Run, SamplingRun, Solver
from dfp.problem.noise import NoiseLaw
from dfp.problem.value import Value
from dfp.result import Result, Short
from tests.returned import HOMES, all_returned, first_class, returned

# What describes problems and methods, and is no result.
_NO_RESULTS = (Value, NoiseLaw, Solver, Run, SamplingRun)
# Parts of results and of problems, which are kept with the whole: why each is none by itself.
_PARTS = {
    "Estimate": "a number with its error",
    "LangevinFit": "two matrices that a Fit computes",
    "Intervals": "part of a Fit",
    "Certificate": "part of a Solution",
    "Distance": "a row of a Comparison",
    "Joint": "moments of (θ, v), part of Moments",
    "Claim": "a row of a Report or a Diffusion", "Score": "a row of a Report", "Floor": "a row of a Report",
    "Entry": "how a file of networks names a variable", "ArraySource": "what is measured",
    "MomentVector": "moments on their way, for equations", "PerStep": "a schedule",
}  # fmt: skip


def results():
    """All classes that are asked for the whole set."""
    public = [getattr(home, name) for home in HOMES for name in home.__all__]
    shown = {one for one in public if isinstance(one, type) and issubclass(one, Short)}
    found = {one for one in all_returned() if not issubclass(one, _NO_RESULTS) or issubclass(one, Result)}
    return {one.__name__: one for one in shown | found if one.__name__ not in _PARTS}


@pytest.mark.parametrize("name", sorted(results()))
def test_what_a_public_function_returns_is_first_class(name):
    first_class(results()[name])


def test_the_walk_sees_functions_methods_properties_and_what_is_exported():
    pytest.importorskip("torch", reason="the extra dfp[networks] is not installed")
    known = {"Density", "Fit", "RMSPropLaw", "Committor", "Mode", "Current", "GriddedCurrent", "Diffusion", "Solution"}
    assert known < {*results()}
    seen = {one.__name__ for one in all_returned()}
    assert {*_PARTS} - {"Intervals"} <= seen, "an exception that nothing returns any more"


def test_a_new_result_without_them_is_noticed():
    """Negative controls: a class that is no result, one that no table knows, one that shows all its numbers."""

    @dataclasses.dataclass(frozen=True)
    class Fresh:
        value: float

    Fresh.__module__ = "dfp.long_time.fresh"
    home = types.SimpleNamespace(__all__=["made"], made=lambda: None)
    home.made.__annotations__["return"] = Fresh | None
    assert {*returned([home])} == {Fresh}
    with pytest.raises(AssertionError, match="does not derive"):
        first_class(Fresh)
    unknown = type("Unknown", (Result,), {"__module__": "dfp.long_time.fresh"})
    with pytest.raises(AssertionError, match="in no row"):
        first_class(unknown)
    loud = dataclasses.dataclass(frozen=True)(type("Fit", (dfp.Fit,), {"__module__": "dfp.exact.inference"}))
    with pytest.raises(AssertionError, match="shows all"):
        first_class(loud)
