"""
Your own loss: where is logistic regression after 30 steps?
===========================================================

A loss of one value per sample, in NumPy, PyTorch or JAX; the noise is that of its minibatches, here of four.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

rng = np.random.default_rng(0)
x = rng.standard_normal((20, 2))
y = np.sign(x @ [1.0, -0.5] + 0.7 * rng.standard_normal(20))


def loss(theta, data):
    return np.logaddexp(0, -data[1] * (data[0] @ theta)) + 0.05 * (theta @ theta)


bowl = dfp.QuadraticLandscape.from_loss(loss, (x, y), 4, at=[0, 0], minimise=True)
equation = dfp.MasterEquation(dfp.SGD(bowl, learning_rate=0.5))
solution = dfp.solve(equation, dfp.Point([0, 0]), steps=30, save=[30], grid=60)
figure, axis = plt.subplots(layout="constrained")
drawn = axis.contourf(*solution.grid.axes, solution.density[0].T, cmap="Blues")
axis.set(xlabel="θ₁ [parameter]", ylabel="θ₂ [parameter]")
axis.set_title("Where is logistic regression after 30 steps?")
figure.colorbar(drawn, label="density [1 / parameter²]")
plt.show()
