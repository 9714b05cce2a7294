"""
No parabola: how does SGD share itself between two wells?
=========================================================

A landscape of any shape by its mean gradient; here with one well wider than the other.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp


def gradient(t):
    return t**3 - t + 0.15 * t**2


well = dfp.Landscape(gradient, 0.5, hessian=lambda t: 3 * t**2 - 1 + 0.3 * t)
figure, axis = plt.subplots(layout="constrained")
for rate, colour in ((0.1, "C0"), (0.3, "C1")):
    sgd = dfp.SGD(well, rate)
    for equation, style in ((dfp.MasterEquation(sgd), "-"), (dfp.Langevin(sgd), "--")):
        law = dfp.stationary(equation)
        label = f"{'SGD' if style == '-' else 'Langevin'}, η = {rate}"
        axis.plot(law.grid.axes[0], law.values, style, color=colour, label=label)
axis.set(xlim=(-2.2, 2.0), xlabel="θ [parameter]", ylabel="density [1 / parameter]")
axis.set_title("How does SGD share itself between two wells?")
axis.legend()
assert np.isclose(law.probability(-50, 50), 1, atol=1e-6)
plt.show()
