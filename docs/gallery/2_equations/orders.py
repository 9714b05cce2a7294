"""
A figure of the theory: how fast do the equations become right?
===============================================================

Relative error of the variance at one slow time, 1e-8 for none: the slope is 1 for (T6), 2 for (T7m); (T5) is exact.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3], [0.8]))
steps = np.geomspace(200, 10, 8).astype(int)
forms = dfp.Langevin, dfp.ModifiedLangevin, dfp.DiscreteFokkerPlanck


def variance(form, steps):
    equation = form(dfp.SGD(bowl, 2 / steps))
    return dfp.moments(equation, dfp.Point(1.0), steps, [steps]).covariance.item()


figure, axis = plt.subplots(layout="constrained")
for form in forms:
    errs = [abs(variance(form, n) / variance(dfp.MasterEquation, n) - 1) for n in steps]
    axis.loglog(2 / steps, np.maximum(errs, 1e-8), "o-", label=form.__name__)
axis.set(xlabel="learning rate η [parameter² / loss]", ylabel="relative error")
axis.set_title("How fast do the equations become right?")
axis.legend()
plt.show()
