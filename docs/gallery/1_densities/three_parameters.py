"""
Three parameters: which pairs are correlated?
=============================================

A density in three dimensions as a corner plot: marginals of every parameter and of every pair.
"""

import matplotlib.pyplot as plt

import dfp

noise = dfp.GaussianNoise(gradient=[[0.4, 0.2, 0.0], [0.2, 0.3, 0.1], [0.0, 0.1, 0.2]])
landscape = dfp.QuadraticLandscape([1.0, 0.6, 0.3], noise=noise)
equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate=0.2))
solution = dfp.solve(equation, dfp.Gaussian([0.5, 0.0, 0.0], 0.05), steps=30, save=[30])
solution.plot(title="Which pairs of three parameters are correlated after 30 steps?")
plt.show()
