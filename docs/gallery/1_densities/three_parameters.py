"""
Three parameters: which pairs are correlated?
=============================================

A density in three dimensions; marginals of every pair of parameters.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

noise = dfp.GaussianNoise(gradient=[[0.4, 0.2, 0.0], [0.2, 0.3, 0.1], [0.0, 0.1, 0.2]])
landscape = dfp.QuadraticLandscape([1.0, 0.6, 0.3], noise=noise)
equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate=0.2))
solution = dfp.solve(equation, dfp.Gaussian([0.5, 0.0, 0.0], 0.05), steps=30, save=[30], grid=40)

levels = np.linspace(0.02, 1, 8)
figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for panel, (i, j) in zip(panels, [(0, 1), (0, 2), (1, 2)], strict=True):
    marginal = solution.marginal([i, j])
    panel.contourf(*marginal.grid.axes, marginal.density[0].T, levels=levels * marginal.density.max())
    ((a, b), (_, c)) = marginal.covariance[0]
    panel.set(
        xlabel=f"θ{'₁₂₃'[i]} [parameter]",
        ylabel=f"θ{'₁₂₃'[j]} [parameter]",
        title=f"correlation {abs(b) / (a * c) ** 0.5:.2f}",
    )
figure.suptitle("Which pairs of three parameters are correlated after 30 steps?")
plt.show()
