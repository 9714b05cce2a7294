"""dfp: how the parameters of stochastic gradient descent are distributed, exactly and at finite learning rate.

Names are imported when first used, so that ``import dfp`` costs nothing and compilers load only for what needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfp.additive import AdditiveNoise as AdditiveNoise
    from dfp.certificate import Certificate as Certificate
    from dfp.distances import Comparison as Comparison
    from dfp.distances import compare as compare
    from dfp.driver import solve as solve
    from dfp.equation import DiscreteFokkerPlanck as DiscreteFokkerPlanck
    from dfp.equation import Langevin as Langevin
    from dfp.equation import MasterEquation as MasterEquation
    from dfp.equation import ModifiedLangevin as ModifiedLangevin
    from dfp.errors import DFPError as DFPError
    from dfp.errors import FileFormatError as FileFormatError
    from dfp.errors import NoStationaryDensity as NoStationaryDensity
    from dfp.errors import SeriesError as SeriesError
    from dfp.errors import UnresolvedError as UnresolvedError
    from dfp.errors import UnsupportedError as UnsupportedError
    from dfp.exact import moments as moments
    from dfp.first_passage import ExitSteps as ExitSteps
    from dfp.first_passage import exit_steps as exit_steps
    from dfp.hdf5 import load as load
    from dfp.hdf5 import load_many as load_many
    from dfp.hdf5 import save_many as save_many
    from dfp.irreversibility import Current as Current
    from dfp.irreversibility import GriddedCurrent as GriddedCurrent
    from dfp.irreversibility import entropy_production as entropy_production
    from dfp.irreversibility import probability_current as probability_current
    from dfp.landscape import QuadraticLandscape as QuadraticLandscape
    from dfp.methods.finite_difference import FiniteDifference as FiniteDifference
    from dfp.methods.finite_volume import FiniteVolume as FiniteVolume
    from dfp.methods.fourier import Fourier as Fourier
    from dfp.methods.hermite import Hermite as Hermite
    from dfp.methods.moment_recursion import MomentRecursion as MomentRecursion
    from dfp.methods.monte_carlo import MonteCarlo as MonteCarlo
    from dfp.methods.transfer import Transfer as Transfer
    from dfp.mode import Mode as Mode
    from dfp.mode_report import Modes as Modes
    from dfp.mode_report import modes as modes
    from dfp.noise import GaussianNoise as GaussianNoise
    from dfp.nonlinear import Landscape as Landscape
    from dfp.observables import autocorrelation as autocorrelation
    from dfp.observables import effective_temperature as effective_temperature
    from dfp.observables import excess_loss as excess_loss
    from dfp.observables import expected_loss as expected_loss
    from dfp.observables import mean_squared_displacement as mean_squared_displacement
    from dfp.observables import stationary_excess_loss as stationary_excess_loss
    from dfp.phases import PhaseDiagram as PhaseDiagram
    from dfp.phases import phase_diagram as phase_diagram
    from dfp.phases_file import load_phase_diagram as load_phase_diagram
    from dfp.schedules import CosineSchedule as CosineSchedule
    from dfp.schedules import StepSchedule as StepSchedule
    from dfp.schedules import WarmUp as WarmUp
    from dfp.settled import StationaryMoments as StationaryMoments
    from dfp.settled import stationary_moments as stationary_moments
    from dfp.sgd import SGD as SGD
    from dfp.solution import Solution as Solution
    from dfp.spectrum import Spectrum as Spectrum
    from dfp.spectrum import spectrum as spectrum
    from dfp.state import Density as Density
    from dfp.state import Gaussian as Gaussian
    from dfp.state import Grid as Grid
    from dfp.state import Point as Point
    from dfp.stationary_law import stationary as stationary

_HOMES = {
    "additive": ("AdditiveNoise",),
    "certificate": ("Certificate",),
    "distances": ("Comparison", "compare"),
    "equation": ("DiscreteFokkerPlanck", "Langevin", "MasterEquation", "ModifiedLangevin"),
    "errors": (
        "DFPError",
        "FileFormatError",
        "NoStationaryDensity",
        "SeriesError",
        "UnresolvedError",
        "UnsupportedError",
    ),
    "hdf5": ("load", "load_many", "save_many"),
    "irreversibility": ("Current", "GriddedCurrent", "entropy_production", "probability_current"),
    "landscape": ("QuadraticLandscape",),
    "methods.finite_difference": ("FiniteDifference",),
    "methods.finite_volume": ("FiniteVolume",),
    "methods.fourier": ("Fourier",),
    "methods.hermite": ("Hermite",),
    "methods.moment_recursion": ("MomentRecursion",),
    "methods.monte_carlo": ("MonteCarlo",),
    "methods.transfer": ("Transfer",),
    "exact": ("moments",),
    "mode": ("Mode",),
    "mode_report": ("Modes", "modes"),
    "noise": ("GaussianNoise",),
    "nonlinear": ("Landscape",),
    "schedules": ("CosineSchedule", "StepSchedule", "WarmUp"),
    "observables": (
        "autocorrelation",
        "effective_temperature",
        "excess_loss",
        "expected_loss",
        "mean_squared_displacement",
        "stationary_excess_loss",
    ),
    "phases": ("PhaseDiagram", "phase_diagram"),
    "phases_file": ("load_phase_diagram",),
    "settled": ("StationaryMoments", "stationary_moments"),
    "first_passage": ("ExitSteps", "exit_steps"),
    "sgd": ("SGD",),
    "solution": ("Solution",),
    "driver": ("solve",),
    "spectrum": ("Spectrum", "spectrum"),
    "stationary_law": ("stationary",),
    "state": ("Density", "Gaussian", "Grid", "Point"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'dfp' has no attribute {name!r}")
    value = getattr(import_module(f"dfp.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
