"""dfp: how the parameters of stochastic gradient descent are distributed, exactly and at finite learning rate."""

from dfp.equation import DiscreteFokkerPlanck, Langevin, MasterEquation, ModifiedLangevin
from dfp.errors import DFPError, NoStationaryDensity
from dfp.landscape import QuadraticLandscape
from dfp.moments import moments
from dfp.noise import GaussianNoise
from dfp.sgd import SGD
from dfp.state import Density, Gaussian, Grid, Point
