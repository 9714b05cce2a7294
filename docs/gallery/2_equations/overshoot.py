"""
Overshooting: what if a step is longer than the way to the minimum?
===================================================================

With ηλ > 1 SGD changes sides at every step, which no continuous path in one dimension does.
"""

import matplotlib.pyplot as plt

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.05]))
sgd = dfp.SGD(bowl, learning_rate=1.6)
start = dfp.Gaussian(2.0, 0.02)
exact = dfp.moments(dfp.MasterEquation(sgd), start, 12)
langevin = dfp.moments(dfp.Langevin(sgd), start, 12)

figure, axis = plt.subplots(layout="constrained")
for label, found, style in (("SGD", exact, "o-"), ("Langevin", langevin, "s--")):
    spread = found.covariance[:, 0, 0] ** 0.5
    mean, label = found.mean[:, 0], f"{label}: mean ± deviation"
    axis.errorbar(found.steps, mean, spread, fmt=style, capsize=3, label=label)
axis.axhline(0, color="0.7", lw=0.8)
axis.set(xlabel="step", ylabel="θ [parameter]")
axis.set_title("What if a step is longer than the way to the minimum?")
axis.legend()
plt.show()
