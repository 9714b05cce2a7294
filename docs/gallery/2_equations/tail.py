"""
Tails: how often is SGD far away?
=================================

Curvature that fluctuates makes power laws. Langevin has one too, with another exponent.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3], [10.0]))
sgd = dfp.SGD(bowl, learning_rate=0.3)
(mode,) = dfp.modes(sgd)
figure, axis = plt.subplots(layout="constrained")
indices = mode.tail_index, mode.langevin_tail_index
for form, kappa in zip((dfp.MasterEquation, dfp.Langevin), indices, strict=True):
    equation = form(sgd)
    law = dfp.stationary(equation, dfp.Grid(-400.0, 400.0, 16000))
    places, inside = law.grid.axes[0], law.values * law.grid.cell_volume
    beyond = 2 * (inside[::-1].cumsum()[::-1] - inside / 2) + law.outside
    seen, label = places > 0.05, f"{equation.label}: κ = {kappa:.2f}"
    axis.loglog(places[seen], beyond[seen], label=label)
far = np.array([20, 400])
axis.loglog(far, 0.3 * (far / 20) ** -mode.tail_index, "k:", label="slope −κ of SGD")
axis.set(xlabel="x [parameter]", ylabel="P(|θ| > x)")
axis.set_title("How often is SGD far away?")
axis.legend(fontsize="small")
plt.show()
