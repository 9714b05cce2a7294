"""
Momentum: is it the same as a larger learning rate?
===================================================

At η/(1−β) the slow motion is the same; the beginning, and the variance at large steps, are not.
"""

import matplotlib.pyplot as plt

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for beta in (0.0, 0.5, 0.9):
    rate = 0.2 * (1 - beta)
    sgd = dfp.SGD(bowl, rate, momentum=beta)
    exact = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([1.0]), 100)
    left.plot(exact.steps, exact.mean[:, 0], label=f"β = {beta}, η = {rate:.2g}")
    right.plot(exact.steps, exact.covariance[:, 0, 0], label=f"β = {beta}")
left.set(xlabel="step", ylabel="mean [parameter]")
right.set(xlabel="step", ylabel="variance [parameter²]")
left.legend()
figure.suptitle("Is momentum the same as a larger learning rate, 0.2 here?")
plt.show()
