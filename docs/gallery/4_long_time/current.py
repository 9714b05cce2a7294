"""
Currents: does SGD stand still when its density does?
=====================================================

Noise that does not fit the axes of the Hessian makes the parameters circulate: no equilibrium.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

noise = dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]])
landscape = dfp.QuadraticLandscape([1.0, 0.2], noise=noise)
equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate=0.4))
current = dfp.probability_current(equation)
law = dfp.stationary(equation, grid=60)
x, y = law.grid.axes
places = np.stack(np.meshgrid(x, y), axis=-1)
u, v = np.moveaxis((places - current.law.mean) @ current.matrix.T, -1, 0)
figure, axis = plt.subplots(layout="constrained")
axis.contourf(x, y, law.values.T, levels=8, cmap="Blues")
axis.streamplot(x, y, u, v, color="0.3", density=0.8, linewidth=0.8)
produced = dfp.entropy_production(equation).value
axis.set(xlabel="θ₁ [parameter]", ylabel="θ₂ [parameter]")
axis.set(xlim=(-1.3, 1.3), ylim=(-1.6, 1.6))
axis.set_title(f"Does SGD stand still? Entropy of {produced:.3f} nats a step")
plt.show()
