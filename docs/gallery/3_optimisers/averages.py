"""
Averages: how much quieter is an exponential average?
=====================================================

The pair of iterate and average moves by an affine map too, so its moments are exact (T20).
"""

import matplotlib.pyplot as plt

import dfp

bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.2]))
sgd = dfp.SGD(bowl, learning_rate=0.2)
followed = {"last iterate": sgd, "mean after step 50": dfp.TailAverage(sgd, 50)}
for decay in (0.9, 0.99):
    followed[f"exponential, γ = {decay}"] = dfp.ExponentialAverage(sgd, decay)
figure, axis = plt.subplots(layout="constrained")
for name, what in followed.items():
    exact = dfp.moments(dfp.MasterEquation(what), dfp.Point([3.0]), 400)
    risk = 0.5 * (exact.mean[:, 0] ** 2 + exact.covariance[:, 0, 0])
    axis.loglog(exact.steps[1:], risk[1:], label=name)
best = dfp.best_decay(sgd, dfp.Point([3.0]), 400)
told = f"best decay at step 400: γ = {best.decay:.3f}"
axis.axhline(best.risk, color="k", ls=":", label=told)
axis.set(xlabel="step", ylabel="excess loss [loss]", ylim=(3e-5, 8))
axis.set_title("How much quieter is an average?")
axis.legend(loc="lower left")
plt.show()
