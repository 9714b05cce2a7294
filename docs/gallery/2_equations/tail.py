"""
Tails: how often is SGD far away?
=================================

Curvature that fluctuates makes power laws. Langevin has one too, with another exponent.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3], [10.0])), learning_rate=0.3)
(mode,) = dfp.modes(sgd)
grid = dfp.Grid(-400.0, 400.0, 16000)
figure, axis = plt.subplots(layout="constrained")
for equation, kappa in ((dfp.MasterEquation(sgd), mode.tail_index), (dfp.Langevin(sgd), mode.langevin_tail_index)):
    law = dfp.stationary(equation, grid)
    places, inside = law.grid.axes[0], law.values * law.grid.cell_volume
    beyond = 2 * (inside[::-1].cumsum()[::-1] - inside / 2) + law.outside
    axis.loglog(places[places > 0.05], beyond[places > 0.05], label=f"{equation.label}: κ = {kappa:.2f}")
far = np.array([20, 400])
axis.loglog(far, 0.3 * (far / 20) ** -mode.tail_index, "k:", label="slope −κ of SGD")
axis.set(xlabel="x [parameter]", ylabel="P(|θ| > x)", title="How often is SGD far away?")
axis.legend(fontsize="small")
plt.show()
