"""Functions for workers: at the top level of a module, so that processes find them."""

import os
import signal
import time
from pathlib import Path

import numpy as np

import dfp


def variance(learning_rate, curvature):
    """The stationary variance of one mode, exact and as Langevin has it."""
    noise = dfp.GaussianNoise([1.0], [0.5])
    sgd = dfp.SGD(dfp.QuadraticLandscape([curvature], 0.0, noise), learning_rate)
    exact = dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.item()
    return {"exact": exact, "Langevin": dfp.stationary_moments(dfp.Langevin(sgd)).covariance.item()}


def fatal(learning_rate, curvature, flag=""):
    """As ``variance``, but the first process that comes to the middle kills itself."""
    time.sleep(0.01)
    if learning_rate > 0.5 and os.getpid() != int(os.environ.get("DFP_TEST_MAIN", "0")):
        try:
            Path(flag).touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return variance(learning_rate, curvature)


def always_fatal(learning_rate):
    """Kill every worker that takes a member beyond the first."""
    if learning_rate > 0.1:
        os.kill(os.getpid(), signal.SIGKILL)
    return learning_rate


def array(x, n):
    """An array that depends on both axes, of floats and integers."""
    assert isinstance(n, int)
    return x * np.arange(3.0) + n
