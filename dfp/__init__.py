"""dfp: how the parameters of stochastic gradient descent are distributed, exactly and at finite learning rate.

Names are imported when first used, so that ``import dfp`` costs nothing and compilers load only for what needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfp.certificate import Certificate as Certificate
    from dfp.distances import Comparison as Comparison
    from dfp.distances import compare as compare
    from dfp.driver import solve as solve
    from dfp.errors import DFPError as DFPError
    from dfp.errors import FileFormatError as FileFormatError
    from dfp.errors import NoStationaryDensity as NoStationaryDensity
    from dfp.errors import SeriesError as SeriesError
    from dfp.errors import UnresolvedError as UnresolvedError
    from dfp.errors import UnsupportedError as UnsupportedError
    from dfp.exact import moments as moments
    from dfp.files.hdf5 import load as load
    from dfp.files.hdf5 import load_many as load_many
    from dfp.files.hdf5 import save_many as save_many
    from dfp.generators import Langevin as Langevin
    from dfp.generators import ModifiedLangevin as ModifiedLangevin
    from dfp.landscape import QuadraticLandscape as QuadraticLandscape
    from dfp.laws.additive import AdditiveNoise as AdditiveNoise
    from dfp.laws.noise import GaussianNoise as GaussianNoise
    from dfp.maps import DiscreteFokkerPlanck as DiscreteFokkerPlanck
    from dfp.maps import MasterEquation as MasterEquation
    from dfp.methods.finite_difference import FiniteDifference as FiniteDifference
    from dfp.methods.finite_volume import FiniteVolume as FiniteVolume
    from dfp.methods.fourier import Fourier as Fourier
    from dfp.methods.hermite import Hermite as Hermite
    from dfp.methods.moment_recursion import MomentRecursion as MomentRecursion
    from dfp.methods.monte_carlo import MonteCarlo as MonteCarlo
    from dfp.methods.transfer import Transfer as Transfer
    from dfp.nonlinear import Landscape as Landscape
    from dfp.observables import autocorrelation as autocorrelation
    from dfp.observables import effective_temperature as effective_temperature
    from dfp.observables import excess_loss as excess_loss
    from dfp.observables import expected_loss as expected_loss
    from dfp.observables import mean_squared_displacement as mean_squared_displacement
    from dfp.observables import stationary_excess_loss as stationary_excess_loss
    from dfp.regimes.mode import Mode as Mode
    from dfp.regimes.mode_report import Modes as Modes
    from dfp.regimes.mode_report import modes as modes
    from dfp.regimes.phases import PhaseDiagram as PhaseDiagram
    from dfp.regimes.phases import phase_diagram as phase_diagram
    from dfp.regimes.phases_file import load_phase_diagram as load_phase_diagram
    from dfp.schedules import CosineSchedule as CosineSchedule
    from dfp.schedules import StepSchedule as StepSchedule
    from dfp.schedules import WarmUp as WarmUp
    from dfp.settling.exit_law import ExitSteps as ExitSteps
    from dfp.settling.first_passage import exit_steps as exit_steps
    from dfp.settling.irreversibility import Current as Current
    from dfp.settling.irreversibility import GriddedCurrent as GriddedCurrent
    from dfp.settling.irreversibility import entropy_production as entropy_production
    from dfp.settling.irreversibility import probability_current as probability_current
    from dfp.settling.spectrum import Spectrum as Spectrum
    from dfp.settling.spectrum import spectrum as spectrum
    from dfp.settling.stationary_law import stationary as stationary
    from dfp.settling.stationary_moments import StationaryMoments as StationaryMoments
    from dfp.settling.stationary_moments import stationary_moments as stationary_moments
    from dfp.sgd import SGD as SGD
    from dfp.solution import Solution as Solution
    from dfp.state import Density as Density
    from dfp.state import Gaussian as Gaussian
    from dfp.state import Grid as Grid
    from dfp.state import Point as Point

_HOMES = {
    "certificate": ("Certificate",),
    "distances": ("Comparison", "compare"),
    "driver": ("solve",),
    "errors": (
        "DFPError",
        "FileFormatError",
        "NoStationaryDensity",
        "SeriesError",
        "UnresolvedError",
        "UnsupportedError",
    ),
    "exact": ("moments",),
    "files.hdf5": ("load", "load_many", "save_many"),
    "generators": ("Langevin", "ModifiedLangevin"),
    "landscape": ("QuadraticLandscape",),
    "laws.additive": ("AdditiveNoise",),
    "laws.noise": ("GaussianNoise",),
    "maps": ("DiscreteFokkerPlanck", "MasterEquation"),
    "methods.finite_difference": ("FiniteDifference",),
    "methods.finite_volume": ("FiniteVolume",),
    "methods.fourier": ("Fourier",),
    "methods.hermite": ("Hermite",),
    "methods.moment_recursion": ("MomentRecursion",),
    "methods.monte_carlo": ("MonteCarlo",),
    "methods.transfer": ("Transfer",),
    "nonlinear": ("Landscape",),
    "observables": (
        "autocorrelation",
        "effective_temperature",
        "excess_loss",
        "expected_loss",
        "mean_squared_displacement",
        "stationary_excess_loss",
    ),
    "regimes.mode": ("Mode",),
    "regimes.mode_report": ("Modes", "modes"),
    "regimes.phases": ("PhaseDiagram", "phase_diagram"),
    "regimes.phases_file": ("load_phase_diagram",),
    "schedules": ("CosineSchedule", "StepSchedule", "WarmUp"),
    "settling.exit_law": ("ExitSteps",),
    "settling.first_passage": ("exit_steps",),
    "settling.irreversibility": ("Current", "GriddedCurrent", "entropy_production", "probability_current"),
    "settling.spectrum": ("Spectrum", "spectrum"),
    "settling.stationary_law": ("stationary",),
    "settling.stationary_moments": ("StationaryMoments", "stationary_moments"),
    "sgd": ("SGD",),
    "solution": ("Solution",),
    "state": ("Density", "Gaussian", "Grid", "Point"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name == "networks":  # a subpackage, with an extra of its own
        return import_module("dfp.networks")
    if name not in _HOME:
        raise AttributeError(f"module 'dfp' has no attribute {name!r}")
    value = getattr(import_module(f"dfp.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
