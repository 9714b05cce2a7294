"""
Your own data: how is a regression coefficient distributed?
===========================================================

Minibatches of four from thirty samples: the noise is theirs, not Gaussian, and depends on the parameter.
"""

import matplotlib.pyplot as plt
import numpy as np

import dfp

rng = np.random.default_rng(1)
features = rng.standard_normal((30, 1))
targets = 0.7 * features[:, 0] + rng.exponential(size=30)
landscape = dfp.QuadraticLandscape.from_regression(features, targets, batch_size=4)
sgd = dfp.SGD(landscape, learning_rate=0.3)

figure, axis = plt.subplots(layout="constrained")
for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd), dfp.ModifiedLangevin(sgd)):
    solution = dfp.solve(equation, dfp.Gaussian(0.0, 0.02), steps=40, save=[40])
    density = solution.density[0].clip(1e-12)
    axis.semilogy(solution.grid.axes[0], density, label=equation.label)
axis.set(xlabel="θ [parameter]", ylabel="density [1 / parameter]")
axis.set(ylim=(1e-4, 5), xlim=(-0.8, 3.2))
axis.set_title("How is a regression coefficient distributed after 40 steps?")
axis.legend(fontsize="small")
plt.show()
