"""
A figure of the theory: how fast do the equations become right?
===============================================================

Error of the variance at one slow time against the learning rate: slopes are the orders of the equations.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3], [0.8]))
rates = np.geomspace(0.01, 0.2, 8)
forms = {"(T6), slope 1": dfp.Langevin, "(T7m), slope 2": dfp.ModifiedLangevin, "(T5), exact": dfp.DiscreteFokkerPlanck}


def variance(form, rate):
    steps = round(2 / rate)
    return dfp.moments(form(dfp.SGD(bowl, 2 / steps)), dfp.Point(1.0), steps, [steps]).covariance.item()


figure, axis = plt.subplots(layout="constrained")
for label, form in forms.items():
    errors = [abs(variance(form, rate) / variance(dfp.MasterEquation, rate) - 1) for rate in rates]
    axis.loglog(rates, np.maximum(errors, 1e-8), "o-", label=label)
axis.set(xlabel="learning rate η [parameter² / loss]", ylabel="relative error of the variance (1e-8: zero)")
axis.set_title("How fast do the equations become right?")
axis.legend()
plt.show()
