"""
Certificates: does sampled SGD agree with its master equation?
==============================================================

A hundred thousand runs with their own noise beside the solved density; distances come with an interval.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3], [0.3]))
sgd = dfp.SGD(bowl, learning_rate=0.3)
start, grid = dfp.Gaussian(1.0, 0.05), dfp.Grid(-3.0, 3.0, 120)
equation = dfp.MasterEquation(sgd)
solved = dfp.solve(equation, start, 15, [15], grid=grid)
often = dfp.MonteCarlo(100_000, seed=1)
sampled = dfp.solve(equation, start, 15, [15], often, grid=grid)
expected = solved.density[0] * grid.cell_volume * sampled.trajectories
counted = sampled.density[0] * grid.cell_volume * sampled.trajectories
seen = expected > 10
figure, axis = plt.subplots(layout="constrained")
apart = (counted - expected) / np.sqrt(expected)
axis.plot(grid.axes[0][seen], apart[seen], "o", ms=4)
axis.axhspan(-2, 2, color="0.9")
axis.set(xlabel="θ [parameter]", ylabel="(counted − expected) / √expected")
axis.set_ylim(-5, 5)
axis.set_title("Does sampled SGD agree with its master equation?")
plt.show()
