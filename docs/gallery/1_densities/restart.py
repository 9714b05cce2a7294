"""
Restart: what does a smaller learning rate make of a finished run?
==================================================================

A solution is an initial state: solve, look, and go on.
"""

import matplotlib.pyplot as plt

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
fast, slow = (dfp.MasterEquation(dfp.SGD(bowl, rate)) for rate in (0.4, 0.05))
start = dfp.Gaussian(2.0, 0.1)
first = dfp.solve(fast, start, steps=20, save=[0, 5, 20])
then = dfp.solve(slow, first, steps=60, save=[0, 5, 60])

figure, axis = plt.subplots(layout="constrained")
runs = ("η = 0.4", first, 0, "-"), ("then η = 0.05", then, 20, "--")
for label, run, before, style in runs:
    for step, density in zip(run.steps, run.density, strict=True):
        told = f"{label}, step {before + step}"
        axis.plot(run.grid.axes[0], density, style, label=told)
axis.set(xlim=(-3, 3.5), xlabel="θ [parameter]", ylabel="density [1 / parameter]")
axis.set_title("What does a smaller learning rate make of a finished run?")
axis.legend()
plt.show()
