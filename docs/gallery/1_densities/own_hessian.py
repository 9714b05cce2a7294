"""
Your own Hessian: where are the parameters after 10 and 100 steps?
==================================================================

A Hessian and the covariance of minibatch gradients are all that the density needs.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

noise = dfp.GaussianNoise(gradient=[[0.30, 0.10], [0.10, 0.20]])
landscape = dfp.QuadraticLandscape(hessian=[[1.0, 0.4], [0.4, 0.5]], noise=noise)
equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate=0.1))
start = dfp.Gaussian([1.5, -1.0], 0.02)
solution = dfp.solve(equation, start, steps=100, save=[0, 10, 100], grid=120)

figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for panel, step, density in zip(panels, solution.steps, solution.density, strict=True):
    share, levels = density.T / density.max(), np.linspace(0.02, 1, 8)
    drawn = panel.contourf(*solution.grid.axes, share, levels=levels)
    panel.set(xlabel="θ₁ [parameter]", xlim=(-1, 2.2), ylim=(-1.8, 1.2))
    panel.set_title(f"step {step}")
panels[0].set_ylabel("θ₂ [parameter]")
figure.colorbar(drawn, label="density / its maximum")
figure.suptitle("Where are the parameters of SGD?")
plt.show()
