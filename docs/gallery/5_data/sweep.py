"""
Sweep: by how much does Langevin miss the variance?
===================================================

Any function over any grid of parameters: one cube, on one process or on a cluster.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp


def missed(learning_rate, curvature_noise):
    noise = dfp.GaussianNoise([1.0], [curvature_noise])
    bowl = dfp.QuadraticLandscape([1.0], noise=noise)
    (mode,) = dfp.modes(dfp.SGD(bowl, learning_rate))
    return 100 * (1 - mode.langevin_stationary_variance / mode.stationary_variance)


axes = {"learning_rate": np.linspace(0.01, 0.6, 12)}
axes["curvature_noise"] = np.linspace(0.0, 1.0, 12)
found = dfp.sweep(missed, axes, quiet=True)
figure, axis = plt.subplots(layout="constrained")
drawn = axis.contourf(*axes.values(), found.values["value"].T, levels=10)
figure.colorbar(drawn, label="variance missed [%]")
axis.set_xlabel("learning rate η [parameter² / loss]")
axis.set_ylabel("curvature noise Γ [loss² / parameter⁴]")
axis.set_title("By how much does Langevin miss the variance of SGD?")
plt.show()
