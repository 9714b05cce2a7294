"""
Three hundred parameters: is one direction Gaussian?
====================================================

``directions=u`` asks for the density of u·θ, in any dimension; few steps of skewed noise leave their mark.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import dfp

d, rng = 300, np.random.default_rng(0)
gradients = rng.exponential(size=(60, d))
gradients -= gradients.mean(0)
landscape = dfp.QuadraticLandscape.from_samples(np.linspace(0.1, 1, d), gradients, 2)
u = gradients[0] / np.linalg.norm(gradients[0])  # along the gradient of one sample
equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate=0.2))
solution = dfp.solve(equation, dfp.Point(np.zeros(d)), 30, [30], directions=u)
places, spread = solution.grid.axes[0], solution.covariance[0, 0, 0] ** 0.5
figure, axis = plt.subplots(layout="constrained")
axis.semilogy(places, solution.density[0].clip(1e-12), label="SGD")
gaussian = stats.norm(solution.mean[0, 0], spread).pdf(places)
axis.semilogy(places, gaussian, "--", label="Gaussian, same variance")
axis.set(xlabel="u·θ [parameter]", ylabel="density [1 / parameter]")
axis.set(xlim=(-6, 4), ylim=(1e-4, 3))
axis.set_title("Is one direction of three hundred parameters Gaussian?")
axis.legend()
plt.show()
